"""Judges whose verdicts are kept, so that none is asked for twice."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sirl.evaluation.second_judges import verdict_in
from sirl.evaluation.target import digest
from sirl.judges.jury import verdicts
from sirl.roles import BatchJudge, Judge, identity_of
from sirl.runs.kept import Kept
from sirl.types import Attempt, Question, Verdict

__all__ = ["KeptVerdicts"]

TOGETHER = 16
"""Answers that a judge of batches judges before their verdicts are kept."""


@dataclass(frozen=True)
class KeptVerdicts:
    """A judge that remembers; satisfies `sirl.roles.BatchJudge`."""

    judge: Judge
    kept: Kept

    @property
    def name(self) -> str:
        """Name of the judge."""
        return self.judge.name

    @property
    def question(self) -> Question:
        """Question of the judge."""
        return self.judge.question

    @property
    def identity(self) -> str:
        """Identity of the judge."""
        return identity_of(self.judge)

    def verdict(self, attempt: Attempt, answer: str) -> Verdict:
        """Judge one answer."""
        return self.verdicts([(attempt, answer)])[0]

    def verdicts(self, items: Sequence[tuple[Attempt, str]]) -> list[Verdict]:
        """Judge (attempt, answer) pairs, in order."""
        keys = [self.key(*item) for item in items]
        missing = {k: i for k, i in zip(keys, items, strict=True) if k not in self.kept.rows}
        size = TOGETHER if isinstance(self.judge, BatchJudge) else 1
        for start in range(0, len(missing), size):
            batch = dict(list(missing.items())[start : start + size])
            said = verdicts(self.judge, list(batch.values()))
            self.kept.add([{"key": k, **asdict(v)} for k, v in zip(batch, said, strict=True)])
        return [self.kept.found(key, verdict_in) for key in keys]

    def key(self, attempt: Attempt, answer: str) -> str:
        """Hash of everything that determines the verdict."""
        turns = [(m.role, m.content) for m in attempt.messages]
        return digest(self.identity, self.question, attempt.behaviour.request, turns, answer)
