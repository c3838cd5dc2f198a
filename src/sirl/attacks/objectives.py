"""Objectives of gradient attacks: losses on the logits of a compliant answer's beginning.

Axes: `rows` are candidates, `seq` tokens of the answer, `vocab` the vocabulary. Losses are in
nats and differentiable.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from sirl.entropy import at_least_float32, token_entropy, token_logprobs
from sirl.models.chat import ChatModel
from sirl.models.forward import head_factor, next_logits
from sirl.types import Prompt

__all__ = ["AntiRefusal", "Goal", "LowEntropy", "Objective", "Penalty", "TargetOpener", "goal"]

OFTEN = 0.02
"""Minimum probability of a token to count as a first token of the plain answer."""


@dataclass(frozen=True)
class Goal:
    """The answer that the attack wants, and how the target begins its plain answer."""

    opener: Tensor
    """Token ids (seq) of the first words of a compliant answer."""
    answer: Tensor
    """Token ids (seq) of the opener and of the target's greedy continuation."""
    refusals: Tensor
    """Likely first tokens of the answer to the bare request, without the opener's first token."""


@runtime_checkable
class Objective(Protocol):
    """A differentiable loss to minimise."""

    @property
    def lookahead(self) -> int:
        """Number of tokens after the opener that the loss needs."""
        ...

    def __call__(self, logits: Tensor, goal: Goal) -> Tensor:
        """The loss of each row, differentiable.

        Args:
            logits: Rows x seq x vocab; position t is the distribution of `goal.answer[t]`.
            goal: The wanted answer.
        """
        ...


@runtime_checkable
class Penalty(Protocol):
    """A differentiable penalty on what a guard reads of a prompt.

    It reads the state from which the answer's first token is predicted, and the same state of the
    prompt cut short.
    """

    @property
    def layer(self) -> int:
        """Hidden layer of the state; 0 is the embedding."""
        ...

    @property
    def cut_layer(self) -> int:
        """Hidden layer of the states at cuts."""
        ...

    @property
    def closing(self) -> tuple[int, ...]:
        """Token ids that follow a cut."""
        ...

    def places(self, prompt_ids: Sequence[int]) -> list[int]:
        """Numbers of tokens that the cuts of a prompt keep."""
        ...

    def __call__(self, states: Tensor, cuts: Sequence[Tensor]) -> Tensor:
        """The penalty (rows) of states, and of those at each cut (rows x width each)."""
        ...


@dataclass(frozen=True)
class TargetOpener:
    """Cross-entropy of the opener: GCG as published."""

    lookahead: int = 0

    def __call__(self, logits: Tensor, goal: Goal) -> Tensor:
        """Mean negative log-probability of the opener's tokens."""
        seq = len(goal.opener)
        return -token_logprobs(logits[:, :seq], goal.opener.expand(len(logits), seq)).mean(dim=1)


@dataclass(frozen=True)
class AntiRefusal:
    """The opener's loss, and a penalty on the first tokens of the target's plain answer."""

    weight: float = 1.0
    lookahead: int = 0

    def __call__(self, logits: Tensor, goal: Goal) -> Tensor:
        """The opener's loss minus the log-probability that no such token comes first."""
        logprobs = at_least_float32(logits[:, 0]).log_softmax(dim=-1)
        others = logprobs.index_fill(1, goal.refusals, float("-inf")).logsumexp(dim=1)
        return TargetOpener()(logits, goal) - self.weight * others


@dataclass(frozen=True)
class LowEntropy:
    """An entropy-aware attacker: makes the compliant answer as confident as a rewarded one.

    SIRL rewards low mean token entropy. This attack minimises it over the opener and the target's
    continuation.
    """

    weight: float = 1.0
    lookahead: int = 16

    def __call__(self, logits: Tensor, goal: Goal) -> Tensor:
        """The opener's loss plus the mean token entropy of the answer's beginning."""
        return TargetOpener()(logits, goal) + self.weight * token_entropy(logits).mean(dim=1)


@torch.no_grad()
def goal(chat: ChatModel, behaviour: Prompt, opener: str, lookahead: int) -> Goal:
    """The wanted answer to a request, and the likely first tokens of the plain answer.

    Args:
        chat: The target.
        behaviour: The bare request.
        opener: First words of a compliant answer.
        lookahead: Number of greedy tokens after the opener that belong to the answer.
    """
    wanted = chat.encode(opener)
    prompt = chat.render(behaviour.messages)
    head = head_factor(chat)

    def following(ids: Sequence[int]) -> Tensor:
        """Logits (vocab) of the next token."""
        return next_logits(chat, head, input_ids=torch.tensor([ids], device=chat.device))[0].float()

    often = (following(prompt).softmax(dim=-1) >= OFTEN).nonzero().flatten()
    answer = list(wanted)
    for _ in range(lookahead):
        token = int(following((*prompt, *answer)).argmax())
        if token in chat.end_ids:
            break
        answer.append(token)
    ids = torch.tensor(answer, device=chat.device)
    return Goal(ids[: len(wanted)], ids, often[often != wanted[0]])
