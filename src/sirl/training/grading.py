"""What a step teaches: rewards, advantages and training examples of its completions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from sirl.policy import group_advantages
from sirl.roles import Reward
from sirl.types import Completion, Example, Prompt

__all__ = ["ByGroup", "Graded", "Grader", "examples_of"]


class Graded(NamedTuple):
    """What a step teaches; one element per sampled completion, in order."""

    rewards: Tensor
    """Rewards of the sampled completions, in float64."""
    advantages: Tensor
    examples: list[Example]


@runtime_checkable
class Grader(Protocol):
    """Turns completions, grouped in the order of their prompts, into what is learned from them."""

    def rewards(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[float]:
        """The reward of each completion."""
        ...

    def grade(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Graded:
        """The rewards, advantages and training examples of a step."""
        ...


@dataclass(frozen=True)
class ByGroup:
    """Rewards each completion alone and standardises within its group; satisfies `Grader`."""

    reward: Reward

    def rewards(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[float]:  # noqa: ARG002 - the role's signature
        """The reward of each completion."""
        return [self.reward(c) for c in completions]

    def grade(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Graded:
        """The rewards, advantages and training examples of a step."""
        rewards = torch.tensor(self.rewards(prompts, completions), dtype=torch.float64)
        advantages = group_advantages(rewards, len(completions) // len(prompts))
        return Graded(rewards, advantages, examples_of(completions, advantages))


def examples_of(completions: Sequence[Completion], advantages: Tensor) -> list[Example]:
    """Examples from sampled completions and one advantage each."""
    return [Example(c, a) for c, a in zip(completions, advantages.tolist(), strict=True)]
