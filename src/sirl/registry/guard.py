"""The prompts of a guard: those that it is fitted on, and those that set its threshold."""

import hashlib
import importlib.util
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from sirl.config import GuardCalibrateConfig, GuardEvaluateConfig
from sirl.errors import ConfigError, InputError, MissingExtraError
from sirl.prompts import PromptSet, read_prompts, shipped_pool
from sirl.registry.pool import WORLD_FAMILIES, training_disguises
from sirl.registry.suites import EvaluationSetup, evaluation_setup, said_of, spread
from sirl.registry.targets import is_remote, is_world
from sirl.roles import Disguise
from sirl.types import Prompt

__all__ = ["GuardSetup", "digest_of", "guard_setup", "guarded_setup"]

LARGEST = 256
"""Maximum number of unlabelled prompts that a guard is fitted on."""
HARMLESS = LARGEST // 2
"""Maximum number of ordinary prompts beside them, and of look-alikes."""
EVERY = 4
"""One harmless prompt in four is for fitting, the others set the threshold."""


@dataclass(frozen=True)
class GuardSetup:
    """What a guard is fitted and calibrated on; no request is in both."""

    pool: tuple[Prompt, ...]
    """Unlabelled; the guard is fitted on them."""
    ordinary: tuple[Prompt, ...]
    lookalikes: tuple[Prompt, ...]
    disguises: tuple[Disguise, ...]
    sets: tuple[PromptSet, ...]
    notes: tuple[str, ...]


class Parts(NamedTuple):
    """Prompts that need no file."""

    fit: Sequence[Sequence[Prompt]]
    """Ordinary prompts and look-alikes to fit on."""
    ordinary: Sequence[Prompt]
    lookalikes: Sequence[Prompt]


def guard_setup(config: GuardCalibrateConfig) -> GuardSetup:
    """The prompts of `sirl guard calibrate`.

    Raises:
        ConfigError: A model other than the embedded one has no prompts.
        InputError: All harmless prompts of a file are also ones to fit on.
        MissingExtraError: scikit-learn is not installed.
    """
    if (
        not is_remote(config.model) and importlib.util.find_spec("sklearn") is None
    ):  # before minutes of sampling
        raise MissingExtraError("sirl guard calibrate", "eval")
    own = read_prompts(Path(config.prompts), strict=config.strict) if config.prompts else None
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
    pool = tuple(p for part in (unsafe, *parts.fit) for p in spread(part, most))
    asked = {digest_of(p) for p in pool}
    fresh = []
    for file, shipped in zip(given, (parts.ordinary, parts.lookalikes), strict=True):
        wanted = file.prompts if file else shipped
        fresh.append(spread([p for p in wanted if digest_of(p) not in asked], config.limit))
        if not fresh[-1]:
            raise InputError(
                f"all prompts of {file.source if file else 'the shipped pool'} are also ones to "
                "fit on: give other --ordinary and --lookalikes"
            )
    sets = tuple(s for s in (own, *given) if s)
    disguises = training_disguises(config)
    return GuardSetup(pool, fresh[0], fresh[1], disguises, sets, said_of(sets))


def digest_of(prompt: Prompt) -> str:
    """A short digest of a request, without case and spacing."""
    text = " ".join(prompt.request.casefold().split())
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]


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
    ordinary = ordinary_requests("train")
    alike = [p for p in lookalike_requests("train") if deed_of(p) in known]
    return Parts(
        [
            spread([p for p in prompts if deed_of(p) in fitted], HARMLESS)
            for prompts in (ordinary, alike)
        ],
        [p for p in ordinary if deed_of(p) not in fitted],
        [p for p in alike if deed_of(p) not in fitted],
    )


def shipped_parts() -> Parts:
    """Shipped prompts: ordinary and boundary ones to fit on, and others of each."""
    shipped = [replace(p, id=f"pool/{p.id}") for p in shipped_pool()]
    boundary, ordinary = (
        [p for p in shipped if p.id.startswith(f"pool/{kind}")] for kind in ("boundary", "ordinary")
    )
    return Parts(
        [spread(prompts[::EVERY], HARMLESS) for prompts in (ordinary, boundary)],
        [p for n, p in enumerate(ordinary) if n % EVERY],
        [p for n, p in enumerate(boundary) if n % EVERY],
    )


def guarded_setup(
    config: GuardEvaluateConfig, disguises: Collection[str], known: Collection[str]
) -> EvaluationSetup:
    """The questions of `sirl guard evaluate`: an evaluation without what the guard was fitted on.

    Args:
        config: The settings.
        disguises: Names of the disguises that the guard was fitted on.
        known: Digests of the requests that it was fitted or calibrated on.

    Raises:
        ConfigError: No disguise or no unsafe request is left.
    """
    setup = evaluation_setup(config)
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
        notes.append(f"{gone} prompts are left out, since the guard was fitted on them")
    if not (attacks and behaviours and ordinary):
        raise ConfigError(
            f"nothing is left to evaluate {config.guard} on: give other --attacks, --behaviours "
            "and --ordinary than it was fitted on"
        )
    suite = replace(
        suite,
        attacks=tuple(attacks),
        behaviours=behaviours,
        ordinary=ordinary,
        lookalikes=lookalikes,
        benchmarks=(),
        surgeries=(),
    )
    return replace(setup, suite=suite, notes=tuple(notes))
