"""Reads the starting model's instinct for each prompt of the pool, before the first step."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sirl.errors import ConfigError, InputError, TrainingError
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
FEWEST = 4
"""Prompts of each mode at least; one in four is watched and not trained on."""
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
        InputError: The model refuses too few prompts of the pool, or answers too few.
        ConfigError: A resumed run has other prompts.
    """
    pool = pool_digest(prompts)
    if saved := dict(run.read(FILE)):
        if saved.pop("pool") != pool:
            raise ConfigError(
                f"the prompts of {run.path} have changed since its instinct was read: restore "
                "them, or start over with --overwrite"
            )
        return Instinct(**{**saved, "modes": tuple(saved["modes"])})
    found = find_instinct(answers_of(engine, prompts, group, rows, progress))
    check(found)
    run.write(FILE, {"pool": pool, **asdict(found)})
    return found


def pool_digest(prompts: Sequence[Prompt]) -> str:
    """Hash of the ids and texts of a pool."""
    text = json.dumps([[p.id, *(m.content for m in p.messages)] for p in prompts])
    return hashlib.sha256(text.encode()).hexdigest()


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
    if not instinct.has_two_modes:
        raise TrainingError(
            f"the entropies of the answers to {n} prompts have one mode (p of the dip test "
            f"{instinct.dip:.2f}), so that refusals cannot be told from answers: give prompts that "
            "the model clearly refuses beside ones that it answers, or use --method entropy"
        )
    if (refused := len(instinct.prompts("refuse"))) < FEWEST:
        raise InputError(
            f"the model refuses {refused} of {n} prompts when they are bare (at least {FEWEST} are "
            "needed), so there is nothing to strengthen: give --prompts that it refuses"
        )
    if (answered := len(instinct.prompts("comply"))) < FEWEST:
        raise InputError(
            f"the model answers {answered} of {n} prompts (at least {FEWEST} are needed), so "
            "nothing would keep it from refusing everything: add harmless prompts to --prompts, or "
            "use --pool shipped"
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
