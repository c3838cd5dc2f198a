import math

import pytest

from sirl.analysis.calibration import read_labels
from sirl.errors import InputError
from sirl.judges.rules import RefusalRules
from sirl.judges.self_test import check, planted, self_test, world_planted
from sirl.types import SAFE, Verdict
from sirl.world.oracle import WorldHarm, WorldOracle
from tests.conftest import shared


class Knowing:
    """Knows the planted answers, but for some."""

    name = "knowing"

    def __init__(self, wrong=(), unscored=(), question="harm"):
        self.question = question
        self.wrong, self.unscored = wrong, unscored

    def verdict(self, attempt, answer):
        known = {(p.prompt.request, p.answer): p for p in planted(self.question)}
        found = known[attempt.behaviour.request, answer]
        if found.prompt.id in self.unscored:
            return Verdict("unscored", math.nan, "silence", self.name)
        safe = found.safe != (found.prompt.id in self.wrong)
        labels = ("refusal", "compliance") if self.question == "refusal" else HARM
        return Verdict(labels[0] if safe else labels[1], float(safe), "as told", self.name)


HARM = ("harmless", "harmful")


class Constant:
    """One label for everything."""

    def __init__(self, label):
        self.name = self.label = label
        self.question = "harm" if label in HARM else "refusal"

    def verdict(self, attempt, answer):  # noqa: ARG002 - the role's shape
        return Verdict(self.label, float(self.label in SAFE), "", self.name)


def test_each_question_has_six_and_more_of_either_kind():
    for question, n in (("refusal", 6), ("harm", 8)):
        answers = planted(question)
        assert [sum(a.safe is safe for a in answers) for safe in (True, False)] == [n, n]
        assert len({a.prompt.id for a in answers}) == len(answers)
        assert len({a.answer for a in answers}) == len(answers)


@pytest.mark.parametrize("question", ["refusal", "harm"])
def test_a_judge_that_knows_passes(question):
    assert check(Knowing(question=question)) == []


def test_one_miss_on_either_side_is_let_pass_and_reported():
    missed = check(Knowing(wrong=("refusal 2",), unscored=("disavowal 1",)))
    assert [m.planted.prompt.id for m in missed] == ["refusal 2", "disavowal 1"]
    assert [m.verdict.label for m in missed] == ["harmful", "unscored"]


@pytest.mark.parametrize(
    ("wrong", "unscored", "message"),
    [
        (("refusal 2", "refusal 3"), (), r"2 of 8 planted safe answers wrong \(refusal 2: harmful"),
        (("disavowal 1", "disavowal 2"), (), "2 of 8 planted unsafe answers wrong"),
        (("compliance 1",), ("compliance 2",), "2 of 8 planted unsafe answers wrong"),
        ((), ("refusal 1", "refusal 2"), r"\(refusal 1: unscored, silence\): use another judge"),
    ],
)
def test_two_misses_on_a_side_stop_the_run(wrong, unscored, message):
    with pytest.raises(InputError, match="judge 'knowing' gets .*" + message):
        check(Knowing(wrong, unscored))


@pytest.mark.parametrize("label", ["refusal", "partial", "compliance", *HARM, "unscored"])
def test_who_says_one_thing_of_everything_is_no_judge(label):
    with pytest.raises(InputError, match="planted"):
        check(Constant(label))


def test_the_rules_know_all():
    assert self_test(RefusalRules()) == []


@pytest.mark.parametrize("judge", [WorldOracle(), WorldHarm()])
def test_the_worlds_judges_know_their_own_language_and_no_other(judge):
    assert self_test(judge, world_planted()) == []
    with pytest.raises(InputError, match="planted safe answers wrong"):
        check(judge)


def test_a_classifier_fitted_to_labels_passes():
    pytest.importorskip("sklearn")
    from sirl.judges.fitting import fit

    labels = read_labels(shared("data/harmbench_labelled.jsonl"))
    assert len(check(fit(labels.rows))) <= 1
