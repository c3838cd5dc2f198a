"""Searches against a model with its guard off and on, by attackers who know the score or do not."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

from sirl.analysis.search_curves import search_curve
from sirl.attacks.gradient import Gcg
from sirl.evaluation.arena import Arena, Unsuited
from sirl.evaluation.costs import Meter
from sirl.evaluation.records import Log, SearchResult
from sirl.evaluation.suite import unmet
from sirl.evaluation.target import PromptReading, Target, digest
from sirl.guard.detectors import ACTING, STREAM
from sirl.guard.guarded import GuardedEngine, ScorePenalty, StopsAreSafe, penalised
from sirl.roles import Search
from sirl.runs import Run
from sirl.types import Prompt, Sampling
from sirl.workflows.guard.answers import EvaluationJob

__all__ = ["search_figures"]

SEARCHES = "guard_searches.jsonl"
OFF, UNAWARE, ADAPTIVE = "off", "on, unaware", "on, adaptive"
STREAM_ON = "stream probe alone, unaware"


def search_figures(work: EvaluationJob, searches: Sequence[Search], run: Run) -> dict[str, Any]:
    """Success against calls of each search, by state of the guard; and searches left out."""
    skipped = unmet(replace(work.suite, attacks=tuple(searches)), work.target)
    curves: dict[str, dict[str, Any]] = {}
    rows = []
    for search in searches:
        if search.name in skipped:
            continue
        try:
            for state, target, attack in states(work, search):
                found = played(work, target, attack, state)
                curves.setdefault(search.name, {})[state] = search_curve(found)
                rows += [{"guard": state, **asdict(item)} for item in found]
        except Unsuited as reason:
            skipped[search.name] = str(reason)
    run.keep(SEARCHES, rows)
    return {"curves": curves, "skipped": skipped}


def states(work: EvaluationJob, search: Search) -> Iterator[tuple[str, Target, Search]]:
    """The guard's states, each with the target and the search that meets it.

    An unaware attacker climbs the model's own likelihoods or gradients; an adaptive one subtracts
    how far the scores of the prompt's checks exceed the threshold, at every cut. Searches without
    an objective have no adaptive form.
    """
    yield OFF, work.target, search
    on = guarded(work, ACTING)
    yield UNAWARE, on, search
    yield STREAM_ON, guarded(work, STREAM), search
    guard, chat = work.guard, work.target.chat
    penalty = ScorePenalty.of(chat, guard.fitted, guard.calibration.threshold(ACTING))
    if isinstance(search, Gcg):
        yield ADAPTIVE, on, replace(search, penalty=penalty)
    elif "likelihoods" in search.needs and on.likelihoods is not None:
        climbed = penalised(on.likelihoods, guard.fitted.reader(chat), penalty)
        yield ADAPTIVE, replace(on, likelihoods=climbed), search


def guarded(work: EvaluationJob, detector: str) -> Target:
    """The target behind its guard at the calibrated threshold of a detector."""
    target, fitted = work.target, work.guard.fitted
    reader = fitted.reader(target.chat)
    threshold = work.guard.calibration.threshold(detector)
    room = target.chat.context - work.config.new_tokens - len(reader.header)

    def engine(sampling: Sampling) -> GuardedEngine:
        return GuardedEngine(target.engine(sampling), reader, fitted, threshold, detector)

    def read(prompt: Prompt) -> PromptReading:
        found = target.read(prompt)
        if found.fault or found.size <= room:
            return found
        return found._replace(fault="leaves no room for a check of the guard in the context")

    return replace(
        target,
        identity=digest(target.identity, "guarded", detector),
        engine=engine,
        read=read,
        tasks=None,
    )


def played(work: EvaluationJob, target: Target, search: Search, state: str) -> list[SearchResult]:
    """Run a search on all unsafe requests."""
    suite = work.suite

    def progress(what: str, done: int, total: int) -> None:
        work.progress(f"{what}, guard {state}", done, total)

    arena = Arena(
        target,
        StopsAreSafe(suite.judges[0]),
        suite.refusals,
        Log(),
        suite.openers,
        suite.attacker,
        Meter(),
        progress,
        suite.limit,
    )
    return arena.play(search, suite.behaviours, "attack")
