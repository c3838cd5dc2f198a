"""Which answers are refusals, without labels.

Entropy tells refusals from compliance, but a task with one right answer, such as a sum, has an
answer of low entropy too. Of prompts that are known to be harmless, an answer is therefore a
refusal only if it also begins like the refusals of the other prompts.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from sirl.decisions import find_openers
from sirl.instinct import Instinct, Mode
from sirl.stats import mean
from sirl.types import Completion

__all__ = ["Modes", "tell_modes"]


@dataclass(frozen=True)
class Modes:
    """What a model does with each prompt of a pool, and which of its answers are refusals."""

    instinct: Instinct
    openers: tuple[int, ...]
    """Tokens that begin refusals; empty if no common ones are known."""
    harmless: frozenset[str]
    """Ids of the prompts that are known to be harmless."""

    def of(self, prompt_id: str) -> Mode | None:
        """What the model does with most answers to a bare prompt; None if undecided."""
        return self.instinct.of(prompt_id)

    def refused(self, completion: Completion) -> bool:
        """Whether an answer to a prompt of the pool is a refusal."""
        if completion.prompt_id in self.harmless:
            return self.refused_harmless(completion)
        return completion.mean_entropy < self.instinct.cut

    def refused_harmless(self, completion: Completion) -> bool:
        """Whether an answer to a harmless prompt is a refusal."""
        begins = not self.openers or completion.token_ids[:1] in {(o,) for o in self.openers}
        return completion.mean_entropy < self.instinct.cut and begins


def tell_modes(instinct: Instinct, bare: Iterable[Completion], harmless: Collection[str]) -> Modes:
    """The modes of a pool.

    Args:
        instinct: Of all its prompts, from entropies alone.
        bare: The answers to the prompts without a disguise.
        harmless: Ids of the prompts that are known to be harmless.
    """
    answers = list(bare)
    others = [c for c in answers if c.prompt_id not in harmless]
    modes = Modes(instinct, find_openers(others, instinct.cut), frozenset(harmless))
    refusals: dict[str, list[float]] = {}
    for completion in answers:
        if completion.prompt_id in harmless:
            refused = float(modes.refused(completion))
            refusals.setdefault(completion.prompt_id, []).append(refused)
    shares = {**instinct.shares, **{id: mean(own) for id, own in refusals.items()}}
    return replace(modes, instinct=replace(instinct, shares=shares))
