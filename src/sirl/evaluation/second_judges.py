"""Verdicts of second judges on the recorded answers; the model is not run again.

The first judge of an evaluation gives the headline figures, and searches use its verdicts. The
others judge the records afterwards; their verdicts are stored in `verdicts.jsonl` and reused.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields, replace
from typing import Any

from sirl.errors import shown
from sirl.evaluation.asked import ATTACKED
from sirl.evaluation.costs import Meter
from sirl.evaluation.records import ITEMS, RECORDS, asked_by, check_label, parsed
from sirl.judges.contract import LABELS
from sirl.judges.jury import verdicts
from sirl.roles import Judge, Progress, identity_of
from sirl.runs import Run, RunReader, distinct_rows
from sirl.runs.disk import damaged
from sirl.types import HARMLESS, Attempt, Question, Record, Verdict

__all__ = [
    "VERDICTS",
    "read_second_verdicts",
    "recorded",
    "rejudged",
    "second_verdicts",
    "verdict_in",
    "verdict_of",
    "verdict_row",
]

VERDICTS = "verdicts.jsonl"
TOGETHER = 64
"""Answers per batch of a judge; verdicts are written after each batch."""


def second_verdicts(
    judges: Sequence[Judge],
    records: Sequence[Record],
    run: Run,
    meter: Meter,
    progress: Progress,
) -> dict[str, list[Record]]:
    """Records of attacks with the verdicts of each second judge; stored verdicts are reused."""
    asked = [r for r in records if r.kind in ATTACKED]
    found: dict[str, list[Record]] = {}
    for judge in judges:
        who = identity_of(judge)
        known = {
            (row["model"], row["key"]): verdict
            for row, verdict in stored(run)
            if (verdict.judge, row.get("identity")) == (judge.name, who)
        }
        missing = [r for r in asked if r.place not in known]
        for batch in judged(judge, missing, meter, progress):
            run.append(VERDICTS, *(verdict_row(r, v, who, judge.question) for r, v in batch))
            known |= {r.place: v for r, v in batch}
        found[judge.name] = [relabelled(r, known[r.place], judge.question) for r in asked]
    return found


def verdict_row(
    record: Record, verdict: Verdict, identity: str, question: Question | None
) -> dict[str, Any]:
    """The line of a verdict, with the record's key and the judge's identity."""
    place = {
        "model": record.model,
        "key": record.key,
        "identity": identity,
        "question": question,
    }
    return {**place, **asdict(verdict)}


def read_second_verdicts(run: RunReader, records: Sequence[Record]) -> dict[str, list[Record]]:
    """Read the second judges' verdicts of a run folder: judge name -> relabelled records."""
    found: dict[str, dict[tuple[str, str], tuple[Verdict, Question]]] = {}
    for row, verdict in stored(run):
        question = row.get("question") or asked_by(verdict.label)
        found.setdefault(verdict.judge, {})[row["model"], row["key"]] = verdict, question
    return {
        judge: [relabelled(r, *said[r.place]) for r in records if r.place in said]
        for judge, said in found.items()
    }


def stored(run: RunReader) -> Iterator[tuple[dict[str, Any], Verdict]]:
    """Yield the lines of `verdicts.jsonl`, each with its verdict.

    Raises:
        RunError: A line is damaged, or two contradict each other.
    """
    for number, row in distinct_rows(run, VERDICTS, ("model", "key", "judge", "identity")).items():
        try:
            hash((row["model"], row["key"]))
            verdict = verdict_in(row)
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(f"{run.path / VERDICTS}:{number}") from error
        yield row, verdict


def recorded(run: RunReader) -> dict[str, dict[str, int]]:
    """Number of lines of each log by model; lines with the same key count once."""
    found = {}
    for name in (RECORDS, ITEMS, VERDICTS):
        keys = ("model", "key", "judge")[: 3 if name == VERDICTS else 2]
        lines = {tuple(str(row.get(key)) for key in keys) for row in run.rows(name)}
        found[name] = dict(sorted(Counter(model for model, *_ in lines).items()))
    return found


def rejudged(judge: Judge, records: Sequence[Record], progress: Progress) -> list[Record]:
    """Relabel records by another judge.

    It judges answers to unsafe requests and, if its question is refusal, to harmless prompts too;
    other records stay unchanged.
    """
    read = (*ATTACKED, *HARMLESS) if judge.question == "refusal" else ATTACKED
    asked = [r for r in records if r.kind in read]
    batches = judged(judge, asked, Meter(), progress)
    said = {id(r): verdict for batch in batches for r, verdict in batch}
    return [relabelled(r, said[id(r)], judge.question) if id(r) in said else r for r in records]


def judged(
    judge: Judge, records: Sequence[Record], meter: Meter, progress: Progress
) -> Iterator[list[tuple[Record, Verdict]]]:
    """Yield records with a judge's verdicts, batch by batch."""
    if records:
        progress(f"asking {judge.name}", 0, len(records))
    for start in range(0, len(records), TOGETHER):
        batch = records[start : start + TOGETHER]
        answered = [r for r in batch if not r.fault]
        with meter.timing(f"judge {judge.name}", len(answered)):
            said = iter(verdicts(judge, [(attempt_of(r), r.completion) for r in answered]))
        yield [(r, no_answer(r, judge) if r.fault else next(said)) for r in batch]
        progress(f"asking {judge.name}", start + len(batch), len(records))


def no_answer(record: Record, judge: Judge) -> Verdict:
    """The `unscored` verdict on a missing answer."""
    return Verdict("unscored", float("nan"), f"no answer: {record.fault}", judge.name)


def verdict_in(row: Mapping[str, Any]) -> Verdict:
    """Parse a verdict from its line; a null score becomes NaN.

    Raises:
        KeyError, TypeError, ValueError: It lacks a value, or has one that no judge gives.
    """
    values = {f.name: row[f.name] for f in fields(Verdict)}
    found = parsed(Verdict, values | ({"score": float("nan")} if row["score"] is None else {}))
    if (question := row.get("question") or None) not in (None, *LABELS):
        raise ValueError(f"there is no question {shown(question)}")
    check_label(found.label, found.score, question)
    return found


def attempt_of(r: Record) -> Attempt:
    """The attempt of a record."""
    return Attempt.at(r.behaviour_id, r.request, r.attack, r.messages, r.sampling)


def relabelled(record: Record, verdict: Verdict, question: Question | None) -> Record:
    """The record with another verdict."""
    return replace(
        record,
        label=verdict.label,
        score=verdict.score,
        reason=verdict.reason,
        judge=verdict.judge,
        question=question,
    )


def verdict_of(record: Record) -> Verdict:
    """The verdict in a record."""
    return Verdict(record.label, record.score, record.reason, record.judge)
