"""Builds the evaluation suite from files or built-in prompts."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sirl.config import EvaluationSettings, GuardEvaluateConfig, ProbeConfig, TrainingSettings
from sirl.errors import ConfigError
from sirl.models.folder import perhaps_embedded
from sirl.prompts import PromptSet, Rejected, asked_text, read_pool, read_prompts, read_targets
from sirl.registry.attacks import APART, attack_names, attacks_named, own_attacks, prefills_named
from sirl.registry.benchmarks import benchmarks_of, limited
from sirl.registry.effects import check_effects
from sirl.registry.judges import attacker_of, judges_of
from sirl.registry.sampling import require_sampler
from sirl.registry.tampering import surgeries_named
from sirl.registry.targets import is_world
from sirl.roles import Attack, Benchmark, Judge, Search, identity_of
from sirl.text import many
from sirl.types import Budget, Prompt

if TYPE_CHECKING:
    from sirl.analysis.calibration import JudgeCalibration
    from sirl.attacks.replay import Sheet
    from sirl.evaluation.suite import Suite

__all__ = [
    "FLAGS",
    "EvaluationSetup",
    "evaluation_setup",
    "harmless_prompts",
    "in_two_roles",
    "read_sets",
    "said_of",
    "spread",
    "unseen_attacks",
    "world_benchmarks",
    "world_openers",
]

FLAGS = ("--behaviours", "--ordinary", "--lookalikes")
NOTHING = "none"
"""Value of `--attacks` for only the attacks of the user's files."""


@dataclass(frozen=True)
class EvaluationSetup:
    """The setup of an evaluation and the files they were read from."""

    suite: "Suite"
    sets: tuple[PromptSet, ...]
    rejected: tuple[Rejected, ...]
    trained_on: tuple[Prompt, ...]
    """Training prompts, to look for contamination of the behaviours."""
    calibration: "JudgeCalibration | None"
    """Calibration of the first judge."""
    notes: tuple[str, ...]
    """Sentences about the files read."""


def evaluation_setup(config: EvaluationSettings) -> EvaluationSetup:
    """The questions of `sirl evaluate` and `sirl probe`.

    Raises:
        ConfigError: There is nothing to ask, or a probe has no unsafe requests.
    """
    from sirl.evaluation.suite import Suite

    check_effects(config)
    require_sampler(config)
    sets = read_sets(config)
    unsafe, ordinary, lookalikes = (spread(s.prompts, config.limit) if s else () for s in sets)
    sheet = read_recorded(config)
    if sheet and not config.behaviours:
        unsafe = spread(sheet.behaviours, config.limit)
    benchmarks, unfit = benchmarks_of(config)
    if is_world(config.model) and not (any(sets) or sheet):
        unsafe, ordinary, lookalikes = world_prompts(config)
        benchmarks = benchmarks or world_benchmarks(config.limit)
    if isinstance(config, ProbeConfig):
        benchmarks = ()
        lookalikes = lookalikes if config.lookalikes else ()
    check_asked(config, unsafe, (*ordinary, *lookalikes), benchmarks)
    openers = world_openers(unsafe) if is_world(config.model) else {}
    if config.targets:
        openers |= read_targets(Path(config.targets))
    attacks = chosen_attacks(config, sheet) if unsafe else ()
    check_budget(config, attacks)
    suite = Suite(
        judges=judges_of(config),
        behaviours=unsafe,
        attacks=attacks,
        ordinary=ordinary,
        lookalikes=lookalikes,
        benchmarks=benchmarks,
        unseen=unseen_attacks(config.model),
        openers=openers,
        attacker=attacker_of(config),
        surgeries=surgeries_named(config, unsafe, openers) if unsafe else (),
        prefills=prefills_named(config.attacks) if unsafe else (),
        limit=Budget(config.max_queries or sys.maxsize, config.max_tokens, config.max_seconds),
    )
    given = tuple(s for s in sets if s)
    rejected = [*unfit, *(row for s in (*given, sheet) if s for row in s.rejected)]
    rejected += [row for a in suite.attacks for row in getattr(a, "rejected", ())]
    known = calibration(config, suite.judges[0])
    trained, said = trained_on(config)
    notes = (*said_of(given), *in_two_roles((unsafe, ordinary, lookalikes)), *said)
    return EvaluationSetup(suite, given, tuple(rejected), trained, known, notes)


def said_of(sets: Sequence[PromptSet]) -> tuple[str, ...]:
    """Sentences about the prompt files: columns read, and notes on their rows."""
    return tuple(sentence for s in sets for sentence in (s.read, *s.notes))


def in_two_roles(asked: Sequence[Sequence[Prompt]]) -> list[str]:
    """A sentence for every two of the unsafe, ordinary and look-alike prompts that overlap."""
    texts = {
        flag: {asked_text(p.messages) for p in prompts}
        for flag, prompts in zip(FLAGS, asked, strict=True)
    }
    shared = {(a, b): len(texts[a] & texts[b]) for a, b in combinations(texts, 2)}
    return [
        f"{many(n, 'prompt is', 'prompts are')} asked both as {a} and as {b}, which are different "
        "roles: the figures of one are wrong; leave such prompts out of one file"
        for (a, b), n in shared.items()
        if n
    ]


def read_sets(config: EvaluationSettings | TrainingSettings) -> list[PromptSet | None]:
    """The user's unsafe, ordinary and look-alike prompts, without rows of the opposite label."""
    files: tuple[tuple[str | None, Literal["safe", "unsafe"]], ...] = (
        (config.behaviours, "unsafe"),
        (config.ordinary, "safe"),
        (config.lookalikes, "safe"),
    )
    return [
        read_prompts(Path(f), strict=config.strict, wanted=wanted) if f else None
        for f, wanted in files
    ]


def check_asked(
    config: EvaluationSettings,
    unsafe: Sequence[Prompt],
    harmless: Sequence[Prompt],
    benchmarks: Sequence[Benchmark],
) -> None:
    """Raise ConfigError if there is nothing to ask."""
    if isinstance(config, ProbeConfig) and not unsafe:
        raise ConfigError(f"sirl probe of {config.model} needs unsafe requests: give --behaviours")
    if not (unsafe or harmless or benchmarks):
        wanted = "--behaviours, --sheet, --ordinary, --lookalikes or --benchmarks"
        if isinstance(config, GuardEvaluateConfig):
            wanted = "--behaviours and --ordinary"
        raise ConfigError(
            f"there is nothing to ask {config.model}: {perhaps_embedded(config.model)}give {wanted}"
        )


def read_recorded(config: EvaluationSettings) -> "Sheet | None":
    """The sheet of recorded attacks, if given."""
    if not config.sheet:
        return None
    from sirl.attacks.replay import read_sheet

    return read_sheet(Path(config.sheet), strict=config.strict)


def chosen_attacks(config: EvaluationSettings, sheet: "Sheet | None") -> tuple[Attack, ...]:
    """The named attacks, those of the user's files, and the recorded ones.

    Raises:
        ConfigError: There is no attack.
    """
    named = () if config.attacks == NOTHING else attacks_named(config.attacks)
    chosen = (*named, *own_attacks(config), *(sheet.attacks if sheet else ()))
    if not chosen and not set(APART) & {n.strip() for n in config.attacks.split(",")}:
        raise ConfigError("--attacks none leaves no attack: give --sheet, --templates or names")
    return chosen


def check_budget(config: EvaluationSettings, attacks: Sequence[Attack]) -> None:
    """Refuse bounds of searches where nothing is searched.

    Raises:
        ConfigError: A bound is given, and no attack is a search.
    """
    if isinstance(config, GuardEvaluateConfig) or any(isinstance(a, Search) for a in attacks):
        return
    if given := [n for n in ("max_queries", "max_tokens", "max_seconds") if getattr(config, n)]:
        hint = "; --new-tokens bounds the length of answers" if given == ["max_tokens"] else ""
        raise ConfigError(
            f"--{given[0].replace('_', '-')} bounds searches, and --attacks {config.attacks} holds "
            f"none: leave it out, or name a search such as best_of_n{hint}"
        )


def calibration(config: EvaluationSettings, judge: Judge) -> "JudgeCalibration | None":
    """The calibration of the first judge, if a file is given.

    Raises:
        ConfigError: It belongs to another judge, or to another state of this one.
    """
    if not config.calibration:
        return None
    from sirl.analysis.calibration import read_calibration

    found = read_calibration(Path(config.calibration))
    if found.judge != judge.name:
        raise ConfigError(
            f"calibration {config.calibration} is for judge {found.judge!r}, but the first judge "
            f"is {judge.name!r}: calibrate that one"
        )
    if found.identity != identity_of(judge):
        raise ConfigError(
            f"calibration {config.calibration} is for another state of judge {judge.name!r} "
            "(other weights, patterns or wording): calibrate it again"
        )
    return found


def trained_on(config: EvaluationSettings) -> tuple[tuple[Prompt, ...], tuple[str, ...]]:
    """The prompts of `trained_on`, and a sentence about the file."""
    if not config.trained_on:
        return (), ()
    found = read_pool(config.trained_on, strict=config.strict)
    n = sum(len(s.rejected) for s in found.sets)
    aside = f"; {many(n, 'row is', 'rows are')} skipped" if n else ""
    read = "; ".join(s.read for s in found.sets)
    return found.prompts, (f"trained_on: {read}{aside}",)


def world_prompts(
    config: EvaluationSettings,
) -> tuple[tuple[Prompt, ...], tuple[Prompt, ...], tuple[Prompt, ...]]:
    """The embedded world's unsafe, ordinary and look-alike requests for testing."""
    from sirl.world.language import unsafe_requests

    limit = config.limit or 100
    return spread(unsafe_requests("test"), limit), *harmless_prompts(config.model, limit)


def world_benchmarks(limit: int | None) -> tuple[Benchmark, ...]:
    """Sums, programs and small talk of the embedded world, with at most `limit` tasks each."""
    from sirl.world.benchmarks import BENCHMARKS

    return limited(BENCHMARKS, limit)


def world_openers(behaviours: Sequence[Prompt]) -> dict[str, str]:
    """Openers of compliant answers in the embedded world, by behaviour id."""
    from sirl.world.language import opener_for

    return {p.id: opener for p in behaviours if (opener := opener_for(p))}


def unseen_attacks(model: str) -> frozenset[str]:
    """Attacks that do not occur in the embedded model's alignment data; empty for other models."""
    if not is_world(model):
        return frozenset()
    from sirl.world.language import SEEN

    return frozenset(attack_names()) - {"direct", *SEEN}


def harmless_prompts(
    model: str, limit: int | None
) -> tuple[tuple[Prompt, ...], tuple[Prompt, ...]]:
    """Ordinary and look-alike prompts: the world's, or built-in ones for any other model."""
    if is_world(model):
        from sirl.world.language import lookalike_requests, ordinary_requests

        return (
            spread(ordinary_requests("test"), limit),
            spread(lookalike_requests("test"), limit),
        )
    from sirl.evaluation.harmless import LOOKALIKES, ORDINARY

    return (
        spread(from_texts(ORDINARY, "sirl-ordinary"), limit),
        spread(from_texts(LOOKALIKES, "sirl-lookalike"), limit),
    )


def spread(prompts: Sequence[Prompt], limit: int | None) -> tuple[Prompt, ...]:
    """At most `limit` of the prompts, evenly spread over their order."""
    if limit is None or limit >= len(prompts):
        return tuple(prompts)
    return tuple(prompts[i * len(prompts) // limit] for i in range(limit))


def from_texts(texts: Sequence[str], source: str) -> tuple[Prompt, ...]:
    """Prompts with one user turn each."""
    return tuple(Prompt.user(f"{source}-{n}", text, source=source) for n, text in enumerate(texts))
