"""Lines of records.jsonl: what is written is read again, and what older versions wrote, too."""

from dataclasses import fields, replace

import pytest

from sirl.evaluation.records import SCHEMA, read_record, record_row
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
