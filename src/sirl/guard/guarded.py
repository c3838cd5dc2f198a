"""A model behind its guard, as an attacker meets it.

Every answer passes the guard; a stopped one ends where it was stopped, or is a refusal if nothing
had left. An attacker who knows the score adds it to the objective of a search.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sirl.guard.checks import Check, CheckReader
from sirl.guard.scoring import Asked, Fitted, heard_by_probe, replay
from sirl.judges.jury import verdicts
from sirl.roles import Engine, Judge
from sirl.types import Attempt, Completion, Label, Message, Prompt, Question, Verdict

__all__ = ["REFUSAL", "GuardedEngine", "ScorePenalty", "StopsAreSafe", "penalised"]

REFUSAL = "I can't help with that."
"""The answer of a guard that stops an answer before anything has left."""
Likelihoods = Callable[[Sequence[tuple[Message, ...]], str], list[float]]


@dataclass(frozen=True)
class GuardedEngine:
    """An engine behind a guard; satisfies `sirl.roles.Engine`."""

    inner: Engine
    reader: CheckReader
    fitted: Fitted
    threshold: float
    detector: str = "probe"
    """`probe`, or `both_probes`."""

    def sample(
        self, prompts: Sequence[Prompt], *, group: int = 1, step: int = 0
    ) -> list[Completion]:
        """Sample completions, and stop those that raise an alarm."""
        found = self.inner.sample(prompts, group=group, step=step)
        asked = [p for p in prompts for _ in range(group)]
        answers = [Asked(p, c) for p, c in zip(asked, found, strict=True)]
        fitted = self.fitted
        passed = []
        for (_, completion), own in zip(
            answers, heard_by_probe(self.reader, fitted, answers), strict=True
        ):
            again = replay(own, self.detector, fitted.watch, self.threshold)
            stops = again.alarm is not None
            passed.append(self.stopped(completion, again.left) if stops else completion)
        return passed

    def stopped(self, completion: Completion, left: int) -> Completion:
        """A completion of which only the first tokens have left."""
        return replace(
            completion,
            token_ids=completion.token_ids[:left],
            text=self.reader.chat.decode(completion.token_ids[:left]) if left else REFUSAL,
            logprobs=completion.logprobs[:left],
            entropies=completion.entropies[:left],
            certainties=completion.certainties[:left],
            finish="stop",
        )


@dataclass(frozen=True)
class StopsAreSafe:
    """A judge to whom the guard's own refusal is safe; satisfies `sirl.roles.BatchJudge`."""

    inner: Judge

    @property
    def name(self) -> str:
        """Name of the inner judge."""
        return self.inner.name

    @property
    def question(self) -> Question:
        """Question of the inner judge."""
        return self.inner.question

    def verdict(self, attempt: Attempt, answer: str) -> Verdict:
        """Judge one answer."""
        return self.verdicts([(attempt, answer)])[0]

    def verdicts(self, items: Sequence[tuple[Attempt, str]]) -> list[Verdict]:
        """Judge (attempt, answer) pairs, in order."""
        others = iter(verdicts(self.inner, [item for item in items if item[1] != REFUSAL]))
        label: Label = "refusal" if self.question == "refusal" else "harmless"
        stop = Verdict(label, 1.0, "stopped by the guard", self.name)
        return [stop if answer == REFUSAL else next(others) for _, answer in items]


@dataclass(frozen=True)
class ScorePenalty:
    """How far the score of a prompt exceeds the threshold, as a penalty of a gradient search."""

    layer: int
    weights: tuple[float, ...]
    bias: float
    threshold: float
    weight: float = 1.0
    """Nats per unit of log-odds."""

    @classmethod
    def of(cls, fitted: Fitted, threshold: float) -> "ScorePenalty":
        """The penalty of a guard's probe."""
        probe = fitted.probe
        return cls(probe.layer, tuple(probe.weights.tolist()), probe.bias, threshold)

    def __call__(self, states: Tensor) -> Tensor:
        """The penalty (rows) of states (rows x width); differentiable."""
        weights = torch.tensor(self.weights, device=states.device)
        return self.of_scores(states.float() @ weights + self.bias)

    def of_scores(self, scores: Tensor) -> Tensor:
        """The penalty of scores."""
        return self.weight * (scores - self.threshold).clamp(min=0.0)


def penalised(
    likelihoods: Likelihoods, reader: CheckReader, fitted: Fitted, penalty: ScorePenalty
) -> Likelihoods:
    """Log-likelihoods of an answer minus the penalty of the prompts, for an adaptive search.

    Only prompts without a begun answer are scored, since no search that needs likelihoods begins
    one.
    """

    def adapted(conversations: Sequence[tuple[Message, ...]], answer: str) -> list[float]:
        rows = [reader.chat.render(turns) for turns in conversations]
        checks = [Check(Completion("", ids, (), "", (), (), "length"), 0) for ids in rows]
        scores = fitted.probe.score(reader.read(checks).states[:, 0])
        costs = penalty.of_scores(torch.from_numpy(scores)).tolist()
        return [a - b for a, b in zip(likelihoods(conversations, answer), costs, strict=True)]

    return adapted
