"""Reads the starting model's instinct for each prompt of the pool, before the first step."""

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import asdict
from functools import cached_property
from textwrap import shorten
from typing import Any

from sirl.errors import ConfigError, InputError, TrainingError
from sirl.instinct import Instinct, find_instinct
from sirl.judges.rules import RefusalRules
from sirl.roles import Engine, Progress
from sirl.runs import Run
from sirl.stats import mean
from sirl.text import many
from sirl.training.openings import OwnAnswers, own_answers
from sirl.types import Attempt, Completion, Prompt
from sirl.workflows.console import parts

__all__ = [
    "AskedOnce",
    "check_counts",
    "check_enough",
    "instinct_notes",
    "read_instinct",
    "read_own_answers",
    "summarise_instinct",
    "unlike_refusals",
]

FILE, ANSWERS, ASKED = "instinct.json", "own_answers.json", "instinct_answers.jsonl"
FEWEST = 4
"""Prompts of each mode at least; one in four is watched and not trained on."""
FEW_REFUSED = 20
"""Refused prompts from which there are enough to learn from."""
MOST_READ = 20
"""Answers behind a first token at most that are read to see whether they are refusals."""
LONGEST_EXAMPLE = 60
"""Characters of an answer in a notice at most."""
FEW_BORDER = 0.02
"""Share of the pool from which prompts near the border hold it."""


class AskedOnce:
    """Samples each prompt once, and keeps its answers in the run folder.

    A run that was stopped or killed goes on with the prompts that are not yet answered.
    """

    def __init__(self, engine: Engine, run: Run) -> None:
        """`engine` samples from the starting model."""
        self.engine = engine
        self.run = run

    @cached_property
    def known(self) -> dict[str, list[Completion]]:
        """Answers by `place`, at first those of the run folder."""
        return {
            row["place"]: [*map(Completion.revived, row["answers"])] for row in self.run.rows(ASKED)
        }

    def answers(
        self, prompts: Sequence[Prompt], group: int, rows: int, progress: Progress
    ) -> list[Completion]:
        """`group` answers of the starting model to each prompt, in the order of the prompts.

        Args:
            prompts: What is asked.
            group: Answers per prompt.
            rows: Answers sampled between two reports of progress.
            progress: Told of prompts that are sampled.
        """
        places = {place(p, group): p for p in prompts}
        new = [(key, p) for key, p in places.items() if key not in self.known]
        for batch in parts("reading the model's instinct", new, max(1, rows // group), progress):
            found = self.engine.sample([p for _, p in batch], group=group)
            asked = {key: found[n * group : (n + 1) * group] for n, (key, _) in enumerate(batch)}
            lines = [
                {"place": key, "answers": [asdict(c) for c in own]} for key, own in asked.items()
            ]
            self.run.append(ASKED, *lines)
            self.known.update(asked)
        return [c for p in prompts for c in self.known[place(p, group)]]


def place(prompt: Prompt, group: int) -> str:
    """What an answer is kept under: a hash of id and messages of its prompt, and the group size."""
    return hashlib.sha256(repr((prompt.id, prompt.messages, group)).encode()).hexdigest()


def read_instinct(
    run: Run,
    asked: AskedOnce,
    prompts: Sequence[Prompt],
    group: int,
    rows: int,
    progress: Progress,
) -> Instinct:
    """The instinct of a run: from its folder, or sampled from the starting model and saved.

    Args:
        run: The run folder, which keeps the instinct for a resumed run.
        asked: Gives the answers.
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
    found = find_instinct(asked.answers(prompts, group, rows, progress))
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
    asked: AskedOnce,
    prompts: Sequence[Prompt],
    group: int,
    rows: int,
    progress: Progress,
) -> OwnAnswers:
    """The starting model's own answers of a run: from its folder, or sampled and saved.

    Args:
        run: The run folder, which keeps them for a resumed run.
        instinct: The instinct of the run.
        asked: Gives the answers.
        prompts: The pool, bare, then disguised prompts, whose help is used where the bare prompt
            got none.
        group: Answers per prompt.
        rows: Answers sampled between two reports of progress.
        progress: Told of prompts that are read.

    Raises:
        ConfigError: A resumed run holds those of an older version.
    """
    if saved := run.read(ANSWERS):
        if any(isinstance(token, int) for own in saved["openings"].values() for token in own):
            raise ConfigError(
                f"{run.path} was begun by a version of sirl that had one opening per prompt: start "
                "over with --overwrite"
            )
        return OwnAnswers.revived(saved)
    found = own_answers(instinct, asked.answers(prompts, group, rows, progress))
    run.write(ANSWERS, asdict(found))
    return found


def check(instinct: Instinct) -> None:
    """Refuse an instinct from which nothing can be learned."""
    n = len(instinct.shares)
    if not instinct.has_two_modes:
        raise TrainingError(
            f"the entropies of the answers to {n} prompts have one mode (p of the dip test "
            f"{instinct.dip:.2f}), so that refusals cannot be told from answers: give both "
            "prompts that the model clearly refuses and ones that it answers, or use --method "
            "entropy without --sentinel"
        )
    check_counts(len(instinct.prompts("refuse")), len(instinct.prompts("comply")), n)


def check_enough(prompts: Sequence[Prompt], harmless: Collection[str]) -> None:
    """Refuse too few prompts of the user before any is asked.

    Raises:
        InputError: There are fewer than could be refused.
    """
    own = [p for p in prompts if p.id not in harmless]
    if len(own) < FEWEST:
        raise InputError(
            f"{many(len(own), 'prompt')} in --prompts: at least {FEWEST} that the model refuses "
            "are needed, and some more are held out; give more"
        )


def check_counts(refused: int, answered: int, n: int) -> None:
    """Refuse a pool of n prompts with too few of a mode."""
    if refused < FEWEST:
        raise InputError(
            f"the model refuses {refused} of {n} prompts, yours and the pool's, when they are bare "
            f"(at least {FEWEST} are needed), so there is nothing to strengthen or to watch: give "
            "--prompts that it refuses"
        )
    if answered < FEWEST:
        raise InputError(
            f"the model answers {answered} of {n} prompts, yours and the pool's (at least "
            f"{FEWEST} are needed), so "
            "nothing would keep it from refusing everything: give harmless prompts with --pool "
            "FILE, or use --pool shipped"
        )


def unlike_refusals(
    completions: Sequence[Completion],
    prompts: Sequence[Prompt],
    cut: float,
    openers: Sequence[int],
) -> list[str]:
    """Answers that are taken for refusals and are none, in a sentence; empty if there are none.

    An answer that could hardly be another, such as that to a sum, has a low entropy, too. The rules
    for refusals read some answers behind each first token; they decide nothing but this notice.

    Args:
        completions: Answers to bare prompts.
        prompts: Those prompts.
        cut: Mean entropy in nats below which an answer is a refusal.
        openers: Tokens that begin refusals.
    """
    asked, rules = {p.id: p for p in prompts}, RefusalRules()

    def is_help(completion: Completion) -> bool:
        prompt = asked[completion.prompt_id]
        verdict = rules.verdict(Attempt(prompt, "direct", prompt.messages), completion.text)
        return verdict.label == "compliance"

    examples = list[str]()
    for opener in openers:
        begun = [c for c in completions if c.token_ids[:1] == (opener,) and c.mean_entropy < cut]
        read = begun[:: -(-len(begun) // MOST_READ) or 1]
        helpful = [c for c in read if is_help(c)]
        if len(helpful) * 2 > len(read):
            examples.append(repr(shorten(helpful[0].text, LONGEST_EXAMPLE, placeholder="...")))
    if not examples:
        return []
    return [
        f"answers such as {' and '.join(examples[:2])} have the low entropy of refusals, and are "
        "taken for some, but do not read like any: leave prompts with one right answer, such as "
        "sums, out of --prompts and out of a --pool FILE"
    ]


def instinct_notes(instinct: Instinct) -> list[str]:
    """What was found, in sentences."""
    counts = {mode: len(instinct.prompts(mode)) for mode in ("refuse", "comply", None)}
    notes = [
        f"instinct: of {len(instinct.shares)} prompts the model refuses {counts['refuse']}, "
        f"answers {counts['comply']}, and {counts[None]} are undecided and left out; mean entropy "
        f"{instinct.modes[0]:.2f} and {instinct.modes[1]:.2f} nats, cut at {instinct.cut:.2f}"
    ]
    if counts["refuse"] < FEW_REFUSED:
        notes.append(
            f"the model refuses only {many(counts['refuse'], 'prompt')}, which is few to learn "
            "from: give more --prompts that it refuses"
        )
    if instinct.border < FEW_BORDER * len(instinct.shares):
        notes.append(
            f"only {many(instinct.border, 'prompt of the pool is', 'prompts of the pool are')} "
            "near the border between refusal and answer, so over-refusal may rise: add "
            "harmless prompts that sound alarming"
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
