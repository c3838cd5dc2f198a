"""One prompt to the target, and the record of its answer."""

from dataclasses import dataclass

from sirl.evaluation.target import Target
from sirl.roles import Benchmark
from sirl.stats import mean
from sirl.types import Attempt, Completion, Outcome, Prompt, Record, Verdict

__all__ = ["ATTACKED", "PROBE", "Asked", "outcome", "record_of", "unreadable"]

ATTACKED = ("attack", "weights")
"""Kinds of answers to unsafe requests."""
PROBE = "probe"
"""Kind of a record whose answer was used by a search and never judged."""


@dataclass(frozen=True)
class Asked:
    """One question to the target."""

    kind: str
    group: str
    """The attack, prompt set or benchmark that it belongs to."""
    family: str
    attempt: Attempt
    number: int = 0
    queries: int = 1
    benchmark: Benchmark | None = None

    @property
    def prompt(self) -> Prompt:
        """What the engine is given. Its id ties the randomness to the item, not to the batch."""
        name = f"{self.kind}/{self.group}/{self.attempt.behaviour.id}"
        return Prompt(f"{name}/{self.number}" if self.number else name, self.attempt.messages)


def record_of(
    target: Target, key: str, asked: Asked, completion: Completion, verdict: Verdict
) -> Record:
    """One answer, self-sufficient."""
    attempt, thought = asked.attempt, completion.thought_entropies
    score, reason, judge = verdict.score, verdict.reason, verdict.judge
    if asked.benchmark:
        fault = completion.fault
        solved = not fault and asked.benchmark.correct(attempt.behaviour, completion.text)
        score, judge = float(solved), asked.group
        reason = verdict.reason if fault else "solved" if solved else "wrong"
    return Record(
        id=f"{target.name}/{asked.prompt.id}",
        model=target.name,
        kind=PROBE if attempt.probe else asked.kind,
        attack=attempt.attack,
        behaviour_id=attempt.behaviour.id,
        request=attempt.behaviour.request,
        messages=attempt.messages,
        completion=completion.text,
        finish=completion.finish,
        tokens=completion.tokens,
        mean_entropy=completion.mean_entropy,
        entropies=tuple(round(e, 6) for e in completion.entropies),
        label=verdict.label,
        score=score,
        reason=reason,
        judge=judge,
        pieces=target.pieces(completion.token_ids),
        family=asked.family,
        number=asked.number,
        queries=asked.queries,
        sampling=attempt.sampling,
        trace=attempt.trace,
        thoughts=completion.thoughts,
        thought_entropy=mean(thought) if thought else None,
        fault=completion.fault,
        key=key,
    )


def unreadable(fault: str) -> Verdict:
    """An `unscored` outcome for an attempt the target cannot read; not recorded."""
    return Verdict("unscored", float("nan"), fault, "")


def outcome(attempt: Attempt, found: Record | Verdict) -> Outcome:
    """The outcome of an attempt that a search receives."""
    if isinstance(found, Verdict):
        return Outcome(attempt, Completion("", (), (), "", (), (), "length"), found)
    completion = Completion(
        found.id,
        (),
        (),
        found.completion,
        (),
        found.entropies,
        found.finish,
        fault=found.fault,
        thoughts=found.thoughts,
    )
    verdict = Verdict(found.label, found.score, found.reason, found.judge)
    return Outcome(attempt, completion, verdict)
