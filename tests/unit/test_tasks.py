"""Tasks with checkable answers: solved, wrong, or a check that failed."""

from copy import copy

import pytest

from sirl.analysis.capability import summarise_capability
from sirl.errors import Stopped
from sirl.evaluation.arena import Arena
from sirl.evaluation.asked import Query, solve
from sirl.evaluation.costs import Meter
from sirl.evaluation.judging import record_of
from sirl.evaluation.records import Log
from sirl.types import Attempt, Completion, Mark, Prompt, Verdict
from tests.unit.fakes import HELPED, Parrot, WordJudge, target


class Fragile:
    """Cannot check one of its tasks."""

    name = "fragile"

    def __init__(self, error=None):
        self.error = error or RecursionError("too deep")

    def prompts(self):
        return []

    def correct(self, prompt, answer):
        if "broken" in prompt.request:
            raise self.error
        return answer == HELPED


def unmarked(solved, reason):
    """A mark with fields of any type, as untyped code makes it."""
    mark = copy(Mark(False, ""))
    vars(mark).update(solved=solved, reason=reason)
    return mark


def asked(text, benchmark):
    prompt = Prompt.user(text, text)
    attempt = Attempt(prompt, "direct", prompt.messages)
    return Query("capability", "fragile", "", attempt, benchmark=benchmark)


def test_a_check_that_raises_is_one_wrong_item_with_its_reason_and_the_run_goes_on():
    arena = Arena(target(Parrot()), WordJudge(), WordJudge(), Log(), {}, None, Meter())
    names = ("please", "please, broken", "plain")
    records = arena.answers([asked(name, Fragile()) for name in names])
    assert [(r.score, r.reason) for r in records] == [
        (1.0, "solved"),
        (0.0, "the check of the answer failed: too deep (RecursionError)"),
        (0.0, "wrong"),
    ]
    figures = summarise_capability(records)["fragile"]
    assert (figures["n"], figures["unchecked"]) == (3, 1)
    assert figures["value"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("mark", ["yes", None, 1, unmarked("no", "x"), unmarked(True, 3)])
def test_a_check_that_gives_no_mark_leaves_the_task_unsolved_with_the_reason(mark):
    class Odd(Fragile):
        def correct(self, prompt, answer):  # noqa: ARG002 - the role's shape
            return mark

    answer = Completion("p", (), (), HELPED, (), (), "stop")
    found = solve(asked("plain", Odd()), answer)
    assert not found
    assert found.reason.startswith("the check of the answer failed: it gave ")
    assert found.reason.endswith(", and True, False or a sirl.types.Mark is needed")


def test_a_request_to_stop_is_no_failed_check():
    answer = Completion("p", (), (), HELPED, (), (), "stop")
    with pytest.raises(Stopped):
        solve(asked("broken", Fragile(Stopped("now"))), answer)


def test_a_record_is_made_without_running_a_check():
    question = asked("broken", Fragile(AssertionError("checked twice")))
    answer = Completion("p", (), (), HELPED, (), (), "stop")
    said = Verdict("compliance", 0.0, "", "words")
    assert record_of(target(Parrot()), "key", question, answer, said).score == 0.0
