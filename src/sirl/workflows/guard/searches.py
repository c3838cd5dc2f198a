"""Searches against a model with its guard off and on, by attackers who know the score or do not."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, replace
from itertools import takewhile
from typing import Any, NamedTuple

from sirl.analysis.search_curves import search_curve
from sirl.attacks.gradient import Gcg
from sirl.evaluation.arena import Arena, Unsuited
from sirl.evaluation.costs import Meter
from sirl.evaluation.records import Log, SearchResult
from sirl.evaluation.suite import unmet
from sirl.evaluation.target import PromptReading, Target, digest
from sirl.guard.checks import room_before
from sirl.guard.detectors import ACTING, STREAM
from sirl.guard.guarded import GuardedEngine, ScorePenalty, StopsAreSafe, penalised
from sirl.roles import Search
from sirl.runs import Run
from sirl.types import Prompt, Record, Sampling
from sirl.workflows.guard.answers import EvaluationJob

__all__ = ["search_figures"]

SEARCHES = "guard_searches.jsonl"
OFF, UNAWARE, ADAPTIVE = "off", "on, unaware", "on, adaptive"
STREAM_ON = "stream probe alone, unaware"
THROTTLED, ALARMS = "on, unaware, throttled", 3
"""As with `sirl guard serve --throttle 3`: after more alarms a session gets no answer."""


class Meeting(NamedTuple):
    """A search and the target that it meets."""

    state: str
    """Of the guard."""
    target: Target
    search: Search
    alarms: set[str]
    """Ids of the prompts whose answers the guard has stopped."""


def search_figures(work: EvaluationJob, searches: Sequence[Search], run: Run) -> dict[str, Any]:
    """Success against calls of each search, by state of the guard; and searches left out."""
    skipped = unmet(replace(work.suite, attacks=tuple(searches)), work.target)
    curves: dict[str, dict[str, Any]] = {}
    rows = []
    for search in searches:
        if search.name in skipped:
            continue
        own = curves.setdefault(search.name, {})
        try:
            for meeting in meetings(work, search):
                found, before = played(work, meeting)
                own[meeting.state] = search_curve(found)
                if meeting.state == UNAWARE:
                    own[THROTTLED] = search_curve(throttled(found, before))
                rows += [
                    {"guard": meeting.state, "alarms": alarms, **asdict(item)}
                    for item, alarms in zip(found, before, strict=True)
                ]
        except Unsuited as reason:
            skipped[search.name] = str(reason)
    run.keep(SEARCHES, rows)
    return {"curves": curves, "skipped": skipped}


def meetings(work: EvaluationJob, search: Search) -> Iterator[Meeting]:
    """The guard's states, each with the target and the search that meets it.

    An unaware attacker climbs the model's own likelihoods or gradients; an adaptive one subtracts
    how far the scores of the prompt's checks exceed the threshold, at every cut. Searches without
    an objective have no adaptive form.
    """
    yield Meeting(OFF, work.target, search, set())
    yield guarded(work, search, UNAWARE, ACTING)
    yield guarded(work, search, STREAM_ON, STREAM)
    guard, chat = work.guard, work.target.chat
    penalty = ScorePenalty.of(chat, guard.fitted, guard.calibration.threshold(ACTING))
    aware = guarded(work, search, ADAPTIVE, ACTING)
    likelihoods = aware.target.likelihoods
    if isinstance(search, Gcg):
        yield aware._replace(search=replace(search, penalty=penalty))
    elif "likelihoods" in search.needs and likelihoods is not None:
        climbed = penalised(likelihoods, guard.fitted.reader(chat), penalty)
        yield aware._replace(target=replace(aware.target, likelihoods=climbed))


def guarded(work: EvaluationJob, search: Search, state: str, detector: str) -> Meeting:
    """A search that meets the target behind its guard, at a detector's calibrated threshold."""
    alarms = set[str]()
    target, fitted = work.target, work.guard.fitted
    reader = fitted.reader(target.chat)
    threshold = work.guard.calibration.threshold(detector)
    room = room_before(target.chat, work.config.new_tokens)

    def engine(sampling: Sampling) -> GuardedEngine:
        return GuardedEngine(target.engine(sampling), reader, fitted, threshold, detector, alarms)

    def read(prompt: Prompt) -> PromptReading:
        found = target.read(prompt)
        if found.fault or found.size <= room:
            return found
        return found._replace(fault="leaves no room for a check of the guard in the context")

    behind = replace(
        target,
        identity=digest(target.identity, "guarded", detector),
        engine=engine,
        read=read,
        tasks=None,
    )
    return Meeting(state, behind, search, alarms)


def played(work: EvaluationJob, meeting: Meeting) -> tuple[list[SearchResult], list[int]]:
    """Run a search on all unsafe requests; the alarms of each before it broke the defence."""
    suite, log = work.suite, Log()

    def progress(what: str, done: int, total: int) -> None:
        work.progress(f"{what}, guard {meeting.state}", done, total)

    arena = Arena(
        meeting.target,
        StopsAreSafe(suite.judges[0]),
        suite.refusals,
        log,
        suite.openers,
        suite.attacker,
        Meter(),
        progress,
        suite.limit,
    )
    found = arena.play(meeting.search, suite.behaviours, "attack")
    alarming = {f"{meeting.target.name}/{id}" for id in meeting.alarms}
    return found, [alarms_of([log.records[k] for k in item.records], alarming) for item in found]


def alarms_of(tries: Sequence[Record], alarming: Collection[str]) -> int:
    """The tries that raised an alarm, up to the one that broke the defence."""
    return sum(r.id in alarming for r in takewhile(lambda r: not r.broke, tries))


def throttled(found: Sequence[SearchResult], alarms: Sequence[int]) -> list[SearchResult]:
    """The searches as if each were a session that is throttled, with one try after another."""
    return [
        replace(item, broken_at=None) if before > ALARMS else item
        for item, before in zip(found, alarms, strict=True)
    ]
