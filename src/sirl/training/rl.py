"""The training loop. Its collaborators are passed in; extend it with a new collaborator."""

import time
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from sirl.errors import Stopped
from sirl.policy import group_advantages
from sirl.roles import Control, Engine, ExampleSource, Learner, Observer, Reward
from sirl.training.metrics import batch_metrics
from sirl.types import Completion, Example, Prompt

__all__ = ["examples_of", "train"]


def train(  # noqa: PLR0913 - the collaborators of the loop
    batches: Iterable[tuple[int, Sequence[Prompt]]],
    engine: Engine,
    reward: Reward,
    learner: Learner,
    observers: Sequence[Observer] = (),
    sources: Sequence[ExampleSource] = (),
    *,
    group: int,
) -> None:
    """Train: sample, reward, compute advantages, update, call the observers.

    Ends with the batches, or earlier if an observer says that training is done.

    Raises:
        Stopped: An observer requested it.
    """
    for step, prompts in batches:
        started = time.perf_counter()
        completions = engine.sample(prompts, group=group, step=step)
        sampled = time.perf_counter() - started
        rewards = torch.tensor([reward(c) for c in completions], dtype=torch.float64)
        advantages = group_advantages(rewards, group)
        examples = examples_of(completions, advantages)
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
