"""`sirl guard evaluate --model URL#MODEL`: what the guard of an endpoint detects."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sirl import registry
from sirl.config import GuardEvaluateConfig
from sirl.errors import ConfigError
from sirl.evaluation.asked import ATTACKED, Query
from sirl.evaluation.suite import Suite, askable, unmet
from sirl.evaluation.target import digest
from sirl.guard.detectors import ACTING, CUTS, STREAM
from sirl.guard.replaying import Heard
from sirl.roles import Console
from sirl.runs import Existing, Run, open_run
from sirl.runs.places import KEPT
from sirl.runs.rejects import set_aside
from sirl.workflows.frame import Frame
from sirl.workflows.guard.answers import Judged, judged
from sirl.workflows.guard.endpoint_answers import Exchange, asked, checked, cost_of
from sirl.workflows.guard.evaluate import SCORES, figures_of, finished, judged_by, remembering
from sirl.workflows.guard.upstream import read_endpoint_guard
from sirl.workflows.guard.watch import (
    AlarmRule,
    known_of,
    longest,
    slices_of,
    watched,
    with_lefts,
)

if TYPE_CHECKING:
    from sirl.guard.upstream.endpoint_guard import EndpointGuard
    from sirl.guard.upstream.heard import ReadAnswer

__all__ = ["evaluate_endpoint"]

STATES, PROMPT = "needs hidden states", "needs the prompt's log-probabilities"
UNDEFINED = {
    ACTING: STATES,
    STREAM: STATES,
    "probe_prompt": STATES,
    CUTS: STATES,
    "random labels": STATES,
    "prompt_perplexity": PROMPT,
    "windowed_perplexity": PROMPT,
    "prompt_cusum": PROMPT,
}
"""Detectors that an endpoint does not support, with the reason."""


@dataclass(frozen=True)
class EndpointEvaluationJob:
    """What the parts of an evaluation share."""

    config: GuardEvaluateConfig
    suite: Suite
    guard: "EndpointGuard"
    exchange: Exchange


def evaluate_endpoint(
    config: GuardEvaluateConfig, existing: Existing, console: Console
) -> dict[str, Any]:
    """Evaluate the guard of an endpoint into a run folder; the summary.

    Raises:
        SirlError: The user can correct it.
    """
    if config.searches:
        raise ConfigError("--searches needs a guard of a local model: leave it out")
    with Frame("guard evaluate", resumable=False) as frame:
        guard = read_endpoint_guard(config.guard, config.model)
        setup = registry.evaluation_setup(config)
        subject = registry.subject(config)
        registry.greet(registry.models_behind(setup.suite.judges))
        exchange = met(config, guard, console)
        setup = registry.guarded_setup(setup, config, (), guard.known)
        queries, unasked = askable(setup.suite, subject.target)
        run = frame.hold(open_run(Path(config.out), config.model_dump(), existing, resumable=False))
        missing = [
            f"{n} is left out: it {w}" for n, w in unmet(setup.suite, subject.target).items()
        ]
        n = len(queries)
        cost = cost_of("evaluation", n, n, config.new_tokens, guard.watch)
        console.warn([*setup.notes, *missing, cost])
        with console.bar() as progress:
            provenance = frame.begin(run, config, keeps=(KEPT,))
            exchange.progress, exchange.kept = progress, frame.kept(run, console)
            suite = remembering(setup.suite, exchange.kept)
            provenance.note(model=subject.about, prompts=setup.sets, readings=())
            faults = judged_by(suite, config, provenance)
            rejected = set_aside(run, [*setup.rejected, *unasked], strict=config.strict)
            console.warn([*faults, *rejected])
            work = EndpointEvaluationJob(config, suite, guard, exchange)
            figures = scored_figures(work, queries, run)
            return finished(frame, run, {**figures, "judge_faults": faults})


def met(config: GuardEvaluateConfig, guard: "EndpointGuard", console: Console) -> Exchange:
    """The endpoint, if it is the one of the calibration.

    Raises:
        ConfigError: It is another one, as far as it shows.
    """
    from sirl.guard.upstream.heard import Names
    from sirl.guard.upstream.meeting import identity_of
    from sirl.roles import silent

    engine = registry.endpoint(config.model, config, config.new_tokens)
    found = identity_of(engine, sorted(guard.openers), guard.manner)
    guard.refuse_other(found, config.new_tokens, config.guard)
    service = digest(asdict(guard.identity))  # that of the model that answers
    return Exchange(engine, guard.manner, Names(), silent, console, service=service)


def scored_figures(
    work: EndpointEvaluationJob, queries: Sequence[Query], run: Run
) -> dict[str, Any]:
    """Ask, judge and score; write the scores of every answer."""
    from sirl.guard.upstream.endpoint_guard import DETECTOR

    exchange, guard = work.exchange, work.guard
    answers = {a.prompt.id: a for a in asked(exchange, "answers", [q.prompt for q in queries], 1)}
    sent = exchange.sent
    known = known_of(list(verdicts_of(work, queries, answers)))
    long = longest([k.found for k in known])
    read = [answers[k.found.query.prompt.id] for k in known]
    scores = checked(exchange, "checks", guard.openers, guard.watch, read)
    alarms, kept = AlarmRule(guard.watch, guard.calibration, DETECTOR), sorted(scores)
    found = [
        watched(
            alarms,
            known[n],
            heard(read[n], scores[n], guard),
            tuple(slices_of(work.config, known[n].found, long)),
        )
        for n in kept
    ]
    batch = [known[n] for n in kept]
    found = with_lefts(
        work.suite.judges[0], batch, found, lambda n, tokens: read[kept[n]].text(tokens)
    )
    run.keep(SCORES, [asdict(a) for a in found])
    return figures_of(found, alarms) | {
        "undefined": UNDEFINED,
        "requests": {
            "answers": sent,
            "checks": exchange.sent - sent,
            "lost_answers": len(queries) - len(answers),
            "lost_checks": len(known) - len(kept),
        },
    }


def verdicts_of(
    work: EndpointEvaluationJob, queries: Sequence[Query], answers: "Mapping[str, ReadAnswer]"
) -> list[Judged]:
    """The answers with their verdicts; those that did not arrive are left out."""
    pairs = [(q, answers[q.prompt.id].completion) for q in queries if q.prompt.id in answers]
    attacked = [pair for pair in pairs if pair[0].kind in ATTACKED]
    harmless = [pair for pair in pairs if pair[0].kind not in ATTACKED]
    return [
        *judged(work.suite, attacked, attacked=True),
        *judged(work.suite, harmless, attacked=False),
    ]


def heard(answer: "ReadAnswer", scores: Mapping[int, float], guard: "EndpointGuard") -> Heard:
    """What the checks of an answer scored, the first of which is its own first token."""
    from sirl.guard.upstream.asking import refusal_score
    from sirl.guard.upstream.endpoint_guard import DETECTOR

    own = {0: refusal_score(answer.first, guard.openers), **scores}
    places = tuple(sorted(own))
    return Heard(answer.entropies, places, {DETECTOR: tuple(own[k] for k in places)}, {})
