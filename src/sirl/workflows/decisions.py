"""Reads the starting model's decisions at the first token of an answer, before the first step."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sirl.decisions import Decisions, find_decisions, find_openers
from sirl.instinct import Instinct
from sirl.models.chat import ChatModel
from sirl.roles import Progress
from sirl.runs import Run
from sirl.training.parallel import Ranks
from sirl.types import Completion, Prompt
from sirl.workflows.first_tokens import read_masses

__all__ = ["Choices", "decision_notes", "read_choices"]

FILE = "decisions.json"
KEPT = 2
"""Own answers kept of each prompt."""


@dataclass(frozen=True)
class Choices:
    """Decisions of the starting model, and its answers that show them."""

    decisions: Decisions
    answers: dict[str, tuple[tuple[int, ...], ...]]
    """Prompt id to answers in the mode of its decision, as token ids."""


def read_choices(
    run: Run,
    instinct: Instinct,
    sampled: Callable[[], Sequence[Completion]],
    prompts: Sequence[Prompt],
    start: ChatModel,
    ranks: Ranks,
    progress: Progress,
) -> Choices:
    """The choices of a run: from its folder, or read from the starting model and saved.

    Args:
        run: The run folder, which keeps them for a resumed run.
        instinct: The instinct of the run.
        sampled: Gives the answers that the instinct was read from.
        prompts: The pool, bare.
        start: The starting model.
        ranks: All processes use what rank 0 reads.
        progress: Told of prompts that are read.
    """
    if saved := dict(run.read(FILE)):
        return revived(saved)
    completions = sampled()
    openers = find_openers(completions, instinct.cut)
    asked = [(p.id, p.messages) for p in prompts]
    found = read_masses(start, asked, openers, "reading the model's decisions", progress)
    masses = ranks.agreed({id: shares.tolist() for id, shares in found})
    decisions = find_decisions(openers, {id: tuple(own) for id, own in masses.items()}, instinct)
    choices = Choices(decisions, kept_answers(completions, decisions, instinct.cut))
    run.write(FILE, {**asdict(decisions), "answers": choices.answers})
    return choices


def revived(saved: dict[str, Any]) -> Choices:
    """The choices from their fields as read from JSON."""
    answers = {id: tuple(map(tuple, own)) for id, own in saved.pop("answers").items()}
    masses = {id: tuple(own) for id, own in saved.pop("masses").items()}
    openers = tuple(saved.pop("openers"))
    return Choices(Decisions(openers=openers, masses=masses, **saved), answers)


def kept_answers(
    completions: Sequence[Completion], decisions: Decisions, cut: float
) -> dict[str, tuple[tuple[int, ...], ...]]:
    """Answers of each prompt in the mode of its decision; a refusal must be whole."""
    found: dict[str, tuple[tuple[int, ...], ...]] = {}
    for completion in completions:
        id, refuses = completion.prompt_id, completion.mean_entropy < cut
        whole = completion.finish == "stop" or not refuses
        own = found.get(id, ())
        agrees = refuses == (decisions.of(id) == "refuse")
        if completion.token_ids and whole and agrees and len(own) < KEPT:
            found[id] = (*own, completion.token_ids)
    return found


def decision_notes(
    decisions: Decisions, pieces: Callable[[Sequence[int]], Sequence[str]], sampled_rate: float
) -> list[str]:
    """What was found, in a sentence; `sampled_rate` is the learning rate of sampled answers."""
    words = ", ".join(repr(piece) for piece in pieces(decisions.openers)) or "none"
    if not decisions.is_shown:
        return [
            f"decisions: first tokens (of refusals: {words}) agree with only "
            f"{100 * decisions.agreement:.0f}% of the clear decisions of whole answers, so "
            f"training samples whole answers, which takes longer, at a learning rate of "
            f"{sampled_rate:g}"
        ]
    refused = sum(decisions.of(id) == "refuse" for id in decisions.masses)
    return [
        f"decisions: refusals begin with {words}; by the probability of these tokens the model "
        f"refuses {refused} of {len(decisions.masses)} prompts, which agrees with "
        f"{100 * decisions.agreement:.0f}% of the clear decisions of whole answers"
    ]
