"""Lines of records.jsonl: what is written is read again, and what older versions wrote, too."""

import json
from dataclasses import fields, replace

import pytest

from sirl.errors import InputError, RunError
from sirl.evaluation.records import RECORDS, SCHEMA, read_record, read_records, record_row
from sirl.runs import RunReader, plain
from sirl.types import Message, Record

RECORD = Record(
    id="target/attack/direct/b0", model="target", kind="attack", attack="direct",
    behaviour_id="b0", request="How?", messages=(Message("user", "How?"),), completion="No.",
    finish="stop", tokens=2, mean_entropy=0.25, entropies=(0.5, 0.0), label="refusal", score=1.0,
    reason="decline", judge="rules", pieces=("No", "."), question="refusal", key="k0",
)  # fmt: skip


def older(record):
    """The line that a version before schemas has written."""
    return {
        k: v for k, v in record_row(record).items() if k not in ("schema", "benchmark", "question")
    }


@pytest.mark.parametrize(
    "record",
    [
        RECORD,
        replace(RECORD, kind="capability", judge="", benchmark="sums", question=None, score=0.0),
        replace(RECORD, kind="probe", judge="", question=None, label="unscored", trace=(1.0, 0.5)),
        replace(RECORD, label="harmful", question="harm", thoughts="Hm.", thought_entropy=1.5),
    ],
)
def test_a_record_is_read_as_it_was_written(record):
    row = record_row(record)
    assert row["schema"] == SCHEMA
    found = read_record(row)
    assert [getattr(found, f.name) for f in fields(Record)] == [
        getattr(record, f.name) for f in fields(Record)
    ]


def test_lines_without_a_schema_are_of_the_first():
    assert read_record(older(RECORD)) == RECORD
    harm = replace(RECORD, label="harmless", question="harm")
    assert read_record(older(harm)) == harm
    task = replace(RECORD, kind="capability", judge="sums", question=None)
    assert read_record(older(task)) == replace(task, judge="", benchmark="sums")


def test_lines_of_a_later_schema_and_other_kinds_are_refused():
    with pytest.raises(TypeError, match="schema 3 is of a later version of sirl"):
        read_record({**record_row(RECORD), "schema": 3})
    with pytest.raises(ValueError, match="kind"):
        read_record({**record_row(RECORD), "kind": "atack"})


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("label", "polite", "label: Input should be 'refusal'"),
        ("label", "harmless", "'harmless' does not answer the question of refusal"),
        ("score", 7.0, "score 7 is not from 0 to 1"),
        ("score", -0.5, "score -0.5 is not from 0 to 1"),
        ("tokens", -1, "tokens -1 is less than 0"),
        ("queries", -1, "queries -1 is less than 0"),
        ("messages", [{"role": "user", "content": 3}], "content: Input should be a valid string"),
        ("sampling", {"temperature": "hot"}, "temperature: Input should be a valid number"),
    ],
)
def test_a_value_that_no_run_writes_is_named_by_its_line(tmp_path, field, value, said):
    lines = [record_row(RECORD), {**record_row(RECORD), "key": "k1", field: value}]
    (tmp_path / RECORDS).write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(InputError, match=rf"records\.jsonl:2 lacks what this .*: {said}"):
        read_records(RunReader(tmp_path))


@pytest.mark.parametrize("label", ["refusal", "unscored"])
def test_a_label_may_have_no_score(tmp_path, label):
    line = plain(record_row(replace(RECORD, label=label, score=float("nan"))))
    (tmp_path / RECORDS).write_text(json.dumps(line) + "\n")
    (found,) = read_records(RunReader(tmp_path))
    assert (found.label, found.score != found.score) == (label, True)


def test_two_lines_of_one_key_and_other_content_are_refused(tmp_path):
    lines = [record_row(RECORD), record_row(replace(RECORD, key="k1")), record_row(RECORD)]
    lines.append({**lines[0], "label": "compliance"})
    (tmp_path / RECORDS).write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(RunError, match=r"records\.jsonl:4 has the key of line 1 and other content"):
        read_records(RunReader(tmp_path))


def test_a_line_without_a_key_is_named(tmp_path):
    line = {k: v for k, v in record_row(RECORD).items() if k != "key"}
    (tmp_path / RECORDS).write_text(json.dumps(line) + "\n")
    with pytest.raises(InputError, match=r"records\.jsonl:1 lacks what this .*: 'key'"):
        read_records(RunReader(tmp_path))
