"""Judges the answers of a target and writes their records.

If the judge stops answering or fails, the answers are kept without a verdict, so that a resumed run
judges them and does not ask the target again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sirl.evaluation.asked import ATTACKED, PROBE, Query, solve
from sirl.evaluation.costs import Meter
from sirl.evaluation.records import Log
from sirl.evaluation.target import Target
from sirl.judges.jury import verdicts
from sirl.roles import Judge
from sirl.stats import mean
from sirl.types import Completion, Mark, Question, Record, Verdict

__all__ = ["Judging", "record_of"]

WAITS = "the judge has not been asked yet"


@dataclass(frozen=True)
class Judging:
    """Judges answers of one target; unsafe requests and harmless prompts have a judge each."""

    target: Target
    judge: Judge
    refusals: Judge
    log: Log
    meter: Meter

    def record(self, fresh: Sequence[tuple[str, Query, Completion]]) -> None:
        """Judge completions and write their records.

        The score of a task says whether it is solved, and its label whether it was refused.

        Raises:
            Exception: A judge does not answer or fails; the answers are kept without a verdict.
        """
        self.settle([(q, self.draft(key, q, c)) for key, q, c in fresh])

    def keep(self, fresh: Sequence[tuple[str, Query, Completion]]) -> None:
        """Keep completions without a verdict."""
        self.log.wait([self.draft(key, q, c) for key, q, c in fresh])

    def catch_up(self, keyed: Sequence[tuple[str, Query]]) -> None:
        """Judge the answers to these questions that an outage of a judge has left without verdict.

        Raises:
            OutageError: A judge still does not answer.
        """
        self.settle([(q, self.log.unjudged[key]) for key, q in keyed if key in self.log.unjudged])

    def draft(self, key: str, asked: Query, completion: Completion) -> Record:
        """The record of an answer before it is judged; final if there is nothing to judge."""
        judge = self.judge_of(asked)
        reason, name = (f"no answer: {completion.fault}" if completion.fault else WAITS), judge.name
        if asked.attempt.probe and not completion.fault:
            reason, name = "an intermediate question", ""
        verdict = Verdict("unscored", float("nan"), reason, name)
        question = None if asked.attempt.probe else judge.question
        mark = solve(asked, completion)
        return record_of(self.target, key, asked, completion, verdict, mark, question)

    def settle(self, drafts: Sequence[tuple[Query, Record]]) -> None:
        """Judge drafts and write the records."""
        found: dict[str, Verdict] = {}
        try:
            for judge, attacked in ((self.judge, True), (self.refusals, False)):
                asked = [
                    (d.key, (q.attempt, d.completion))
                    for q, d in drafts
                    if not (q.attempt.probe or d.fault) and (q.kind in ATTACKED) == attacked
                ]
                with self.meter.timing("judge", len(asked)):
                    said = verdicts(judge, [item for _, item in asked])
                found |= {key: v for (key, _), v in zip(asked, said, strict=True)}
        except Exception:
            self.log.wait([draft for _, draft in drafts])
            raise
        self.log.add([judged(draft, found.get(draft.key)) for _, draft in drafts])

    def judge_of(self, asked: Query) -> Judge:
        """The judge of answers to a question."""
        return self.judge if asked.kind in ATTACKED else self.refusals


def record_of(  # noqa: PLR0913 - each argument is a part of the record
    target: Target,
    key: str,
    asked: Query,
    completion: Completion,
    verdict: Verdict,
    mark: Mark | None = None,
    question: Question | None = None,
) -> Record:
    """The record of an answer; for a task, with the result of its check."""
    attempt, thought = asked.attempt, completion.thought_entropies
    score, reason, judge = verdict.score, verdict.reason, verdict.judge
    if asked.benchmark:
        score, judge, question = float(bool(mark)), "", None
        reason = mark.reason if mark is not None else reason
    return Record(
        id=f"{target.name}/{asked.prompt.id}",
        model=target.name,
        kind=PROBE if attempt.probe else asked.kind,
        attack=attempt.attack,
        behaviour_id=attempt.behaviour.id,
        request=attempt.behaviour.request,
        messages=attempt.messages,
        completion=completion.text,
        finish=completion.finish,
        tokens=completion.tokens,
        mean_entropy=completion.mean_entropy,
        entropies=tuple(round(e, 6) for e in completion.entropies),
        label=verdict.label,
        score=score,
        reason=reason,
        judge=judge,
        benchmark=asked.group if asked.benchmark else "",
        question=question,
        pieces=target.pieces(completion.token_ids),
        family=asked.family,
        number=asked.number,
        queries=asked.queries,
        sampling=attempt.sampling,
        trace=attempt.trace,
        thoughts=completion.thoughts,
        thought_entropy=mean(thought) if thought else None,
        fault=completion.fault,
        key=key,
        category=attempt.behaviour.category,
    )


def judged(draft: Record, verdict: Verdict | None) -> Record:
    """The record with its verdict, if there is one; of a task only the label is the judge's."""
    if verdict is None:
        return draft
    if draft.benchmark:
        return replace(draft, label=verdict.label)
    return replace(
        draft,
        label=verdict.label,
        score=verdict.score,
        reason=verdict.reason,
        judge=verdict.judge,
    )
