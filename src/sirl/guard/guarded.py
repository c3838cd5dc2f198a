"""A model behind its guard, as an attacker meets it.

Every answer passes the guard; a stopped one ends where it was stopped, or is a refusal if nothing
had left. An attacker who knows the score adds it to the objective of a search.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor

from sirl.guard.checks import CheckReader
from sirl.guard.cuts import Cutter
from sirl.guard.detectors import ACTING
from sirl.guard.probe import LinearProbe
from sirl.guard.replaying import replay
from sirl.guard.scoring import Asked, Fitted, heard_by
from sirl.guard.server.policy import REFUSAL
from sirl.judges.jury import verdicts
from sirl.models.chat import ChatModel
from sirl.roles import Engine, Judge
from sirl.types import Attempt, Completion, Label, Message, Prompt, Question, Verdict

__all__ = ["GuardedEngine", "ScorePenalty", "StopsAreSafe", "penalised"]

Likelihoods = Callable[[Sequence[tuple[Message, ...]], str], list[float]]


@dataclass(frozen=True)
class GuardedEngine:
    """An engine behind a guard; satisfies `sirl.roles.Engine`."""

    inner: Engine
    reader: CheckReader
    fitted: Fitted
    threshold: float
    detector: str = ACTING
    alarms: set[str] = field(default_factory=set)
    """Ids of the prompts whose answers were stopped."""

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
            answers, heard_by(self.detector, self.reader, fitted, answers), strict=True
        ):
            again = replay(own, self.detector, fitted.watch, self.threshold)
            if again.alarm is None:
                passed.append(completion)
                continue
            self.alarms.add(completion.prompt_id)
            passed.append(self.stopped(completion, again.left))
        return passed

    def stopped(self, completion: Completion, left: int) -> Completion:
        """A completion reduced to the first tokens, which were sent."""
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


class Line(NamedTuple):
    """A probe as plain numbers."""

    layer: int
    weights: tuple[float, ...]
    bias: float

    @classmethod
    def of(cls, probe: LinearProbe) -> "Line":
        """The numbers of a probe."""
        return cls(probe.layer, tuple(probe.weights.tolist()), probe.bias)

    def score(self, states: Tensor) -> Tensor:
        """The scores (rows) of states (rows x width); differentiable."""
        return states.float() @ torch.tensor(self.weights, device=states.device) + self.bias


@dataclass(frozen=True)
class ScorePenalty:
    """How far the scores of a prompt exceed the threshold, as a penalty of a gradient search.

    The excess of every check counts, so that the search lowers each that its suffix can change.
    """

    probe: Line
    cuts: Line
    cutter: Cutter
    threshold: float
    weight: float = 1.0
    """Nats per unit of log-odds."""

    @classmethod
    def of(cls, chat: ChatModel, fitted: Fitted, threshold: float) -> "ScorePenalty":
        """The penalty of a guard's probes."""
        lines = Line.of(fitted.probe), Line.of(fitted.cuts)
        return cls(*lines, Cutter.of(chat), threshold)

    @property
    def layer(self) -> int:
        """Layer of the state before the answer."""
        return self.probe.layer

    @property
    def cut_layer(self) -> int:
        """Layer of the states at cuts."""
        return self.cuts.layer

    @property
    def closing(self) -> tuple[int, ...]:
        """Token ids that follow a cut."""
        return self.cutter.closing

    def places(self, prompt_ids: Sequence[int]) -> list[int]:
        """Numbers of tokens that the cuts of a prompt keep."""
        return [cut.kept for cut in self.cutter.cuts(prompt_ids)[:-1]]

    def __call__(self, states: Tensor, cuts: Sequence[Tensor]) -> Tensor:
        """The penalty (rows) of states and of those at cuts (rows x width each)."""
        scores = [self.probe.score(states), *(self.cuts.score(own) for own in cuts)]
        return torch.stack([self.of_scores(own) for own in scores]).sum(dim=0)

    def of_scores(self, scores: Tensor) -> Tensor:
        """The penalty of scores."""
        return self.weight * (scores - self.threshold).clamp(min=0.0)


def penalised(likelihoods: Likelihoods, reader: CheckReader, penalty: ScorePenalty) -> Likelihoods:
    """Log-likelihoods of an answer minus the penalty of the prompts, for an adaptive search.

    Only prompts without a begun answer are scored, since no search that needs likelihoods begins
    one.
    """

    def adapted(conversations: Sequence[tuple[Message, ...]], answer: str) -> list[float]:
        whole = [reader.chat.render(turns) for turns in conversations]
        cuts = [
            reader.cuts(ids, reader.turn(turns))
            for ids, turns in zip(whole, conversations, strict=True)
        ]
        states = torch.from_numpy(reader.read_ids([r for own in cuts for r in own]).states)
        costs = []
        for own in torch.split(states, [len(rows) for rows in cuts]):
            # The last cut is the whole prompt, whose state both probes read.
            costs.append(float(penalty(own[-1:, 0], [row[None] for row in own[:, 1]])))
        return [a - b for a, b in zip(likelihoods(conversations, answer), costs, strict=True)]

    return adapted
