"""Further judges of answers of several models: each model's cells are its own."""

from dataclasses import asdict, replace

import pytest

from sirl.analysis.agreement import comparable_cells
from sirl.errors import InputError, OutageError, RunError
from sirl.evaluation.costs import Meter
from sirl.evaluation.kept_verdicts import KeptVerdicts
from sirl.evaluation.records import ITEMS, RECORDS, SearchResult
from sirl.evaluation.second_judges import (
    VERDICTS,
    read_second_verdicts,
    rejudged,
    second_verdicts,
)
from sirl.roles import silent
from sirl.runs import open_run
from sirl.runs.kept import Kept
from sirl.types import Message, Record, Verdict
from sirl.workflows.rejudge import judged_models


class Says:
    """Gives one label by the answer."""

    question = "refusal"

    def __init__(self, name, labels):
        self.name, self.labels = name, labels

    def verdict(self, _, answer):
        label = self.labels[answer]
        score = {"refusal": 1.0, "compliance": 0.0}.get(label, float("nan"))
        return Verdict(label, score, "told", self.name)


def record(model, label, key, completion="x"):
    return Record(
        id=f"ladder/{model}", model=model, kind="attack", attack="ladder", behaviour_id="b0",
        request="Bend the moon", messages=(Message("user", "Bend it"),), completion=completion,
        finish="stop", tokens=2, mean_entropy=0.1, entropies=(), label=label, score=0.0, reason="",
        judge="first", family="search", key=key,
    )  # fmt: skip


def item(model, key, broken_at):
    return SearchResult(f"item {model}", model, "ladder", "search", "b0", 1, 2, broken_at, (key,))


def test_a_cell_that_is_open_for_one_model_stays_for_the_other():
    items = [item("base", "k1", 1), item("hardened", "k2", None)]
    view = [record("base", "refusal", "k1"), record("hardened", "refusal", "k2")]
    assert [r.model for r in comparable_cells(view, items)] == ["hardened"]


def test_a_break_of_one_model_does_not_settle_the_cell_of_the_other():
    items = [item("base", "k1", 1), item("hardened", "k2", 1)]
    view = [record("base", "refusal", "k1"), record("hardened", "compliance", "k2")]
    assert [r.model for r in comparable_cells(view, items)] == ["hardened"]


def two_models(path):
    """A run of two models of equal weights, whose records share their key."""
    run = open_run(path, {}, "ask")
    run.begin()
    both = [record(name, "refusal", "same", "No.") for name in ("base", "hardened")]
    run.append(RECORDS, *(asdict(r) for r in both))
    run.append(ITEMS, *(asdict(item(name, "same", None)) for name in ("base", "hardened")))
    run.write("summary.json", {"models": {"base": {}, "hardened": {}}})
    return run, both


def test_equal_weights_under_two_names_stay_two_models_when_judged_again(tmp_path):
    source, _ = two_models(tmp_path / "first")
    again = open_run(tmp_path / "again", {}, "ask")
    again.begin()
    judge = Says("second", {"No.": "compliance"})
    figures = judged_models(source, again, judge, silent, {"model": "m"})
    assert [m["dsr"]["mean"]["n"] for m in figures.values()] == [1, 1]
    assert [m["dsr"]["mean"]["value"] for m in figures.values()] == [0.0, 0.0]
    assert [row["model"] for row in again.rows(ITEMS)] == ["base", "hardened"]
    assert [row["broken_at"] for row in again.rows(ITEMS)] == [1, 1]
    again.close()
    source.close()


def test_what_a_further_judge_said_is_found_by_model_and_key(tmp_path):
    run, both = two_models(tmp_path / "run")
    judge = Says("second", {"No.": "refusal"})
    for one in both:
        second_verdicts([judge], [one], run, Meter(), silent)
    assert [r.model for r in read_second_verdicts(run, both)["second"]] == ["base", "hardened"]
    run.close()


class Tiring(Says):
    """Stops answering after so many calls."""

    def verdict(self, attempt, answer):
        if not self.left:
            raise OutageError("it has gone")
        self.left -= 1
        return super().verdict(attempt, answer)


def test_verdicts_before_an_outage_are_not_asked_for_again(tmp_path):
    judge = Tiring("second", {"No.": "refusal"})
    judge.left = 5
    records = [record("base", "refusal", str(n), "No.") for n in range(7)]
    records = [replace(r, request=f"Bend moon {r.key}") for r in records]
    with pytest.raises(OutageError):
        rejudged(KeptVerdicts(judge, Kept.of_run(tmp_path)), records, silent)
    judge.left = 2
    found = rejudged(KeptVerdicts(judge, Kept.of_run(tmp_path)), records, silent)
    assert [(r.label, r.judge) for r in found] == [("refusal", "second")] * 7


def test_another_state_of_a_judge_is_asked_anew(tmp_path):
    run, both = two_models(tmp_path / "run")
    judge = Says("second", {"No.": "refusal"})
    judge.identity = "one"
    second_verdicts([judge], both, run, Meter(), silent)
    other = Says("second", {"No.": "compliance"})
    other.identity = "two"
    found = second_verdicts([other], both, run, Meter(), silent)["second"]
    assert [r.label for r in found] == ["compliance", "compliance"]
    assert [row["identity"] for row in run.rows(VERDICTS)] == ["one", "one", "two", "two"]
    run.close()


def test_judging_again_keeps_what_further_judges_said_but_not_the_same_judge(tmp_path):
    source, both = two_models(tmp_path / "first")
    refusals, stale = Says("second", {"No.": "refusal"}), Says("third", {"No.": "compliance"})
    second_verdicts([refusals, stale], both, source, Meter(), silent)
    again = open_run(tmp_path / "again", {}, "ask")
    again.begin()
    third = Says("third", {"No.": "refusal"})
    figures = judged_models(source, again, third, silent, {"model": "m"})
    views = [m["second_judges"]["by_judge"] for m in figures.values()]
    assert [{name: view["mean"]["value"] for name, view in v.items()} for v in views] == [
        {"first": 1.0, "second": 1.0}, {"first": 1.0, "second": 1.0}
    ]  # fmt: skip
    assert [m["dsr"]["mean"]["value"] for m in figures.values()] == [1.0, 1.0]
    assert [row["judge"] for row in again.rows(VERDICTS)] == ["first"] * 2 + ["second"] * 2
    again.close()
    source.close()


@pytest.mark.parametrize(
    "value", [{"label": "polite"}, {"label": "harmful"}, {"score": 3}, {"question": "kindness"},
              {"reason": None}, {"model": []}]
)  # fmt: skip
def test_a_verdict_that_no_judge_gives_is_named_by_its_line(tmp_path, value):
    run, both = two_models(tmp_path / "run")
    second_verdicts([Says("second", {"No.": "refusal"})], both, run, Meter(), silent)
    rows = run.rows(VERDICTS)
    run.keep(VERDICTS, [rows[0], {**rows[1], **value}])
    with pytest.raises(RunError, match=r"verdicts\.jsonl:2 is damaged"):
        read_second_verdicts(run, both)
    with pytest.raises(RunError, match=r"verdicts\.jsonl:2 is damaged"):
        second_verdicts([Says("second", {"No.": "refusal"})], both, run, Meter(), silent)
    run.close()


def test_verdicts_are_read_in_the_order_of_the_answers(tmp_path):
    run, both = two_models(tmp_path / "run")
    second_verdicts([Says("second", {"No.": "refusal"})], both, run, Meter(), silent)
    run.keep(VERDICTS, run.rows(VERDICTS)[::-1])
    assert [r.model for r in read_second_verdicts(run, both)["second"]] == ["base", "hardened"]
    run.keep(VERDICTS, [*run.rows(VERDICTS), {**run.rows(VERDICTS)[0], "label": "compliance"}])
    with pytest.raises(RunError, match=r"verdicts\.jsonl:3 has the key of line 1 and other"):
        read_second_verdicts(run, both)
    run.close()


def test_answers_are_not_judged_again_where_a_further_judge_lacks_a_verdict(tmp_path):
    source, both = two_models(tmp_path / "first")
    second_verdicts([Says("second", {"No.": "refusal"})], both, source, Meter(), silent)
    source.keep(VERDICTS, source.rows(VERDICTS)[:1])
    again = open_run(tmp_path / "again", {}, "ask")
    again.begin()
    with pytest.raises(InputError, match=r"verdicts\.jsonl lacks 1 verdict of second: restore it"):
        judged_models(source, again, Says("third", {"No.": "refusal"}), silent, {"model": "m"})
    again.close()
    source.close()
