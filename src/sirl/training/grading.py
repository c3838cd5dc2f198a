"""What a step teaches: rewards, advantages and training examples of its completions."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from sirl.errors import TrainingError, shown
from sirl.policy import group_advantages
from sirl.roles import Reward
from sirl.training.checked import number_of
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
    name: str = "of this run"
    """Name of the reward in messages."""

    def rewards(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[float]:  # noqa: ARG002 - the role's signature
        """The reward of each completion; it may be NaN for one without tokens.

        Raises:
            TrainingError: The reward returned something else than a finite number.
        """
        return [number(self.name, self.reward(c), c) for c in completions]

    def grade(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Graded:
        """The rewards, advantages and training examples of a step."""
        rewards = torch.tensor(self.rewards(prompts, completions), dtype=torch.float64)
        advantages = group_advantages(rewards, len(completions) // len(prompts))
        return Graded(rewards, advantages, examples_of(completions, advantages))


def number(name: str, returned: object, completion: Completion) -> float:
    """What a reward has returned for a completion, as a number.

    Raises:
        TrainingError: It is none, or not finite although the completion's own numbers are.
    """
    found = number_of(returned)
    # Numbers of the policy that are not finite are a fault of its own, which the loop watches.
    known = completion.token_ids and all(
        map(isfinite, (*completion.entropies, *completion.logprobs))
    )
    if found is None or (known and not isfinite(found)):
        raise TrainingError(
            f"the reward {name} returned {shown(returned)} for an answer of "
            f"{len(completion.token_ids)} tokens to the prompt {completion.prompt_id}: let it "
            "return a finite number for every answer, then continue with --resume"
        )
    return found


def examples_of(completions: Sequence[Completion], advantages: Tensor) -> list[Example]:
    """Examples from sampled completions and one advantage each."""
    return [Example(c, a) for c, a in zip(completions, advantages.tolist(), strict=True)]
