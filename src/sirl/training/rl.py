"""The loop. Whatever it needs, it is handed; a new idea is a new collaborator, not a new line."""

import time
from collections.abc import Callable, Iterable, Sequence

import torch

from sirl.policy import group_advantages
from sirl.roles import Engine, Reward
from sirl.training.metrics import batch_metrics
from sirl.training.update import Learner
from sirl.types import Prompt

__all__ = ["StepDone", "train"]

StepDone = Callable[[int, dict[str, float]], None]
"""Told (steps taken so far, metrics of the last one)."""


def train(  # noqa: PLR0913 - the arrows of the figure in the README
    batches: Iterable[tuple[int, Sequence[Prompt]]],
    engine: Engine,
    reward: Reward,
    learner: Learner,
    done: StepDone,
    *,
    group: int,
) -> None:
    """The whole method; every line is one arrow of the figure in the README."""
    for step, prompts in batches:
        started = time.perf_counter()
        completions = engine.sample(prompts, group=group, step=step)
        sampled = time.perf_counter() - started
        rewards = torch.tensor([reward(c) for c in completions], dtype=torch.float64)
        advantages = group_advantages(rewards, group)
        update = learner.update(completions, advantages, step=step)
        metrics = batch_metrics(completions, rewards, advantages, group)
        done(step + 1, {**metrics, **update, "seconds/sample": sampled})
