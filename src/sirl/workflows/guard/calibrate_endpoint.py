"""The workflow of `sirl guard calibrate --model URL#MODEL`: the guard of a model behind an API."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sirl import registry
from sirl.config import GuardCalibrateConfig
from sirl.decisions import find_openers
from sirl.errors import InputError
from sirl.guard.calibration import Calibration, rank_of
from sirl.guard.monitor import Watch
from sirl.instinct import Instinct
from sirl.registry.suites import spread
from sirl.roles import Console
from sirl.runs import Existing, Run, open_run
from sirl.runs.places import KEPT
from sirl.runs.rejects import set_aside
from sirl.types import Prompt
from sirl.workflows.frame import Frame
from sirl.workflows.guard.calibrate import GUARD, groups, read_modes
from sirl.workflows.guard.endpoint_answers import Exchange, asked, checked, cost_of, shown
from sirl.workflows.instinct import instinct_notes, summarise_instinct, unlike_refusals

__all__ = ["calibrate_endpoint"]

WATCH = Watch()
POOL, ANSWERS = 128, 2
"""Prompts at most whose answers show refusals and compliance, and answers to each."""
HARMLESS = 150
"""Harmless prompts of each group at most."""


@dataclass(frozen=True)
class EndpointCalibrationJob:
    """What the parts of a calibration share."""

    config: GuardCalibrateConfig
    setup: registry.GuardSetup
    exchange: Exchange


def calibrate_endpoint(
    config: GuardCalibrateConfig, existing: Existing, console: Console
) -> dict[str, Any]:
    """Calibrate a guard of an endpoint into a run folder; the summary.

    Raises:
        SirlError: The user can correct it.
    """
    from sirl.guard.upstream.heard import Names
    from sirl.guard.upstream.meeting import identity_of, manner_of

    with Frame("guard calibrate", resumable=False) as frame:
        engine = registry.calibrated_endpoint(config)
        setup = bounded(registry.guard_setup(config))
        for group, prompts in groups(setup).items():
            rank_of(len(prompts), config.alpha, group)  # before a request is paid for
        manner, sent_before = manner_of(engine)
        identity = identity_of(engine, (), manner)
        sent_before += len(identity.witnesses)
        run = frame.hold(open_run(Path(config.out), config.model_dump(), existing, resumable=False))
        console.warn([*setup.notes, announced(config, setup)])
        with console.bar() as progress:
            provenance = frame.begin(run, config, keeps=(GUARD, KEPT))
            rejected = [row for s in setup.sets for row in s.rejected]
            console.warn(set_aside(run, rejected, strict=config.strict))
            provenance.note(model={"endpoint": engine.identity}, prompts=setup.sets, readings=())
            exchange = Exchange(engine, manner, Names(), progress, console, sent_before)
            exchange.service, exchange.kept = shown(identity), frame.kept(run, console)
            work = EndpointCalibrationJob(config, setup, exchange)
            return frame.finish(run, calibrated(work, run))


def bounded(setup: registry.GuardSetup) -> registry.GuardSetup:
    """The prompts that are asked: every one costs requests."""
    return replace(
        setup,
        pool=spread(setup.pool, POOL),
        ordinary=spread(setup.ordinary, HARMLESS),
        lookalikes=spread(setup.lookalikes, HARMLESS),
    )


def announced(config: GuardCalibrateConfig, setup: registry.GuardSetup) -> str:
    """What the calibration costs at most."""
    harmless = sum(map(len, groups(setup).values()))
    answers = len(setup.pool) * ANSWERS + harmless
    return cost_of("calibration", answers, harmless, config.new_tokens, WATCH)


def calibrated(work: EndpointCalibrationJob, run: Run) -> dict[str, Any]:
    """Learn, calibrate and write the guard."""
    from sirl.guard.upstream.endpoint_guard import (
        DETECTOR,
        EndpointGuard,
        endpoint_binding,
    )
    from sirl.guard.upstream.meeting import identity_of

    config, exchange = work.config, work.exchange
    instinct, openers = learned(work)
    watch = replace(WATCH, entropy_cut=instinct.cut)
    scores = {
        group: {DETECTOR: scores_of(work, openers, watch, group, prompts)}
        for group, prompts in groups(work.setup).items()
    }
    identity = identity_of(exchange.engine, sorted(openers), exchange.manner)
    exchange.sent += len(identity.witnesses)
    binding = endpoint_binding(identity, sorted(openers), exchange.manner, config.new_tokens, watch)
    calibration = Calibration(binding, config.alpha, scores)
    guard = EndpointGuard(openers, watch, exchange.manner, identity, calibration, work.setup.known)
    run.write(GUARD, guard.document())
    return {
        "instinct": summarise_instinct(instinct),
        "openers": sorted(openers),
        "n": calibration.sizes,
        "alpha": config.alpha,
        "threshold": guard.threshold,
        "sentence": calibration.sentence(),
        "requests": exchange.sent,
        "tokens": exchange.tokens,
    }


def learned(work: EndpointCalibrationJob) -> tuple[Instinct, frozenset[str]]:
    """The model's instinct by its truncated entropies, and the openers of its refusals.

    Raises:
        InputError: The answers show no refusals, or these have no common first token.
    """
    pool, exchange = work.setup.pool, work.exchange
    answers = asked(exchange, "answers to bare prompts", pool, ANSWERS)
    completions = [answer.completion for answer in answers]
    instinct = read_modes(completions)
    exchange.console.warn(instinct_notes(instinct)[:1])
    first = find_openers(completions, instinct.cut)
    exchange.console.warn(unlike_refusals(completions, pool, instinct.cut, first))
    openers = exchange.names.names(first)
    if not openers:
        raise InputError(
            f"the refusals of {exchange.engine.model} share no first token, so a check could not "
            "recognise one: give --prompts that it clearly refuses"
        )
    return instinct, frozenset(openers)


def scores_of(
    work: EndpointCalibrationJob,
    openers: frozenset[str],
    watch: Watch,
    group: str,
    prompts: Sequence[Prompt],
) -> tuple[float, ...]:
    """Statistics of the answers to a group, in ascending order; without refusals.

    Raises:
        InputError: Too few answers are left for alpha.
    """
    from sirl.guard.upstream.heard import statistic

    what, exchange = f"answers to {group} prompts", work.exchange
    answers = asked(exchange, what, prompts, 1)
    kept = [a for a in answers if a.completion.mean_entropy >= watch.entropy_cut]
    if refused := len(answers) - len(kept):
        exchange.console.warn([f"{refused} of {len(answers)} {what} are refusals: not used"])
    rank_of(len(kept), work.config.alpha, group)
    scores = checked(exchange, f"checks of {what}", openers, watch, kept)
    rank_of(len(scores), work.config.alpha, group)
    found = (statistic(kept[n], own, openers, watch) for n, own in scores.items())
    return tuple(sorted(found))
