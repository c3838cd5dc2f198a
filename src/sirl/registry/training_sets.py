"""Splits prompts into training, evaluation and mini-evaluation sets.

No request is both trained on and evaluated. If there are enough prompts, mini-evaluations use other
requests than the evaluation, so that a step chosen by them is measured on fresh ones.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from sirl.config import TrainingSettings
from sirl.errors import ConfigError
from sirl.prompts import Pool, PromptSet, Rejected, read_pool
from sirl.registry.attacks import attacks_named, prefills_named, world_disguises
from sirl.registry.effects import check_effects
from sirl.registry.held_out import (
    held_out_notes,
    kept_back,
    mini_eval_note,
    near_note,
    not_evaluated,
)
from sirl.registry.judges import auto_attacker, auto_judges, with_refusals
from sirl.registry.pool import (
    boundary_half,
    general_tasks,
    harmless_pool,
    in_both_pools,
    own_harmless,
    shared_out,
)
from sirl.registry.suites import (
    FLAGS,
    harmless_prompts,
    in_two_roles,
    read_sets,
    said_of,
    spread,
    unseen_attacks,
    world_benchmarks,
    world_openers,
)
from sirl.registry.targets import is_world
from sirl.roles import Disguise, Judge, disguised
from sirl.types import DISGUISED, HARMLESS, Kind, Prompt

if TYPE_CHECKING:
    from sirl.evaluation.suite import Suite

__all__ = ["TrainingSetup", "training_setup"]

CHECKED = 12
"""Unsafe requests in a mini-evaluation, each under every attack; and tasks of each benchmark."""
CHECKED_HARMLESS = 24
"""Ordinary and look-alike prompts in a mini-evaluation, each."""
FEWEST_IN_BATCH = 2
"""Prompts of a step of the instinct: one of each mode."""
TABLE_HARMLESS = 200
"""Maximum ordinary and look-alike prompts of the evaluation, each, if the user gives none."""


@dataclass(frozen=True)
class TrainingSetup:
    """Training prompts and evaluation questions of a training run."""

    prompts: tuple[Prompt, ...]
    asked: tuple[Prompt, ...]
    """Those whose answers are sampled before the first step; none without a pool."""
    general: tuple[Prompt, ...]
    """Tasks that the sentinel watches for damage; none without one."""
    harmless: frozenset[str]
    """Ids of the prompts that are known to be harmless: those of `--pool`."""
    suite: "Suite"
    """The evaluation before and after training."""
    mini_eval: "Suite"
    """The mini-evaluation."""
    sets: tuple[PromptSet, ...]
    rejected: tuple[Rejected, ...]
    held_out: str
    """Number of prompts held out for the evaluation, in words."""
    parts: Callable[[Mapping[str, int]], list[str]]
    """The prompts of the evaluation in words, given the number of readable ones by kind."""
    notes: tuple[str, ...]
    """Sentences about files read and prompts held out."""


@dataclass(frozen=True)
class Split:
    """Unsafe requests by use."""

    learned: tuple[Prompt, ...]
    table: tuple[Prompt, ...]
    mini_eval: tuple[Prompt, ...]
    held_out: str
    asked: Callable[[int], str]
    """Description of the evaluation's unsafe requests, given how many are readable."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class EvaluationFiles:
    """The user's files of evaluation prompts."""

    behaviours: PromptSet | None
    ordinary: PromptSet | None
    lookalikes: PromptSet | None

    @property
    def given(self) -> dict[str, PromptSet]:
        """The given files, by flag."""
        files = (self.behaviours, self.ordinary, self.lookalikes)
        return {flag: s for flag, s in zip(FLAGS, files, strict=True) if s}


def training_setup(config: TrainingSettings) -> TrainingSetup:
    """Training prompts and questions, with no prompt in both.

    Raises:
        ConfigError: A model other than the embedded one has no prompts, or `disguised` was set
            with the user's prompts.
        InputError: A file has no valid row, or every training prompt is also evaluated.
    """
    check_effects(config)
    check_batch(config)
    read = read_sets(config)
    files = EvaluationFiles(*read)
    own = own_prompts(config)
    split = user_split(config, own, files.behaviours) if own else world_split(config, files)
    evaluated = table, mini_eval = suites(config, split, files)
    own_part, removed = not_evaluated(split.learned, files.given, evaluated)
    more = own_harmless(config)
    harmless = harmless_pool(config, own.prompts if own else own_part, more)
    removed += in_both_pools(more, harmless)
    if harmless:
        of = f" of --pool {config.pool}"
        harmless, also = not_evaluated(harmless, files.given, evaluated, of)
        harmless, chosen = boundary_half(harmless, own_part)
        removed = [*removed, *also, *chosen]
    learned, asked, limited = shared_out(config, own_part, harmless)
    pools = [pool for pool in (own, more) if pool]
    sets = (*(s for pool in pools for s in pool.sets), *files.given.values())
    return TrainingSetup(
        prompts=learned,
        asked=asked,
        general=general_tasks(config),
        harmless=frozenset(p.id for p in harmless),
        suite=table,
        mini_eval=mini_eval,
        sets=sets,
        rejected=tuple(row for s in sets for row in s.rejected),
        held_out=split.held_out,
        parts=partial(asked_parts, config, files, split),
        notes=(
            *said_of(sets),
            *in_two_roles([s.prompts if s else () for s in read]),
            *(n for p in pools for n in p.notes),
            *split.notes,
            *removed,
            *limited,
        ),
    )


def check_batch(config: TrainingSettings) -> None:
    """Refuse a step of the instinct without room for both modes."""
    if config.method == "instinct" and config.batch < FEWEST_IN_BATCH:
        raise ConfigError(
            f"batch {config.batch} has no room for prompts that the model refuses and prompts that "
            "it answers: give at least 2, or use --method entropy"
        )


def own_prompts(config: TrainingSettings) -> Pool | None:
    """The user's training prompts; None for the embedded world's."""
    if config.prompts is None:
        if not is_world(config.model):
            raise ConfigError(f"--prompts is required: {config.model} has no built-in prompts")
        if config.disguised and config.sentinel:
            raise ConfigError(
                "a sentinel reads the instinct of bare prompts, and disguised prompts have none: "
                "leave --disguised or --sentinel out"
            )
        return None
    if config.disguised:
        raise ConfigError(
            "disguised is for the embedded model's prompts: leave it or --prompts out"
        )
    return read_pool(config.prompts, strict=config.strict)


def user_split(config: TrainingSettings, own: Pool, behaviours: PromptSet | None) -> Split:
    """Split the user's prompts; at most a quarter is held out, for the evaluation first."""
    if behaviours:
        kept = kept_back(0, len(own.prompts), 0)
        return file_split(config, own.prompts, behaviours, kept)
    most, wanted = len(own.prompts) // 4, limited_to(config, config.held_out)
    held = min(wanted, most)
    table = spread(own.prompts, held) if held else ()
    rest = without(own.prompts, table)
    checked = limited_to(config, CHECKED)
    more = min(checked, most - held) if config.eval_every else 0
    if table and more < checked:
        more = 0
    mini_eval = spread(rest, more) if more else ()
    learned = without(rest, mini_eval)
    kept = kept_back(held, len(own.prompts), wanted)
    notes = [*held_out_notes(kept, held, wanted)]
    if config.eval_every:
        notes.append(mini_eval_note(more, min(checked, held)))
    notes += near_note(learned, (*table, *mini_eval))

    def asked(n: int) -> str:
        return f"{n} of the {len(own.prompts)} prompts of {own.source}, held out from training"

    return Split(learned, table, mini_eval or spread(table, checked), kept, asked, tuple(notes))


def world_split(config: TrainingSettings, files: EvaluationFiles) -> Split:
    """Split the embedded world's requests, which are disguised if `disguised` is set."""
    from sirl.world.language import unsafe_requests

    learned = tuple(unsafe_requests("train"))
    if config.disguised:
        disguises, _ = world_disguises()
        learned = tuple(disguised(p, disguises[n % len(disguises)]) for n, p in enumerate(learned))
    unseen = unsafe_requests("test")
    if files.behaviours:
        return file_split(config, learned, files.behaviours, kept_back(0, len(unseen), 0))
    wanted = limited_to(config, config.held_out)
    table = spread(unseen, wanted)
    kept = kept_back(len(table), len(unseen), wanted)
    return Split(
        learned,
        table,
        others(unseen, table, limited_to(config, CHECKED)),
        kept,
        lambda n: f"{n} unsafe requests of the embedded world, never trained on",
        (f"held_out: {kept}",) if len(table) < wanted else (),
    )


def limited_to(config: TrainingSettings, count: int) -> int:
    """A number of prompts to evaluate with, which `limit` bounds as it bounds files."""
    return min(count, config.limit or count)


def file_split(
    config: TrainingSettings, learned: Sequence[Prompt], behaviours: PromptSet, kept: str
) -> Split:
    """Train on all prompts; evaluate the user's file, a part of it in mini-evaluations."""
    table = spread(behaviours.prompts, config.limit)
    asked = partial(of_file, behaviours, "requests")
    checked = limited_to(config, CHECKED)
    return Split(tuple(learned), table, others(behaviours.prompts, table, checked), kept, asked)


def of_file(file: PromptSet, what: str, n: int) -> str:
    """'the 5 prompts of FILE' or '3 of the 5 prompts of FILE'."""
    count = len(file.prompts)
    return f"{'the' if n == count else f'{n} of the'} {count} {what} of {file.source}"


def without(prompts: Sequence[Prompt], others: Sequence[Prompt]) -> tuple[Prompt, ...]:
    """The prompts that are not among the others."""
    ids = {p.id for p in others}
    return tuple(p for p in prompts if p.id not in ids)


def others(prompts: Sequence[Prompt], asked: Sequence[Prompt], count: int) -> tuple[Prompt, ...]:
    """`count` of the prompts, none of them in `asked` if there are enough others."""
    rest = without(prompts, asked)
    return spread(rest if len(rest) >= count else prompts, count)


def asked_parts(
    config: TrainingSettings, files: EvaluationFiles, split: Split, counts: Mapping[str, int]
) -> list[str]:
    """The prompts of the evaluation, in words; empty if there is none."""
    ours = "of the embedded world" if is_world(config.model) else "built into sirl"
    parts = [split.asked(n)] if (n := counts.get("attack")) else []
    given: tuple[tuple[Kind, PromptSet | None], ...] = (
        ("ordinary", files.ordinary),
        ("lookalike", files.lookalikes),
    )
    for kind, file in given:
        if n := counts.get(kind):
            what = HARMLESS[kind]
            parts.append(of_file(file, what, n) if file else f"{n} {what} {ours}")
        if n := counts.get(DISGUISED[kind]):
            parts.append(f"{n} of them in disguises too")
    return parts


def training_judges(config: TrainingSettings) -> tuple[Judge, ...]:
    """The judges of the evaluation and the mini-evaluations."""
    own = config.prompts is not None or config.behaviours is not None
    return with_refusals(auto_judges(config.model, own_requests=own), config.refusals)


Harmless = tuple[tuple[Prompt, ...], tuple[Prompt, ...]]
"""Ordinary prompts and look-alikes."""


def suites(
    config: TrainingSettings, split: Split, files: EvaluationFiles
) -> tuple["Suite", "Suite"]:
    """The evaluation before and after training, and the mini-evaluation."""
    most = limited_to(config, TABLE_HARMLESS)
    ours = harmless_prompts(config.model, most)
    more = harmless_prompts(config.model, None)
    given = (files.ordinary, files.lookalikes)
    table = tuple(
        spread(s.prompts, config.limit) if s else mine for s, mine in zip(given, ours, strict=True)
    )
    mini_eval = tuple(
        others(s.prompts if s else rest, asked, limited_to(config, CHECKED_HARMLESS))
        for s, asked, rest in zip(given, table, more, strict=True)
    )
    if not split.table:
        table = tuple(asked if s else () for s, asked in zip(given, table, strict=True))
    return (
        table_suite(config, split.table, (table[0], table[1])),
        mini_eval_suite(config, split.mini_eval, (mini_eval[0], mini_eval[1])),
    )


def table_suite(
    config: TrainingSettings, behaviours: Sequence[Prompt], harmless: Harmless
) -> "Suite":
    """The evaluation before and after training; without behaviours, harmless prompts only."""
    from sirl.evaluation.suite import Suite

    judges = training_judges(config)
    if not behaviours:
        return Suite(judges, ordinary=harmless[0], lookalikes=harmless[1])
    return Suite(
        judges=judges,
        behaviours=behaviours,
        attacks=attacks_named(config.attacks),
        prefills=prefills_named(config.attacks),
        ordinary=harmless[0],
        lookalikes=harmless[1],
        benchmarks=world_benchmarks(config.limit) if is_world(config.model) else (),
        unseen=unseen_attacks(config.model),
        openers=world_openers(behaviours) if is_world(config.model) else {},
        attacker=auto_attacker(config.model),
    )


def mini_eval_suite(
    config: TrainingSettings, behaviours: Sequence[Prompt], harmless: Harmless
) -> "Suite":
    """The mini-evaluation: some prompts of each kind."""
    from sirl.evaluation.suite import Suite

    return Suite(
        judges=training_judges(config),
        behaviours=behaviours,
        attacks=[a for a in attacks_named("quick") if isinstance(a, Disguise)],
        ordinary=harmless[0],
        lookalikes=harmless[1],
        benchmarks=world_benchmarks(limited_to(config, CHECKED)) if is_world(config.model) else (),
    )
