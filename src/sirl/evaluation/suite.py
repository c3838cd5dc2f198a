"""What is asked of a model, and the asking: chunk after chunk of records, resumable.

A chunk is one attack, one prompt set or one benchmark. Its records are appended together, so a
run that was killed repeats at most one chunk and ends with the same file as an unbroken one.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from sirl.evaluation.capability import summarise_capability
from sirl.evaluation.defence import summarise_defence
from sirl.evaluation.entropy_gap import summarise_entropy
from sirl.evaluation.overrefusal import summarise_over_refusal
from sirl.prompts import Rejected
from sirl.runs import Run
from sirl.types import (
    Attack,
    Attempt,
    Benchmark,
    Completion,
    Engine,
    Judge,
    Message,
    Progress,
    Prompt,
    Record,
    silent,
)

__all__ = ["Chunk", "Suite", "Target", "askable", "evaluate", "forget", "read_records", "summarise"]

RECORDS = "records.jsonl"


@dataclass(frozen=True)
class Target:
    """The model under evaluation and how it is asked."""

    name: str
    engine: Engine
    """Samples at temperature 1: refusals and answers as users meet them."""
    greedy: Engine
    """Takes the likeliest token: capability without luck."""
    pieces: Callable[[Sequence[int]], tuple[str, ...]]
    fault: Callable[[Prompt], str]
    """Why a prompt cannot be asked; empty when it can."""


@dataclass(frozen=True)
class Suite:
    """The questions. An empty part is not asked and not reported."""

    judge: Judge
    behaviours: Sequence[Prompt] = ()
    attacks: Sequence[Attack] = ()
    ordinary: Sequence[Prompt] = ()
    lookalikes: Sequence[Prompt] = ()
    benchmarks: Sequence[Benchmark] = ()
    unseen: frozenset[str] = field(default_factory=frozenset)
    """Attacks that the model's makers say it never met in alignment."""

    def chunks(self) -> Iterator["Chunk"]:
        """The parts in their fixed order."""
        for attack in self.attacks:
            yield Chunk("attack", attack.name, [attack.attempt(b) for b in self.behaviours])
        for kind, prompts in (("ordinary", self.ordinary), ("lookalike", self.lookalikes)):
            if prompts:
                yield Chunk(kind, "direct", [Attempt(p, "direct", p.messages) for p in prompts])
        for benchmark in self.benchmarks:
            tasks = [Attempt(p, "direct", p.messages) for p in benchmark.prompts()]
            yield Chunk("capability", benchmark.name, tasks, benchmark)


@dataclass(frozen=True)
class Chunk:
    """Attempts that are sampled and recorded together."""

    kind: str
    name: str
    attempts: Sequence[Attempt]
    benchmark: Benchmark | None = None


def askable(suite: Suite, target: Target) -> tuple[list[Chunk], list[Rejected]]:
    """The chunks without what this model cannot be asked, and that by name; nothing is cut."""
    chunks, rejected = [], []
    for chunk in suite.chunks():
        fitting = []
        for attempt in chunk.attempts:
            prompt = as_prompt(chunk, attempt)
            if fault := target.fault(prompt):
                rejected.append(Rejected(attempt.behaviour.source, 0, f"{prompt.id}: {fault}"))
            else:
                fitting.append(attempt)
        chunks.append(replace(chunk, attempts=fitting))
    return chunks, rejected


def evaluate(
    chunks: Sequence[Chunk],
    judge: Judge,
    target: Target,
    run: Run,
    *,
    progress: Progress = silent,
) -> list[Record]:
    """Records of every item, those of an earlier, broken evaluation included."""
    kept = whole_chunks(run, target.name, chunks)
    for number, chunk in enumerate(chunks):
        key = (chunk.kind, chunk.name)
        if key not in kept:
            records = sample_chunk(chunk, judge, target)
            run.append(RECORDS, *(asdict(record) for record in records))
            kept[key] = records
        progress(f"evaluating {target.name}", number + 1, len(chunks))
    return [record for records in kept.values() for record in records]


def whole_chunks(
    run: Run, model: str, chunks: Sequence[Chunk]
) -> dict[tuple[str, str], list[Record]]:
    """The chunks already recorded for this model; what a kill left of another is dropped."""
    rows = run.rows(RECORDS)
    others = [row for row in rows if row["model"] != model]
    mine = [read_record(row) for row in rows if row["model"] == model]
    whole: dict[tuple[str, str], list[Record]] = {}
    for chunk in chunks:
        found = [r for r in mine if (r.kind, chunk_name(r)) == (chunk.kind, chunk.name)]
        if len(found) != len(chunk.attempts):
            break
        whole[chunk.kind, chunk.name] = found
    kept = [asdict(record) for records in whole.values() for record in records]
    if len(others) + len(kept) != len(rows) or run.resumed:
        run.keep(RECORDS, others + kept)
    return whole


def forget(run: Run, model: str) -> None:
    """Drop a model's records: it has changed since."""
    run.keep(RECORDS, [row for row in run.rows(RECORDS) if row["model"] != model])


def chunk_name(record: Record) -> str:
    """The name of the chunk that a record belongs to."""
    return record.judge if record.kind == "capability" else record.attack


def as_prompt(chunk: Chunk, attempt: Attempt) -> Prompt:
    """What the engine is given. Its id ties the randomness to the item, not to the batch."""
    return Prompt(f"{chunk.kind}/{chunk.name}/{attempt.behaviour.id}", attempt.messages)


def sample_chunk(chunk: Chunk, judge: Judge, target: Target) -> list[Record]:
    """Sample and judge one chunk."""
    engine = target.greedy if chunk.benchmark else target.engine
    prompts = [as_prompt(chunk, attempt) for attempt in chunk.attempts]
    completions = engine.sample(prompts) if prompts else []
    return [
        judged(chunk, prompt, attempt, completion, judge, target)
        for prompt, attempt, completion in zip(prompts, chunk.attempts, completions, strict=True)
    ]


def judged(  # noqa: PLR0913 - one record has this many parents
    chunk: Chunk,
    prompt: Prompt,
    attempt: Attempt,
    completion: Completion,
    judge: Judge,
    target: Target,
) -> Record:
    """One completion as a record. A task's score is whether it is solved; its label, refusal."""
    verdict = judge.verdict(attempt, completion.text)
    score, reason, judged_by = verdict.score, verdict.reason, verdict.judge
    if chunk.benchmark:
        solved = chunk.benchmark.correct(attempt.behaviour, completion.text)
        score, reason, judged_by = float(solved), "solved" if solved else "wrong", chunk.name
    return Record(
        id=f"{target.name}/{prompt.id}",
        model=target.name,
        kind=chunk.kind,
        attack=attempt.attack,
        behaviour_id=attempt.behaviour.id,
        request=attempt.behaviour.request,
        messages=attempt.messages,
        completion=completion.text,
        finish=completion.finish,
        tokens=len(completion.token_ids),
        mean_entropy=completion.mean_entropy,
        entropies=tuple(round(e, 6) for e in completion.entropies),
        label=verdict.label,
        score=score,
        reason=reason,
        judge=judged_by,
        pieces=target.pieces(completion.token_ids),
    )


def read_record(row: dict[str, Any]) -> Record:
    """A record from its line."""
    nan = float("nan")
    messages = tuple(Message(**m) for m in row["messages"])
    filled = {**row, "messages": messages, "entropies": tuple(row["entropies"])}
    filled["pieces"] = tuple(row["pieces"])
    filled |= {k: nan for k in ("score", "mean_entropy") if row[k] is None}
    return Record(**filled)


def read_records(run: Run) -> list[Record]:
    """All records of a run."""
    return [read_record(row) for row in run.rows(RECORDS)]


def summarise(records: Sequence[Record], unseen: frozenset[str] = frozenset()) -> dict[str, Any]:
    """The figures of one model, by part; parts that were not asked are absent."""
    summary: dict[str, Any] = {}
    if any(r.kind == "attack" for r in records):
        summary["dsr"] = summarise_defence(records, unseen)
    for part, of in (
        ("over_refusal", summarise_over_refusal),
        ("capability", summarise_capability),
        ("entropy", summarise_entropy),
    ):
        if figures := of(records):
            summary[part] = figures
    return summary
