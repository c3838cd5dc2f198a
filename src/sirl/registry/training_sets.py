"""Splits prompts into training, evaluation and mini-evaluation sets.

No request is both trained on and evaluated. If there are enough prompts, mini-evaluations use other
requests than the evaluation, so that a step chosen by them is measured on fresh ones.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sirl.config import TrainingSettings
from sirl.errors import ConfigError, InputError
from sirl.prompts import PromptSet, Rejected, read_prompts
from sirl.registry.attacks import attacks_named, world_disguises
from sirl.registry.effects import check_effects
from sirl.registry.judges import auto_attacker, auto_judges, with_refusals
from sirl.registry.pool import training_pool
from sirl.registry.suites import (
    harmless_prompts,
    read_sets,
    said_of,
    spread,
    unseen_attacks,
    world_benchmarks,
    world_openers,
)
from sirl.registry.targets import is_world
from sirl.roles import Disguise, Judge
from sirl.types import Prompt

if TYPE_CHECKING:
    from sirl.evaluation.suite import Suite

__all__ = ["TrainingSetup", "training_setup"]

CHECKED = 12
"""Unsafe requests in a mini-evaluation, each under every attack; and tasks of each benchmark."""
CHECKED_HARMLESS = 24
"""Ordinary and look-alike prompts in a mini-evaluation, each."""
TABLE_HARMLESS = 200
"""Most ordinary and look-alike prompts of the table, each, where the user gives none."""
FLAGS = ("--behaviours", "--ordinary", "--lookalikes")


@dataclass(frozen=True)
class TrainingSetup:
    """What a training run learns from, and what it asks."""

    prompts: tuple[Prompt, ...]
    suite: "Suite"
    """What is asked before and after."""
    mini_eval: "Suite"
    """What a mini-evaluation asks."""
    sets: tuple[PromptSet, ...]
    rejected: tuple[Rejected, ...]
    held_out: str
    """How many prompts of how many are kept from training for the table."""
    parts: Callable[[Mapping[str, int]], list[str]]
    """What the table asks, in words, by how many prompts of each kind it can ask the model."""
    notes: tuple[str, ...]
    """What was read and kept back, in sentences."""


@dataclass(frozen=True)
class Split:
    """Unsafe requests by what they are for."""

    learned: tuple[Prompt, ...]
    table: tuple[Prompt, ...]
    on_the_way: tuple[Prompt, ...]
    held_out: str
    asked: Callable[[int], str]
    """What the table's unsafe requests are, so many of which can be asked."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Asked:
    """The user's files of what is asked."""

    behaviours: PromptSet | None
    ordinary: PromptSet | None
    lookalikes: PromptSet | None

    @property
    def given(self) -> dict[str, PromptSet]:
        """Those that there are, by flag."""
        files = (self.behaviours, self.ordinary, self.lookalikes)
        return {flag: s for flag, s in zip(FLAGS, files, strict=True) if s}


def training_setup(config: TrainingSettings) -> TrainingSetup:
    """Training prompts and questions, with no prompt in both.

    Raises:
        ConfigError: A model other than the embedded one was given no prompts, or prompts of one's
            own are to be disguised.
        InputError: A file holds nothing usable, or all that there is to learn from is asked.
    """
    check_effects(config)
    files = Asked(*read_sets(config))
    own = own_prompts(config)
    split = user_split(config, own, files.behaviours) if own else world_split(config, files)
    learned, removed = apart(training_pool(config, split.learned), files.given)
    table, on_the_way = suites(config, split, files)
    sets = (*((own,) if own else ()), *files.given.values())
    return TrainingSetup(
        prompts=learned,
        suite=table,
        mini_eval=on_the_way,
        sets=sets,
        rejected=tuple(row for s in sets for row in s.rejected),
        held_out=split.held_out,
        parts=partial(asked_parts, config, files, split),
        notes=(*said_of(sets), *split.notes, *removed),
    )


def own_prompts(config: TrainingSettings) -> PromptSet | None:
    """The user's training prompts; None for the embedded world's own."""
    if config.prompts is None:
        if not is_world(config.model):
            raise ConfigError(f"--prompts is needed: {config.model} has no prompts of its own")
        return None
    if config.disguised:
        raise ConfigError(
            "disguised is for the embedded model's own prompts: leave it or --prompts out"
        )
    return read_prompts(Path(config.prompts), strict=config.strict)


def user_split(config: TrainingSettings, own: PromptSet, behaviours: PromptSet | None) -> Split:
    """The user's prompts: no more than a quarter is kept from training, for the table first."""
    if behaviours:
        kept = kept_back(0, len(own.prompts), 0)
        return file_split(config, own.prompts, behaviours, kept)
    most = len(own.prompts) // 4
    held = min(config.held_out, most)
    table = spread(own.prompts, held) if held else ()
    others = without(own.prompts, table)
    more = min(CHECKED, most - held) if config.eval_every else 0
    if table and more < CHECKED:
        more = 0
    on_the_way = spread(others, more) if more else ()
    learned = without(others, on_the_way)
    kept = kept_back(held, len(own.prompts), config.held_out)
    notes = [*held_out_notes(kept, held, config.held_out)]
    if config.eval_every:
        notes.append(on_the_way_note(more, min(CHECKED, held)))
    notes += near_note(learned, (*table, *on_the_way))

    def asked(n: int) -> str:
        return f"{n} of the {len(own.prompts)} prompts of {own.source}, kept from training"

    return Split(learned, table, on_the_way or spread(table, CHECKED), kept, asked, tuple(notes))


def world_split(config: TrainingSettings, files: Asked) -> Split:
    """The embedded world's own requests: plain ones, or disguised ones on request."""
    from sirl.world.language import unsafe_requests

    learned = tuple(unsafe_requests("train"))
    if config.disguised:
        disguises, _ = world_disguises()
        learned = tuple(
            replace(p, messages=disguises[n % len(disguises)].attempt(p).messages)
            for n, p in enumerate(learned)
        )
    unseen = unsafe_requests("test")
    if files.behaviours:
        return file_split(config, learned, files.behaviours, kept_back(0, len(unseen), 0))
    table = spread(unseen, config.held_out)
    kept = kept_back(len(table), len(unseen), config.held_out)
    return Split(
        learned,
        table,
        others(unseen, table, CHECKED),
        kept,
        lambda n: f"{n} unsafe requests of the embedded world, never trained on",
        (f"held_out: {kept}",) if len(table) < config.held_out else (),
    )


def file_split(
    config: TrainingSettings, learned: Sequence[Prompt], behaviours: PromptSet, kept: str
) -> Split:
    """All prompts are learned from; the user's file is asked, a part of it on the way."""
    table = spread(behaviours.prompts, config.limit)
    asked = partial(of_file, behaviours, "requests")
    return Split(tuple(learned), table, others(behaviours.prompts, table, CHECKED), kept, asked)


def of_file(file: PromptSet, what: str, n: int) -> str:
    """So many of the prompts of a file, in words."""
    count = len(file.prompts)
    return f"{'the' if n == count else f'{n} of the'} {count} {what} of {file.source}"


def apart(
    learned: tuple[Prompt, ...], files: dict[str, PromptSet]
) -> tuple[tuple[Prompt, ...], list[str]]:
    """Training prompts without those that a file asks, and a sentence for each file that did.

    Raises:
        InputError: None is left.
    """
    from sirl.analysis.contamination import overlaps

    notes = []
    for flag, asked in files.items():
        same = {o.prompt_id for o in overlaps(learned, asked.prompts)}
        left = tuple(p for p in learned if p.id not in same)
        if not left:
            raise InputError(
                f"every training prompt is also in {flag} {asked.source}: nothing is left to "
                "train on; give another file"
            )
        if same:
            notes.append(
                f"{len(same)} of {len(learned)} training prompts are also in {flag} "
                f"{asked.source}, word for word or nearly so: they are removed from training"
            )
        learned = left
    return learned, notes


def near_note(learned: Sequence[Prompt], asked: Sequence[Prompt]) -> list[str]:
    """How many of the prompts learned from are nearly those that are asked."""
    from sirl.analysis.contamination import overlaps

    near = {o.prompt_id for o in overlaps(learned, asked)}
    if not near:
        return []
    return [
        f"{len(near)} of {len(learned)} training prompts differ in a few words from a held-out "
        "one: the evaluation may look better than it is; give other --behaviours"
    ]


def without(prompts: Sequence[Prompt], others: Sequence[Prompt]) -> tuple[Prompt, ...]:
    """The prompts that are not among the others."""
    ids = {p.id for p in others}
    return tuple(p for p in prompts if p.id not in ids)


def others(prompts: Sequence[Prompt], asked: Sequence[Prompt], count: int) -> tuple[Prompt, ...]:
    """So many of the prompts, of those that the table does not ask where there are enough."""
    rest = without(prompts, asked)
    return spread(rest if len(rest) >= count else prompts, count)


def kept_back(held: int, given: int, wanted: int) -> str:
    """How many prompts are kept from training, of how many, and how many were asked for.

    >>> kept_back(130, 520, 600)
    '130 of 520 (asked for 600)'
    """
    return f"{held} of {given}" + (f" (asked for {wanted})" if held < wanted else "")


def held_out_notes(kept: str, held: int, wanted: int) -> tuple[str, ...]:
    """What becomes of the table before and after, where one was asked for."""
    if not wanted:
        return ()
    if not held:
        return (f"held_out: {kept}: too few prompts for an evaluation; it is skipped",)
    fewer = "; at most a quarter is held out" if held < wanted else ""
    return (
        f"held_out: {kept} prompts, kept from training, for the evaluation before and after{fewer}",
    )


def on_the_way_note(more: int, shared: int) -> str:
    """Which unsafe requests mini-evaluations ask."""
    if more:
        return f"mini-evaluations: {more} more prompts, kept from training"
    if shared:
        return (
            f"mini-evaluations ask {shared} of the evaluation's requests: there are too few "
            "prompts to hold out more"
        )
    return "mini-evaluations ask no unsafe requests: there are too few prompts to hold any out"


def asked_parts(
    config: TrainingSettings, files: Asked, split: Split, counts: Mapping[str, int]
) -> list[str]:
    """What the table asks, in words; nothing where there is none."""
    ours = "of the embedded world" if is_world(config.model) else "of our own wording"
    parts = [split.asked(n)] if (n := counts.get("attack")) else []
    for kind, name, file in (
        ("ordinary", "ordinary", files.ordinary),
        ("lookalike", "look-alike", files.lookalikes),
    ):
        if n := counts.get(kind):
            what = f"{name} prompts"
            parts.append(of_file(file, what, n) if file else f"{n} {what} {ours}")
    return parts


def training_judges(config: TrainingSettings) -> tuple[Judge, ...]:
    """Who judges the table and the mini-evaluations."""
    own = config.prompts is not None or config.behaviours is not None
    return with_refusals(auto_judges(config.model, own_requests=own), config.refusals)


Harmless = tuple[tuple[Prompt, ...], tuple[Prompt, ...]]
"""Ordinary prompts and look-alikes."""


def suites(config: TrainingSettings, split: Split, files: Asked) -> tuple["Suite", "Suite"]:
    """What is asked before and after, and what a mini-evaluation asks."""
    most = min(TABLE_HARMLESS, config.limit or TABLE_HARMLESS)
    ours = harmless_prompts(config.model, most)
    more = harmless_prompts(config.model, None)
    given = (files.ordinary, files.lookalikes)
    table = tuple(
        spread(s.prompts, config.limit) if s else mine for s, mine in zip(given, ours, strict=True)
    )
    on_the_way = tuple(
        others(s.prompts if s else rest, asked, CHECKED_HARMLESS)
        for s, asked, rest in zip(given, table, more, strict=True)
    )
    if not split.table:
        table = tuple(asked if s else () for s, asked in zip(given, table, strict=True))
    return (
        table_suite(config, split.table, (table[0], table[1])),
        mini_eval_suite(config, split.on_the_way, (on_the_way[0], on_the_way[1])),
    )


def table_suite(
    config: TrainingSettings, behaviours: Sequence[Prompt], harmless: Harmless
) -> "Suite":
    """What is asked before and after training; harmless prompts alone where none is unsafe."""
    from sirl.evaluation.suite import Suite

    judges = training_judges(config)
    if not behaviours:
        return Suite(judges, ordinary=harmless[0], lookalikes=harmless[1])
    return Suite(
        judges=judges,
        behaviours=behaviours,
        attacks=attacks_named(config.attacks),
        ordinary=harmless[0],
        lookalikes=harmless[1],
        benchmarks=world_benchmarks() if is_world(config.model) else (),
        unseen=unseen_attacks(config.model),
        openers=world_openers(behaviours) if is_world(config.model) else {},
        attacker=auto_attacker(config.model),
    )


def mini_eval_suite(
    config: TrainingSettings, behaviours: Sequence[Prompt], harmless: Harmless
) -> "Suite":
    """What a mini-evaluation asks: a little of everything."""
    from sirl.benchmarks.subset import Subset
    from sirl.evaluation.suite import Suite

    return Suite(
        judges=training_judges(config),
        behaviours=behaviours,
        attacks=[a for a in attacks_named("quick") if isinstance(a, Disguise)],
        ordinary=harmless[0],
        lookalikes=harmless[1],
        benchmarks=[Subset(b, CHECKED) for b in world_benchmarks()]
        if is_world(config.model)
        else (),
    )
