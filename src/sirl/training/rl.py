"""The training loop. Its collaborators are passed in; extend it with a new collaborator."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from sirl.errors import Stopped
from sirl.policy import group_advantages
from sirl.roles import Control, Engine, ExampleSource, Learner, Observer, Reward
from sirl.training.metrics import batch_metrics
from sirl.types import Completion, Example, Prompt

__all__ = ["ByGroup", "Graded", "Grader", "examples_of", "train"]


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


def train(  # noqa: PLR0913 - the collaborators of the loop
    batches: Iterable[tuple[int, Sequence[Prompt]]],
    engine: Engine,
    grader: Grader,
    learner: Learner,
    observers: Sequence[Observer] = (),
    sources: Sequence[ExampleSource] = (),
    *,
    group: int,
) -> None:
    """Train: sample, grade, update, call the observers.

    Ends with the batches, or earlier if an observer says that training is done.

    Raises:
        Stopped: An observer requested it.
    """
    for step, prompts in batches:
        started = time.perf_counter()
        completions = engine.sample(prompts, group=group, step=step)
        sampled = time.perf_counter() - started
        rewards, advantages, examples = grader.grade(prompts, completions)
        for source in sources:
            examples += source.examples(step)
        update = learner.update(examples, step=step)
        metrics = batch_metrics(completions, rewards, advantages, group)
        metrics |= {**update, "seconds/sample": sampled}
        control = Control()
        for observer in observers:
            observer.on_step(step + 1, metrics, control)
        if control.stop:
            raise Stopped(control.stop)
        if control.done:
            return


def examples_of(completions: Sequence[Completion], advantages: Tensor) -> list[Example]:
    """Examples from sampled completions and one advantage each."""
    return [Example(c, a) for c, a in zip(completions, advantages.tolist(), strict=True)]
