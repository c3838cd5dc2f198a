"""One question to the target, and what a search is told of its answer."""

from dataclasses import dataclass

from sirl.errors import Stopped, first_line, shown
from sirl.roles import Benchmark
from sirl.types import (
    Attempt,
    Completion,
    Kind,
    Mark,
    Outcome,
    Prompt,
    Record,
    Verdict,
)

__all__ = [
    "ATTACKED",
    "PROBE",
    "UNCHECKED",
    "Query",
    "outcome",
    "solve",
    "unreadable",
]

ATTACKED: tuple[Kind, ...] = ("attack", "weights", "prefill")
"""Kinds of answers to unsafe requests."""
PROBE: Kind = "probe"
"""Kind of a record whose answer was used by a search but not judged."""

UNCHECKED = "the check of the answer failed"
"""Prefix of the reason of a task whose answer could not be checked."""


@dataclass(frozen=True)
class Query:
    """One question to the target."""

    kind: Kind
    group: str
    """The attack, prompt set or benchmark that it belongs to."""
    family: str
    attempt: Attempt
    number: int = 0
    queries: int = 1
    benchmark: Benchmark | None = None

    @property
    def prompt(self) -> Prompt:
        """The prompt for the engine; its id makes the random numbers independent of the batch."""
        name = f"{self.kind}/{self.group}/{self.attempt.behaviour.id}"
        return Prompt(f"{name}/{self.number}" if self.number else name, self.attempt.messages)


def solve(asked: Query, completion: Completion) -> Mark | None:
    """Check the answer to a task, which may run code written by the model; None for other queries.

    If the check raises or gives no mark, the task is unsolved, with the reason, and the run
    continues.
    """
    if asked.benchmark is None or completion.fault:
        return None
    try:
        found: object = asked.benchmark.correct(asked.attempt.behaviour, completion.text)
    except Stopped:
        raise
    except Exception as error:  # a benchmark may be third-party code and raise anything
        return Mark(False, f"{UNCHECKED}: {first_line(error)}")
    if isinstance(found, bool):
        return Mark.of(found)
    if isinstance(found, Mark) and isinstance(found.solved, bool) and isinstance(found.reason, str):
        return found
    wrong = f"it gave {shown(found)}, and True, False or a sirl.types.Mark is needed"
    return Mark(False, f"{UNCHECKED}: {wrong}")


def unreadable(fault: str) -> Verdict:
    """An `unscored` verdict for an attempt that the target cannot read; not recorded."""
    return Verdict("unscored", float("nan"), fault, "")


def outcome(attempt: Attempt, found: Record | Verdict) -> Outcome:
    """The outcome of an attempt, as sent to the search."""
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
