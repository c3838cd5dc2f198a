"""Asks and judges the questions of `sirl guard evaluate`."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sirl.config import GuardEvaluateConfig
from sirl.evaluation.asked import ATTACKED, Query
from sirl.evaluation.prefills import Help, begun, longest
from sirl.evaluation.suite import Suite, askable
from sirl.judges.jury import verdicts
from sirl.prompts import Rejected
from sirl.roles import Progress
from sirl.types import BROKEN, OWN_PREFILL, Completion, Sampling, Verdict
from sirl.workflows.console import parts

if TYPE_CHECKING:
    from sirl.evaluation.target import Target
    from sirl.guard.scoring import Guard

__all__ = ["EvaluationJob", "Judged", "asked", "readable"]

DEPTHS = (8, 16, 24)
"""Tokens of the model's own compliance that a prefill begins the answer with."""


@dataclass(frozen=True)
class Judged:
    """An answer to a query, with its verdict."""

    query: Query
    completion: Completion
    verdict: Verdict
    harm: Verdict | None = None
    """Of an answer to a harmless prompt, if the first judge is one of harm."""


@dataclass(frozen=True)
class EvaluationJob:
    """What the parts of an evaluation share."""

    config: GuardEvaluateConfig
    suite: Suite
    target: "Target"
    guard: "Guard"
    progress: Progress


def readable(work: EvaluationJob) -> tuple[list[Query], list[Rejected]]:
    """The suite's questions that leave room for an answer and a check behind it; the others."""
    every, unasked = askable(work.suite, work.target)
    kept, long = by_room(work, every)
    reason = "leaves no room for a check of the guard in the context"
    unasked += [Rejected(q.attempt.behaviour.source, 0, f"{q.prompt.id} {reason}", 1) for q in long]
    return kept, unasked


def by_room(work: EvaluationJob, queries: Iterable[Query]) -> tuple[list[Query], list[Query]]:
    """The queries that leave room for an answer and a check behind it, and the others."""
    from sirl.guard.checks import room_before

    room = room_before(work.target.chat, work.config.new_tokens)
    kept, long = list[Query](), list[Query]()
    for query in queries:
        found = work.target.read(query.prompt)
        (kept if not found.fault and found.size <= room else long).append(query)
    return kept, long


def asked(work: EvaluationJob, queries: Sequence[Query]) -> Iterator[Judged]:
    """All answers with their verdicts: to the queries, then to prefills of own compliance.

    Tasks have batches for themselves, so that the last bits of the other answers do not depend on
    them.
    """
    found = list(answered(work, "asking", [q for q in queries if q.kind != "capability"]))
    yield from found
    yield from answered(work, "asking tasks", [q for q in queries if q.kind == "capability"])
    yield from answered(work, "prefills of own compliance", prefills(work, found))


def answered(work: EvaluationJob, what: str, queries: Sequence[Query]) -> Iterator[Judged]:
    """Sample and judge queries, in batches of similar length."""
    target, size = work.target, work.target.batch_size
    ordered = sorted(queries, key=lambda q: target.read(q.prompt).size)
    for batch in parts(what, ordered, size, work.progress):
        completions = target.engine(Sampling()).sample([q.prompt for q in batch])
        answers = list(zip(batch, completions, strict=True))
        yield from judged(work.suite, [a for a in answers if a[0].kind in ATTACKED], attacked=True)
        harmless = [a for a in answers if a[0].kind not in ATTACKED]
        yield from judged(work.suite, harmless, attacked=False)


def judged(
    suite: Suite, answers: Sequence[tuple[Query, Completion]], *, attacked: bool
) -> Iterator[Judged]:
    """The answers with their verdicts."""
    texts = [(q.attempt, c.text) for q, c in answers]
    first, harms = suite.judges[0], list[Verdict | None]([None] * len(texts))
    said = verdicts(first if attacked else suite.refusals, texts)
    if not attacked and first.question == "harm":
        harms = [*verdicts(first, texts)]
    for (query, completion), verdict, harm in zip(answers, said, harms, strict=True):
        yield Judged(query, completion, verdict, harm)


def prefills(work: EvaluationJob, answers: Sequence[Judged]) -> list[Query]:
    """Bare requests whose answers begin with the model's own compliance, at several depths."""
    helped = [
        j
        for j in answers
        if j.query.kind == "attack" and j.verdict.label in BROKEN and not j.query.prompt.is_begun
    ]
    behaviours = {j.query.attempt.behaviour.id: j.query.attempt.behaviour for j in helped}
    texts = longest(
        Help(j.query.attempt.behaviour.id, len(j.completion.token_ids), j.completion.text)
        for j in helped
    )
    every = (
        query
        for id, text in texts.items()
        for query in begun(OWN_PREFILL, behaviours[id], text, work.target, DEPTHS)
    )
    return by_room(work, every)[0]
