"""Reads the starting model's instinct for each prompt of the pool, before the first step."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sirl.errors import InputError, TrainingError
from sirl.instinct import Instinct, find_instinct
from sirl.roles import Engine, Progress
from sirl.runs import Run
from sirl.stats import mean
from sirl.training.openings import OwnAnswers, own_answers
from sirl.types import Completion, Prompt

__all__ = [
    "AskedOnce",
    "answers_of",
    "instinct_notes",
    "read_instinct",
    "read_own_answers",
    "summarise_instinct",
]

FILE, ANSWERS = "instinct.json", "own_answers.json"
FEW_BORDER = 0.02
"""Share of the pool from which prompts near the border hold it."""


@dataclass(frozen=True)
class AskedOnce:
    """Samples each prompt once and remembers its answers; satisfies `sirl.roles.Engine`."""

    engine: Engine
    known: dict[tuple[Prompt, int, int], list[Completion]] = field(default_factory=dict)
    """Answers by prompt, group size and step."""

    def sample(
        self, prompts: Sequence[Prompt], *, group: int = 1, step: int = 0
    ) -> list[Completion]:
        """Sample `group` completions per prompt, grouped in the order of the prompts."""
        new = [p for p in prompts if (p, group, step) not in self.known]
        found = self.engine.sample(new, group=group, step=step) if new else []
        for n, prompt in enumerate(new):
            self.known[prompt, group, step] = found[n * group : (n + 1) * group]
        return [c for p in prompts for c in self.known[p, group, step]]


def answers_of(
    engine: Engine, prompts: Sequence[Prompt], group: int, rows: int, progress: Progress
) -> list[Completion]:
    """Answers of the starting model.

    Args:
        engine: Samples from the starting model.
        prompts: What is asked.
        group: Answers per prompt.
        rows: Answers sampled between two reports of progress.
        progress: Told of prompts that are read.
    """
    completions = []
    size = max(1, rows // group)
    for n in range(0, len(prompts), size):
        progress("reading the model's instinct", n, len(prompts))
        completions += engine.sample(prompts[n : n + size], group=group)
    progress("reading the model's instinct", len(prompts), len(prompts))
    return completions


def read_instinct(
    run: Run, engine: Engine, prompts: Sequence[Prompt], group: int, rows: int, progress: Progress
) -> Instinct:
    """The instinct of a run: from its folder, or sampled from the starting model and saved.

    Args:
        run: The run folder, which keeps the instinct for a resumed run.
        engine: Samples from the starting model.
        prompts: The pool, bare.
        group: Answers per prompt.
        rows: Answers sampled between two reports of progress.
        progress: Told of prompts that are read.

    Raises:
        TrainingError: The entropies have no valley.
        InputError: The model refuses no prompt of the pool, or answers none.
    """
    if saved := run.read(FILE):
        return Instinct(**{**saved, "modes": tuple(saved["modes"])})
    found = find_instinct(answers_of(engine, prompts, group, rows, progress))
    check(found)
    run.write(FILE, asdict(found))
    return found


def read_own_answers(
    run: Run,
    instinct: Instinct,
    engine: Engine,
    prompts: Sequence[Prompt],
    group: int,
    rows: int,
    progress: Progress,
) -> OwnAnswers:
    """The starting model's own answers of a run: from its folder, or sampled and saved.

    Args:
        run: The run folder, which keeps them for a resumed run.
        instinct: The instinct of the run.
        engine: Samples from the starting model.
        prompts: The pool, bare, then disguised prompts, whose help is used where the bare prompt
            got none.
        group: Answers per prompt.
        rows: Answers sampled between two reports of progress.
        progress: Told of prompts that are read.
    """
    if saved := run.read(ANSWERS):
        return OwnAnswers.revived(saved)
    found = own_answers(instinct, answers_of(engine, prompts, group, rows, progress))
    run.write(ANSWERS, asdict(found))
    return found


def check(instinct: Instinct) -> None:
    """Refuse an instinct from which nothing can be learned."""
    n = len(instinct.shares)
    if not instinct.has_valley:
        raise TrainingError(
            f"the entropies of the answers to {n} prompts have one mode (p of the dip test "
            f"{instinct.dip:.2f}), so that refusals cannot be told from answers: give prompts that "
            "the model clearly refuses beside ones that it answers, or use --method entropy"
        )
    if not instinct.prompts("refuse"):
        raise InputError(
            f"the model refuses none of {n} prompts when they are bare, so there is nothing to "
            "strengthen: give --prompts that it refuses"
        )
    if not instinct.prompts("comply"):
        raise InputError(
            f"the model answers none of {n} prompts, so nothing would keep it from refusing "
            "everything: add harmless prompts to --prompts, or leave out --pool none"
        )


def instinct_notes(instinct: Instinct) -> list[str]:
    """What was found, in sentences."""
    counts = {mode: len(instinct.prompts(mode)) for mode in ("refuse", "comply", None)}
    notes = [
        f"instinct: of {len(instinct.shares)} prompts the model refuses {counts['refuse']}, "
        f"answers {counts['comply']}, and {counts[None]} are undecided and left out; mean entropy "
        f"{instinct.modes[0]:.2f} and {instinct.modes[1]:.2f} nats, cut at {instinct.cut:.2f}"
    ]
    if instinct.border < FEW_BORDER * len(instinct.shares):
        notes.append(
            f"only {instinct.border} prompts of the pool are near the border between refusal and "
            "answer, so over-refusal may rise: add harmless prompts that sound alarming"
        )
    return notes


def summarise_instinct(instinct: Instinct) -> dict[str, Any]:
    """The instinct as figures of a summary."""
    return {
        "prompts": len(instinct.shares),
        "refuse": len(instinct.prompts("refuse")),
        "comply": len(instinct.prompts("comply")),
        "undecided": len(instinct.prompts(None)),
        "border": instinct.border,
        "cut": instinct.cut,
        "modes": list(instinct.modes),
        "dip": instinct.dip,
        "refusal_share": mean(list(instinct.shares.values())),
    }
