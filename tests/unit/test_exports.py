import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sirl.attacks.replay import read_sheet
from sirl.cli.export import full_name
from sirl.errors import InputError
from sirl.reports.exports import csv_table, jbb_artifact, lm_eval_results, markdown_table
from sirl.reports.text import visible
from sirl.types import Message, Record


def tried(behaviour, label, prompt="please?", **fields):
    filled = {
        "attack": "story", "request": f"goal {behaviour}", "completion": "an answer", "number": 0,
        "queries": 1, "messages": (Message("user", prompt),), "score": 0.0, "reason": "", **fields,
    }  # fmt: skip
    return Record(
        id=behaviour, model="target", kind="attack", behaviour_id=behaviour, finish="stop",
        tokens=2, mean_entropy=float("nan"), entropies=(), label=label, judge="x", **filled,
    )  # fmt: skip


def share(value, low, high, n=100):
    return {"value": value, "low": low, "high": high, "n": n}


MODEL = {
    "dsr": {
        "mean": share(0.9, 0.8, 0.996),
        "worst": {"attack": "a|b", **share(0.5, 0.4, 0.6)},
        "any": share(None, None, None, 0),
        "by_attack": {"direct": share(1.0, 0.963, 1.0), "a|b": share(0.5, 0.4, 0.6)},
    },
    "over_refusal": {"lookalike": share(0.25, 0.2, 0.3)},
    "capability": {"sums": share(0.75, 0.7, 0.8)},
}


def test_the_table_has_the_columns_of_lm_eval_and_a_row_for_each_figure_that_was_measured():
    assert markdown_table({"base": MODEL}) == (
        "base\n"
        "\n"
        "|Tasks      |Version|Filter|n-shot|Metric      |   | Value|   |Stderr|\n"
        "|-----------|------:|------|-----:|------------|---|-----:|---|-----:|\n"
        "|direct     |      1|none  |     0|dsr         |↑  |1.0000|±  |0.0094|\n"
        "|a\\|b       |      1|none  |     0|dsr         |↑  |0.5000|±  |0.0510|\n"
        "|all attacks|      1|none  |     0|dsr_mean    |↑  |0.9000|±  |0.0500|\n"
        "|all attacks|      1|none  |     0|dsr_worst   |↑  |0.5000|±  |0.0510|\n"
        "|lookalike  |      1|none  |     0|refusal_rate|↓  |0.2500|±  |0.0255|\n"
        "|sums       |      1|none  |     0|acc         |↑  |0.7500|±  |0.0255|\n"
    )


def test_each_model_has_a_table_under_its_name():
    text = markdown_table({"base": MODEL, "hardened": {"capability": MODEL["capability"]}})
    assert text.count("|Tasks") == 2
    assert "\nhardened\n\n|Tasks|" in text


def test_results_have_the_shape_of_lm_eval_and_the_figures_of_the_table():
    found = lm_eval_results(MODEL, "base")
    assert found["results"]["sums"] == {
        "alias": "sums", "acc,none": 0.75, "acc_stderr,none": pytest.approx(0.1 / 3.92, abs=1e-5),
    }  # fmt: skip
    assert set(found["results"]["all attacks"]) == {
        "alias", "dsr_mean,none", "dsr_mean_stderr,none", "dsr_worst,none", "dsr_worst_stderr,none",
    }  # fmt: skip
    assert found["higher_is_better"]["lookalike"] == {"refusal_rate": False}
    assert found["n-samples"]["direct"] == {"original": 100, "effective": 100}
    tasks = set(found["results"])
    assert tasks == {"direct", "a|b", "all attacks", "lookalike", "sums"}
    assert all(set(found[part]) == tasks for part in ("configs", "versions", "n-shot"))


def test_csv_has_a_line_per_record_and_no_text_unless_asked():
    records = [tried("b1", "refusal", completion="line one\nline two"), tried("b2", "unscored")]
    lines = csv_table(records).splitlines()
    assert lines[0] == (
        "model,kind,attack,family,behaviour_id,number,queries,label,score,judge,benchmark,finish,tokens,"
        "mean_entropy"
    )
    assert lines[1:] == [
        "target,attack,story,,b1,0,1,refusal,0.0,x,,stop,2,",
        "target,attack,story,,b2,0,1,unscored,0.0,x,,stop,2,",
    ]
    with_texts = list(csv.DictReader(io.StringIO(csv_table(records, texts=True))))
    assert with_texts[0]["completion"] == "line one\\u000aline two"
    assert with_texts[0]["prompt"] == "user: please?"


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+1", "-1", "@SUM(A1)", "  =1+1", "\t=1+1", "\r=1+1", "\u200b=1+1", "\uff1d1+1"],
)
def test_no_cell_begins_a_formula(text):
    (line,) = csv.DictReader(
        io.StringIO(csv_table([tried(text, "refusal", completion=text)], texts=True))
    )
    for name in ("behaviour_id", "completion"):
        assert not line[name].lstrip().startswith(("=", "+", "-", "@", "\uff1d"))
        assert line[name].isprintable()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (";=1+1", ";'=1+1"),
        ("a; +1;b", "a;' +1;b"),
        ("a;\uff1d1", "a;'\uff1d1"),
        ("a, =1; b", "a, =1; b"),
        ("a\u2028b\u2029c", "a\\u2028b\\u2029c"),
    ],
)
def test_no_part_of_a_cell_begins_a_formula_or_a_line(text, shown):
    table = csv_table([tried("b1", "refusal", completion=text)], texts=True)
    assert len(table.splitlines()) == 2
    (line,) = csv.DictReader(io.StringIO(table))
    assert line["completion"] == shown


@given(texts=st.lists(st.text(), min_size=1, max_size=4))
def test_a_table_is_read_back_row_by_row_with_no_text_lost(texts):
    records = [tried(f"b{n}", "refusal", completion=text) for n, text in enumerate(texts)]
    found = list(csv.DictReader(io.StringIO(csv_table(records, texts=True))))
    assert [row["behaviour_id"] for row in found] == [f"b{n}" for n in range(len(texts))]
    for row, text in zip(found, texts, strict=True):
        assert row["completion"].replace("'", "") == visible(text).replace("'", "")
        assert all(
            not part.lstrip().startswith(tuple("=+-@")) for part in row["completion"].split(";")
        )


def test_an_artefact_gives_the_try_that_broke_the_defence_or_the_last():
    records = [
        tried("7", "refusal", "first"),
        tried("7", "harmful", "second", number=1, queries=5),
        tried("7", "harmful", "third", number=2, queries=6),
        tried("2", "refusal", "first"),
        tried("2", "refusal", "second", number=1, queries=9),
        tried("4", "unscored"),
    ]
    document = jbb_artifact(records, "target", "story")
    parameters, entries = document["parameters"], document["jailbreaks"]
    assert [e["index"] for e in entries] == [7, 2, 4]
    assert [e["prompt"] for e in entries] == ["second", "second", "please?"]
    assert [e["jailbroken"] for e in entries] == [True, False, True]
    assert [e["label"] for e in entries] == ["harmful", "refusal", "unscored"]
    assert [e["number_of_queries"] for e in entries] == [6, 9, 1]
    assert [e["queries_to_jailbreak"] for e in entries] == [5, None, None]
    assert parameters["attack_success_rate"] == pytest.approx(2 / 3)
    assert (parameters["total_number_of_jailbreaks"], parameters["total_number_of_queries"]) == (
        2,
        16,
    )


@pytest.mark.parametrize("ids", [("7", "2"), ("bread-7", "007")])
def test_an_artefact_is_read_back_as_a_recorded_attack(tmp_path, ids):
    records = [tried(name, "refusal", f"tell a story of {name}") for name in ids]
    path = tmp_path / "story.json"
    path.write_text(json.dumps(jbb_artifact(records, "target", "story")))
    sheet = read_sheet(path, strict=True)
    (attack,) = sheet.attacks
    assert attack.name == "replay_story"
    assert [(b.id, b.request) for b in sheet.behaviours] == [(n, f"goal {n}") for n in ids]
    assert attack.attempts == {n: f"tell a story of {n}" for n in ids}


def test_what_was_not_tried_and_what_does_not_fit_is_refused_by_name():
    with pytest.raises(InputError) as error:
        jbb_artifact([tried("7", "refusal")], "target", "rhyme")
    assert str(error.value) == (
        "there are no answers to rhyme on target: export one of story on target"
    )
    talk = (Message("user", "a"), Message("assistant", "b"), Message("user", "c"))
    with pytest.raises(InputError) as error:
        jbb_artifact([tried("7", "refusal", messages=talk)], "target", "story")
    assert str(error.value) == (
        "story is a conversation on 7, which a JailbreakBench artifact cannot hold: export it "
        "as csv"
    )


@pytest.mark.parametrize(
    ("role", "setting", "name"),
    [
        ("target", "org/small", "org/small"),
        ("base", "org/small", "org/small (base)"),
        ("hardened", "org/small", "org/small (hardened)"),
        ("target", "https://host.example/v1#small", "small at host.example"),
        ("hardened", None, "hardened"),
        ("target", None, "target"),
    ],
)
def test_an_exported_model_is_named_after_its_start_and_its_role(role, setting, name):
    assert full_name(role, setting) == name
