"""Verdicts of further judges on the recorded answers; the model is not run again.

The first judge of an evaluation gives the headline, and searches use its verdicts. The others judge
the records afterwards; `verdicts.jsonl` stores their verdicts, so none is computed twice.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from sirl.evaluation.arena import ATTACKED
from sirl.evaluation.costs import Meter
from sirl.judges.jury import verdicts
from sirl.roles import Judge, Progress
from sirl.runs import Run
from sirl.runs.disk import damaged
from sirl.types import Attempt, Prompt, Record, Verdict

__all__ = [
    "VERDICTS",
    "opinions",
    "read_opinions",
    "rejudged",
    "verdict_of",
]

VERDICTS = "verdicts.jsonl"
TOGETHER = 64
"""Answers per batch of a judge; verdicts are written batch by batch."""


def opinions(
    judges: Sequence[Judge],
    records: Sequence[Record],
    run: Run,
    meter: Meter,
    progress: Progress,
) -> dict[str, list[Record]]:
    """Records of attacks under the further judges; stored verdicts are reused."""
    asked = [r for r in records if r.kind in ATTACKED]
    found: dict[str, list[Record]] = {}
    for judge in judges:
        known = {r["key"]: verdict_in(r) for r in run.rows(VERDICTS) if r["judge"] == judge.name}
        missing = [r for r in asked if r.key not in known]
        for batch in judged(judge, missing, meter, progress):
            run.append(VERDICTS, *({"model": r.model, "key": r.key, **asdict(v)} for r, v in batch))
            known |= {r.key: v for r, v in batch}
        found[judge.name] = [relabelled(r, known[r.key]) for r in asked]
    return found


def read_opinions(run: Run, records: Sequence[Record]) -> dict[str, list[Record]]:
    """The opinions that a run folder holds."""
    by_key = {r.key: r for r in records}
    found: dict[str, dict[str, Record]] = {}
    for number, row in enumerate(run.rows(VERDICTS), 1):
        try:
            if record := by_key.get(row["key"]):
                said = relabelled(record, verdict_in(row))
                found.setdefault(said.judge, {})[said.key] = said
        except (KeyError, TypeError) as error:
            raise damaged(f"{run.path / VERDICTS}:{number}") from error
    return {judge: list(view.values()) for judge, view in found.items()}


def rejudged(judge: Judge, records: Sequence[Record], progress: Progress) -> list[Record]:
    """Records under another judge, who reads what his question is about.

    Answers to unsafe requests in any case, those to harmless ones if he is asked about refusals.
    """
    read = (*ATTACKED, "ordinary", "lookalike") if judge.question == "refusal" else ATTACKED
    asked = [r for r in records if r.kind in read]
    said = {id(r): v for batch in judged(judge, asked, Meter(), progress) for r, v in batch}
    return [relabelled(r, said[id(r)]) if id(r) in said else r for r in records]


def judged(
    judge: Judge, records: Sequence[Record], meter: Meter, progress: Progress
) -> Iterator[list[tuple[Record, Verdict]]]:
    """The records with a judge's verdicts, some at a time."""
    if records:
        progress(f"asking {judge.name}", 0, len(records))
    for start in range(0, len(records), TOGETHER):
        batch = records[start : start + TOGETHER]
        answered = [r for r in batch if not r.fault]
        with meter.timing(f"judge {judge.name}", len(answered)):
            said = iter(verdicts(judge, [(attempt_of(r), r.completion) for r in answered]))
        yield [(r, silence(r, judge) if r.fault else next(said)) for r in batch]
        progress(f"asking {judge.name}", start + len(batch), len(records))


def silence(record: Record, judge: Judge) -> Verdict:
    """The `unscored` verdict on a missing answer."""
    return Verdict("unscored", float("nan"), f"no answer: {record.fault}", judge.name)


def verdict_in(row: Mapping[str, Any]) -> Verdict:
    """A verdict from its line; a score that JSON could not hold is NaN."""
    score = float("nan") if row["score"] is None else row["score"]
    return Verdict(row["label"], score, row["reason"], row["judge"])


def attempt_of(record: Record) -> Attempt:
    """What a record answers; of the behaviour, what judges look at."""
    behaviour = Prompt.user(record.behaviour_id, record.request)
    return Attempt(behaviour, record.attack, record.messages, record.sampling)


def relabelled(record: Record, verdict: Verdict) -> Record:
    """A record under another verdict."""
    return replace(
        record,
        label=verdict.label,
        score=verdict.score,
        reason=verdict.reason,
        judge=verdict.judge,
    )


def verdict_of(record: Record) -> Verdict:
    """The verdict that a record holds."""
    return Verdict(record.label, record.score, record.reason, record.judge)
