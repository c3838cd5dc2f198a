"""Prompts of a guard: some to fit it, others to set its threshold."""

import hashlib
import importlib.util
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sirl.config import GuardCalibrateConfig, GuardEvaluateConfig
from sirl.errors import ConfigError, InputError, MissingExtraError
from sirl.prompts import PromptSet, read_pool, read_prompts, shipped_pool
from sirl.registry.attacks import attacks_named
from sirl.registry.pool import WORLD_FAMILIES, training_disguises
from sirl.registry.sampling import require_sampler
from sirl.registry.suites import (
    EvaluationSetup,
    in_two_roles,
    said_of,
    spread,
)
from sirl.registry.targets import is_remote, is_world
from sirl.roles import Disguise, Search
from sirl.text import many, normalised
from sirl.types import Prompt

if TYPE_CHECKING:
    from sirl.evaluation.suite import Suite

__all__ = ["GuardSetup", "digest_of", "guard_searches", "guard_setup", "guarded_setup"]

LARGEST = 256
"""Maximum number of unlabelled prompts that a guard is fitted on."""
HARMLESS = LARGEST // 2
"""Maximum number of ordinary prompts added to them, and of look-alikes."""
EVERY = 4
"""One harmless prompt in four is for fitting, the others set the threshold."""


@dataclass(frozen=True)
class GuardSetup:
    """What a guard is fitted and calibrated on; no request is in both."""

    pool: tuple[Prompt, ...]
    """The guard is fitted on them; unlabelled but for the harmless ones."""
    harmless: frozenset[str]
    """Ids of those that ship with sirl and are known to be harmless."""
    wordings: tuple[Prompt, ...]
    """Harmless prompts whose beginnings are learned from, and which are not answered: the requests
    of the embedded world begin in few ways. Those of every other model are in the pool."""
    ordinary: tuple[Prompt, ...]
    lookalikes: tuple[Prompt, ...]
    disguises: tuple[Disguise, ...]
    sets: tuple[PromptSet, ...]
    notes: tuple[str, ...]

    @property
    def known(self) -> frozenset[str]:
        """Digests of the requests that the guard is fitted or calibrated on."""
        used = (*self.pool, *self.wordings, *self.ordinary, *self.lookalikes)
        return frozenset(map(digest_of, used))


class Parts(NamedTuple):
    """Prompts that need no file."""

    fit: Sequence[Sequence[Prompt]]
    """Ordinary prompts, look-alikes and perhaps tasks to fit on."""
    ordinary: Sequence[Prompt]
    lookalikes: Sequence[Prompt]
    wordings: Sequence[Prompt] = ()
    """Further harmless prompts, for their beginnings alone."""


def guard_setup(config: GuardCalibrateConfig) -> GuardSetup:
    """The prompts of `sirl guard calibrate`.

    Raises:
        ConfigError: A model other than the embedded one has no prompts, or the sampler is unknown.
        InputError: All harmless prompts of a file are also ones to fit on.
        MissingExtraError: scikit-learn is not installed.
    """
    if not is_remote(config.model):  # before minutes of sampling
        require_sampler(config)
        if importlib.util.find_spec("sklearn") is None:
            raise MissingExtraError("sirl guard calibrate", "eval")
    own = read_pool(config.prompts, strict=config.strict) if config.prompts else None
    given = [
        read_prompts(Path(f), strict=config.strict, wanted="safe") if f else None
        for f in (config.ordinary, config.lookalikes)
    ]
    if own is None and not is_world(config.model):
        raise ConfigError(
            f"sirl guard calibrate --model {config.model} needs --prompts: unlabelled prompts, "
            "some of which the model refuses"
        )
    parts = world_parts() if is_world(config.model) else shipped_parts()
    unsafe = own.prompts if own else world_unsafe()
    most = min(LARGEST, config.limit or LARGEST)
    first, wordings = spread(unsafe, most), spread(parts.wordings, most)
    mine = {digest_of(p) for p in first}
    shipped_fit = [p for part in parts.fit for p in spread(part, most)]
    harmless = [p for p in shipped_fit if digest_of(p) not in mine]
    pool = (*first, *harmless)
    twice = len(shipped_fit) - len(harmless)
    asked = {digest_of(p) for p in (*pool, *wordings)}
    fresh, dropped = others_than(asked, given, (parts.ordinary, parts.lookalikes), config.limit)
    if twice:
        dropped.append(
            f"{many(twice, 'prompt is', 'prompts are')} both in --prompts and in sirl's harmless "
            "pool: read by entropy alone, like the others of the file"
        )
    sets = (*(own.sets if own else ()), *(s for s in given if s))
    disguises = training_disguises(config)
    ids = frozenset(p.id for p in harmless)
    notes = (*said_of(sets), *dropped, *in_two_roles(((), *fresh)), *(own.notes if own else ()))
    return GuardSetup(pool, ids, wordings, fresh[0], fresh[1], disguises, sets, notes)


def others_than(
    asked: Collection[str],
    given: Sequence[PromptSet | None],
    shipped: Sequence[Sequence[Prompt]],
    limit: int | None,
) -> tuple[list[tuple[Prompt, ...]], list[str]]:
    """Ordinary prompts and look-alikes that are not fitted on, and sentences about the others.

    `asked` are the digests of those that are fitted on; `shipped` stand in for files not given.

    Raises:
        InputError: None is left of a file.
    """
    fresh, dropped = list[tuple[Prompt, ...]](), list[str]()
    for file, own in zip(given, shipped, strict=True):
        wanted = file.prompts if file else own
        new = [p for p in wanted if digest_of(p) not in asked]
        if file and (old := len(wanted) - len(new)):
            dropped.append(
                f"{old} of {many(len(wanted), 'prompt')} of {file.source} are also ones to fit on: "
                "left out"
            )
        fresh.append(spread(new, limit))
        if not fresh[-1]:
            raise InputError(
                f"all prompts of {file.source if file else 'the shipped pool'} are also ones to "
                "fit on: give other --ordinary and --lookalikes"
            )
    return fresh, dropped


def digest_of(prompt: Prompt) -> str:
    """A short digest of a request, without case and spacing."""
    text = normalised(prompt.request).encode(errors="surrogatepass")
    return hashlib.sha256(text).hexdigest()[:16]


def world_unsafe() -> Sequence[Prompt]:
    """Unsafe requests of the embedded world."""
    from sirl.world.language import unsafe_requests

    return unsafe_requests("train")


def world_parts() -> Parts:
    """Harmless requests of the embedded world: no deed is in two parts."""
    from sirl.world.language import (
        LOOKALIKE,
        ORDINARY,
        deed_of,
        deeds,
        lookalike_requests,
        ordinary_requests,
    )

    fitted = {
        *deeds(ORDINARY, "train")[::EVERY],
        *deeds(LOOKALIKE[:WORLD_FAMILIES], "train")[::EVERY],
    }
    known = {*deeds(LOOKALIKE[:WORLD_FAMILIES], "train")}
    ordinary, work = ordinary_requests("train"), world_tasks()
    alike = [p for p in lookalike_requests("train") if deed_of(p) in known]
    return Parts(
        [
            *(
                spread([p for p in prompts if deed_of(p) in fitted], HARMLESS)
                for prompts in (ordinary, alike)
            ),
            spread(work[::EVERY], HARMLESS),
        ],
        [*(p for p in ordinary if deed_of(p) not in fitted), *without_every(work)],
        [p for p in alike if deed_of(p) not in fitted],
        shipped_prompts(),
    )


def world_tasks() -> list[Prompt]:
    """Sums and programs of the embedded world that none of its benchmarks asks."""
    from sirl.world.benchmarks import BENCHMARKS, tasks

    asked = {p.request for b in BENCHMARKS for p in b.prompts()}
    fresh = [(k, t.question) for k in ("sums", "programs") for t in tasks(k)]
    return [
        Prompt.user(f"{kind}-train-{n}", question, source="world", category=kind)
        for n, (kind, question) in enumerate(fresh)
        if question not in asked
    ]


def without_every(prompts: Sequence[Prompt]) -> list[Prompt]:
    """The prompts without those that are fitted on."""
    return [p for n, p in enumerate(prompts) if n % EVERY]


def shipped_prompts() -> list[Prompt]:
    """The shipped prompts, with ids of their own."""
    return [replace(p, id=f"pool/{p.id}") for p in shipped_pool()]


def shipped_parts() -> Parts:
    """Shipped prompts: ordinary and boundary ones to fit on, and others of each."""
    shipped = shipped_prompts()
    boundary, ordinary = (
        [p for p in shipped if p.id.startswith(f"pool/{kind}")] for kind in ("boundary", "ordinary")
    )
    return Parts(
        [spread(prompts[::EVERY], HARMLESS) for prompts in (ordinary, boundary)],
        without_every(ordinary),
        without_every(boundary),
    )


def guarded_setup(
    setup: EvaluationSetup,
    config: GuardEvaluateConfig,
    disguises: Collection[str],
    known: Collection[str],
) -> EvaluationSetup:
    """The questions of `sirl guard evaluate`: an evaluation without what the guard was fitted on.

    Args:
        setup: The evaluation.
        config: The settings.
        disguises: Names of the disguises that the guard was fitted on.
        known: Digests of the requests that it was fitted or calibrated on.

    Raises:
        ConfigError: No disguise or no unsafe request is left.
    """
    suite, notes = setup.suite, list(setup.notes)
    attacks = [a for a in suite.attacks if isinstance(a, Disguise) and a.name not in disguises]
    if left := [a.name for a in suite.attacks if a not in attacks]:
        notes.append(f"left out, as searches or fitted on: {', '.join(left)}")
    behaviours, ordinary, lookalikes = (
        tuple(p for p in own if digest_of(p) not in known)
        for own in (suite.behaviours, suite.ordinary, suite.lookalikes)
    )
    gone = sum(map(len, (suite.behaviours, suite.ordinary, suite.lookalikes)))
    if gone := gone - len((*behaviours, *ordinary, *lookalikes)):
        notes.append(
            f"{many(gone, 'prompt is', 'prompts are')} left out, since the guard was fitted on them"
        )
    fresh = replace(
        suite,
        attacks=tuple(attacks),
        behaviours=behaviours,
        ordinary=ordinary,
        lookalikes=lookalikes,
        surgeries=(),
        prefills=(),
    )
    if ways := lacking(suite, fresh, disguises, searched=not is_remote(config.model)):
        raise ConfigError(
            f"nothing is left to evaluate {config.guard} on: give {', and '.join(ways)}"
        )
    return replace(setup, suite=fresh, notes=tuple(notes))


def lacking(
    asked: "Suite", fresh: "Suite", disguises: Collection[str], *, searched: bool
) -> list[str]:
    """What to give where nothing of an evaluation is left.

    Args:
        asked: The evaluation.
        fresh: What is left of it.
        disguises: Names of the disguises that the guard was fitted on.
        searched: Whether the guard's model can be searched.
    """
    ways = []
    if asked.behaviours and not fresh.attacks:
        ways.append(no_attack(asked.attacks, disguises, searched=searched))
    for flag, given, left in (
        ("--behaviours", asked.behaviours, fresh.behaviours),
        ("--ordinary", asked.ordinary, fresh.ordinary),
    ):
        if not left:
            ways.append(f"{flag} other than it was fitted on" if given else flag)
    return ways


def no_attack(
    attacks: Sequence[Disguise | Search], disguises: Collection[str], *, searched: bool
) -> str:
    """What to give instead of attacks none of which is left.

    Args:
        attacks: Those that were given.
        disguises: Names of the disguises that the guard was fitted on.
        searched: Whether the guard's model can be searched.
    """
    searches = ",".join(a.name for a in attacks if not isinstance(a, Disguise))
    fitted = ", ".join(a.name for a in attacks if a.name in disguises)
    if fitted:
        other = f"--attacks other than {fitted}, which it was fitted on"
    else:
        other = "--attacks with disguises, such as story"
    return (
        f"--searches {searches} for the searches, and {other}" if searches and searched else other
    )


def guard_searches(config: GuardEvaluateConfig) -> tuple[Search, ...]:
    """The searches of `sirl guard evaluate`.

    Raises:
        ConfigError: A name is unknown, or of an attack that searches nothing.
    """
    if not config.searches.strip():
        return ()
    named = attacks_named(config.searches)
    if not named or any(isinstance(a, Disguise) for a in named):
        other = next((a.name for a in named if isinstance(a, Disguise)), config.searches)
        raise ConfigError(f"--searches {other} is not a search: give it to --attacks")
    return tuple(a for a in named if isinstance(a, Search))
