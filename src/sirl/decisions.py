"""Decisions: whether a model refuses, read from the distribution of the first token of its answer.

Aligned models refuse with a few first tokens ("I", "Sorry"). They are found in the model's own
answers, without a list of phrases: first tokens of the low-entropy mode that the other mode hardly
uses. The probability of these openers after a prompt is its refusal mass; one forward pass gives
it exactly, where sampled answers give an estimate.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sirl.instinct import Instinct, Mode
from sirl.stats import mean
from sirl.types import Completion

__all__ = ["Decisions", "find_decisions", "find_openers"]

COMMON, OWN = 0.05, 0.8
"""A refusal opener begins at least COMMON of the refusals, and at least OWN of its uses do so."""
AGREEMENT = 0.9
"""Share of prompts decided as by their answers, from which the first token shows the decision."""
CLEAR = 0.25
"""Share of a prompt's answers in the other mode at most, for its answers to show its decision."""
SHARPNESS = 7.0
"""Factor between the log-odds of a prompt's refusal mass and those that are taught."""
SUREST = 0.998
"""Refusal mass at most that is taught; what is sure stays correctable."""
TINY = 1e-6


@dataclass(frozen=True)
class Decisions:
    """What a model decides about each bare prompt of a pool."""

    openers: tuple[int, ...]
    """Ids of the first tokens of refusals."""
    masses: Mapping[str, tuple[float, ...]]
    """Prompt id to the probability of each opener after the bare prompt."""
    threshold: float
    """Log-odds of the refusal mass from which a prompt is refused."""
    agreement: float
    """Share of prompts that are decided as by their sampled answers, of those that show it."""

    @property
    def is_shown(self) -> bool:
        """Whether the first token shows the decision."""
        return self.agreement >= AGREEMENT

    def of(self, prompt_id: str) -> Mode:
        """The decision about a prompt."""
        mass = math.fsum(self.masses[prompt_id])
        return "refuse" if log_odds(mass) >= self.threshold else "comply"

    def taught(self, prompt_id: str) -> float:
        """The refusal mass that training aims at: the model's own, sharpened at the threshold."""
        distance = log_odds(math.fsum(self.masses[prompt_id])) - self.threshold
        sharpened = 1 / (1 + math.exp(-SHARPNESS * distance)) if distance > -99 else 0.0
        return min(SUREST, max(1 - SUREST, sharpened))


def find_openers(completions: Iterable[Completion], cut: float) -> tuple[int, ...]:
    """Ids of the tokens that begin refusals and hardly any other answer.

    Args:
        completions: Answers of the model; reasoning before an answer counts as its beginning.
        cut: Mean token entropy in nats below which an answer is a refusal.
    """
    refusals, others = Counter[int](), Counter[int]()
    for completion in completions:
        if completion.token_ids:
            kind = refusals if completion.mean_entropy < cut else others
            kind[completion.token_ids[0]] += 1
    total = refusals.total()
    return tuple(
        token
        for token, n in sorted(refusals.items())
        if n >= COMMON * total and n >= OWN * (n + others[token])
    )


def find_decisions(
    openers: tuple[int, ...], masses: Mapping[str, tuple[float, ...]], instinct: Instinct
) -> Decisions:
    """The decisions, with the threshold at which most prompts are decided as by their answers.

    Args:
        openers: First tokens of refusals.
        masses: Prompt id to the probability of each opener after the bare prompt.
        instinct: What the sampled answers show; some of its prompts must be among the masses.
    """
    known = [id for id in masses if instinct.of(id)]
    values = [log_odds(math.fsum(masses[id])) for id in known]
    threshold = best_cut(values, [instinct.of(id) == "refuse" for id in known])
    found = Decisions(openers, masses, threshold, 0.0)
    # The majority of a few divided answers is chance.
    clear = [id for id in known if abs(instinct.shares[id] - 0.5) >= 0.5 - CLEAR] or known
    return replace(found, agreement=mean([float(found.of(id) == instinct.of(id)) for id in clear]))


def best_cut(values: Sequence[float], is_above: Sequence[bool]) -> float:
    """The cut with the most values on their side; of several the middle one.

    Equal values, of which masses near 0 have many, are never cut apart.
    """
    order = np.argsort(values, kind="stable")
    ordered, above = np.array(values)[order], np.array(is_above)[order]
    right = np.concatenate([[0], np.cumsum(~above)]) + above.sum()
    right -= np.concatenate([[0], np.cumsum(above)])
    apart = np.concatenate([[True], ordered[1:] != ordered[:-1], [True]])
    best = np.flatnonzero(apart & (right == right[apart].max()))
    place = int(best[len(best) // 2])
    ends = np.concatenate([[ordered[0] - 1], ordered, [ordered[-1] + 1]])
    return float(ends[place] + ends[place + 1]) / 2


def log_odds(share: float) -> float:
    """Log-odds of a share, finite at 0 and 1."""
    share = min(1 - TINY, max(TINY, share))
    return math.log(share / (1 - share))
