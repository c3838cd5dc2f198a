"""The workflow of `sirl guard calibrate --model URL#MODEL`: the guard of a model behind an API."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sirl import registry
from sirl.config import GuardCalibrateConfig
from sirl.decisions import find_openers
from sirl.errors import InputError, ModelError
from sirl.guard.calibration import Calibration, rank_of
from sirl.guard.monitor import Watch
from sirl.instinct import Instinct
from sirl.roles import Console, Progress
from sirl.runs import Existing, Run, open_run
from sirl.runs.rejects import set_aside
from sirl.types import Prompt
from sirl.workflows.frame import Frame
from sirl.workflows.guard_calibrate import GUARD, groups, read_modes
from sirl.workflows.instinct import instinct_notes, summarise_instinct

if TYPE_CHECKING:
    from sirl.guard.upstream.asking import AskedBody, Manner
    from sirl.guard.upstream.heard import Names, ReadAnswer
    from sirl.rollouts.arrivals import Lost
    from sirl.rollouts.endpoint import EndpointEngine
    from sirl.rollouts.endpoint_reply import Answer

__all__ = ["calibrate_endpoint"]

WATCH = Watch()
POOL, ANSWERS = 128, 2
"""Prompts at most whose answers show refusals and compliance, and answers to each."""
HARMLESS = 150
"""Harmless prompts of each group at most."""
TOGETHER = 64
"""Requests between two reports of progress."""


@dataclass
class Work:
    """What the parts of a calibration share."""

    config: GuardCalibrateConfig
    setup: registry.GuardSetup
    engine: "EndpointEngine"
    manner: "Manner"
    names: "Names"
    progress: Progress
    console: Console
    sent: int = 0
    """Requests."""
    tokens: int = 0
    """Tokens that the endpoint has written."""


def calibrate_endpoint(
    config: GuardCalibrateConfig, existing: Existing, console: Console
) -> dict[str, Any]:
    """Calibrate a guard of an endpoint into a run folder; the summary.

    Raises:
        SirlError: The user can correct it.
    """
    from sirl.guard.upstream.heard import Names
    from sirl.guard.upstream.meeting import manner_of

    with Frame("guard calibrate") as frame:
        engine = registry.calibrated_endpoint(config)
        setup = bounded(registry.guard_setup(config))
        for group, prompts in groups(setup).items():
            rank_of(len(prompts), config.alpha, group)  # before a request is paid for
        manner, sent_before = manner_of(engine)
        run = frame.hold(open_run(Path(config.out), config.model_dump(), existing, resumable=False))
        console.warn([*setup.notes, announced(config, setup)])
        with console.bar() as progress:
            provenance = frame.begin(run, config)
            rejected = [row for s in setup.sets for row in s.rejected]
            console.warn(set_aside(run, rejected, strict=config.strict))
            provenance.note(model={"endpoint": engine.identity}, prompts=setup.sets, readings=())
            work = Work(config, setup, engine, manner, Names(), progress, console, sent_before)
            return frame.finish(run, calibrated(work, run))


def bounded(setup: registry.GuardSetup) -> registry.GuardSetup:
    """The prompts that are asked: every one costs requests."""
    return replace(
        setup,
        pool=evenly(setup.pool, POOL),
        ordinary=evenly(setup.ordinary, HARMLESS),
        lookalikes=evenly(setup.lookalikes, HARMLESS),
    )


def evenly(prompts: Sequence[Prompt], most: int) -> tuple[Prompt, ...]:
    """At most so many prompts, evenly spaced."""
    n = min(most, len(prompts))
    return tuple(prompts[k * len(prompts) // n] for k in range(n))


def announced(config: GuardCalibrateConfig, setup: registry.GuardSetup) -> str:
    """What the calibration costs at most."""
    harmless = sum(map(len, groups(setup).values()))
    answers = len(setup.pool) * ANSWERS + harmless
    checks = harmless * -(-config.new_tokens // WATCH.soonest)
    return (
        f"calibration requests {answers} answers of at most {config.new_tokens} tokens and at most "
        f"{checks} checks, usually about half as many; --limit lowers both"
    )


def calibrated(work: Work, run: Run) -> dict[str, Any]:
    """Learn, calibrate and write the guard."""
    from sirl.guard.upstream.endpoint_guard import (
        DETECTOR,
        EndpointGuard,
        endpoint_binding,
    )
    from sirl.guard.upstream.meeting import identity_of

    config = work.config
    instinct, openers = learned(work)
    watch = replace(WATCH, entropy_cut=instinct.cut)
    scores = {
        group: {DETECTOR: scores_of(work, openers, watch, group, prompts)}
        for group, prompts in groups(work.setup).items()
    }
    identity = identity_of(work.engine, sorted(openers), work.manner)
    work.sent += len(identity.witnesses)
    binding = endpoint_binding(identity, sorted(openers), work.manner, config.new_tokens, watch)
    calibration = Calibration(binding, config.alpha, scores)
    setup = work.setup
    known = frozenset(map(registry.digest_of, (*setup.pool, *setup.ordinary, *setup.lookalikes)))
    guard = EndpointGuard(openers, watch, work.manner, identity, calibration, known)
    run.write(GUARD, guard.document())
    return {
        "instinct": summarise_instinct(instinct),
        "openers": sorted(openers),
        "n": calibration.sizes,
        "alpha": config.alpha,
        "threshold": guard.threshold,
        "sentence": calibration.sentence(),
        "requests": work.sent,
        "tokens": work.tokens,
    }


def learned(work: Work) -> tuple[Instinct, frozenset[str]]:
    """The model's instinct by its truncated entropies, and the openers of its refusals.

    Raises:
        InputError: The answers show no refusals, or these have no common first token.
    """
    pool = work.setup.pool
    answers = asked(work, "answers to bare prompts", pool, ANSWERS)
    completions = [answer.completion for answer in answers]
    instinct = read_modes(completions)
    work.console.warn(instinct_notes(instinct)[:1])
    openers = work.names.names(find_openers(completions, instinct.cut))
    if not openers:
        raise InputError(
            f"the refusals of {work.engine.model} share no first token, so a check could not "
            "recognise one: give --prompts that it clearly refuses"
        )
    return instinct, frozenset(openers)


def scores_of(
    work: Work, openers: frozenset[str], watch: Watch, group: str, prompts: Sequence[Prompt]
) -> tuple[float, ...]:
    """Statistics of the answers to a group, in ascending order; without refusals.

    Raises:
        InputError: Too few answers are left for alpha.
    """
    from sirl.guard.upstream.heard import statistic

    what = f"answers to {group} prompts"
    answers = asked(work, what, prompts, 1)
    kept = [a for a in answers if a.completion.mean_entropy >= watch.entropy_cut]
    if refused := len(answers) - len(kept):
        work.console.warn([f"{refused} of {len(answers)} {what} are refusals: not used"])
    rank_of(len(kept), work.config.alpha, group)
    scores = checked(work, f"checks of {what}", openers, watch, kept)
    rank_of(len(scores), work.config.alpha, group)
    found = (statistic(kept[n], own, openers, watch) for n, own in scores.items())
    return tuple(sorted(found))


def checked(
    work: Work, what: str, openers: frozenset[str], watch: Watch, answers: "Sequence[ReadAnswer]"
) -> dict[int, Mapping[int, float]]:
    """The scores of answers' checks: number of an answer -> position -> score; lost ones left out.

    Raises:
        ConfigError: A reply has no log-probabilities.
    """
    from sirl.guard.upstream.asking import refusal_score
    from sirl.guard.upstream.meeting import read
    from sirl.rollouts.arrivals import Lost

    wanted = [
        (n, k, body)
        for n, answer in enumerate(answers)
        for k, body in answer.bodies(work.engine.model, work.manner, watch).items()
    ]
    found: dict[int, dict[int, float]] = {n: {} for n in range(len(answers))}
    replies = sent(work, what, [body for _, _, body in wanted])
    for (n, k, _), reply in zip(wanted, replies, strict=True):
        if isinstance(reply, Lost):
            found.pop(n, None)
        elif n in found:
            found[n][k] = refusal_score(read(work.engine, reply), openers)
    return dict(found)


def asked(work: Work, what: str, prompts: Sequence[Prompt], count: int) -> "list[ReadAnswer]":
    """Several answers to each prompt, sampled at temperature 1; empty and filtered ones left out.

    Raises:
        ConfigError: An answer has no log-probabilities.
        InputError: The model writes its reasoning first.
    """
    from sirl.guard.server.source import Ask
    from sirl.guard.upstream.asking import NoLogprobsError, answer_body
    from sirl.guard.upstream.heard import read_answer
    from sirl.guard.upstream.meeting import no_logprobs
    from sirl.rollouts.arrivals import Lost
    from sirl.rollouts.endpoint import request_seed

    engine, config = work.engine, work.config
    wanted = [(p, s) for p in prompts for s in range(count)]
    bodies = []
    for prompt, sample in wanted:
        seed = request_seed(config.seed, 0, prompt.id, sample)
        ask = Ask(prompt.messages, config.new_tokens, seed=seed)
        bodies.append(answer_body(engine.model, ask, work.manner))
    found = []
    for (prompt, sample), reply in zip(wanted, sent(work, what, bodies), strict=True):
        if isinstance(reply, Lost):
            continue
        if reply.thoughts:
            raise InputError(
                f"{engine.model} writes its reasoning before its answer, and the guard reads the "
                "first tokens of the answer: turn reasoning off"
            )
        try:
            answer = read_answer(prompt, sample, reply, work.names)
        except NoLogprobsError as error:
            raise no_logprobs(engine) from error
        if answer:
            found.append(answer)
    return found


def sent(work: Work, what: str, bodies: "Sequence[AskedBody]") -> "list[Answer | Lost]":
    """The replies to requests, with progress.

    Raises:
        ModelError: Half of them are lost, or the endpoint has stopped answering.
    """
    from sirl.guard.upstream.meeting import replies
    from sirl.rollouts.arrivals import Lost

    found: list[Answer | Lost] = []
    for n in range(0, len(bodies), TOGETHER):
        work.progress(what, n, len(bodies))
        found += replies(work.engine, bodies[n : n + TOGETHER])
        work.sent += len(bodies[n : n + TOGETHER])
        lost = [reply for reply in found if isinstance(reply, Lost)]
        if len(lost) > len(found) / 2:
            raise ModelError(lost[0].sentence)
    work.progress(what, len(bodies), len(bodies))
    work.tokens += sum(reply.tokens for reply in found if not isinstance(reply, Lost))
    if lost := [reply for reply in found if isinstance(reply, Lost)]:
        work.console.warn([f"{len(lost)} of {len(found)} {what} failed: {lost[0].fault}"])
    return found
