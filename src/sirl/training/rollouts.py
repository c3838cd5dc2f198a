"""Batches of sampled completions: sample a group per prompt, grade it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sirl.roles import Batch, Engine
from sirl.training.grading import Grader
from sirl.training.metrics import batch_metrics
from sirl.types import Prompt

__all__ = ["Rollouts"]


@dataclass(frozen=True)
class Rollouts:
    """Samples completions of the policy and grades them; satisfies `sirl.roles.BatchSource`."""

    prompts: Callable[[int], Sequence[Prompt]]
    """The prompts of a step, counted from 0."""
    engine: Engine
    """Samples from the policy."""
    grader: Grader
    group: int
    """Completions per prompt."""

    def batch(self, step: int) -> Batch:
        """The batch of a step, counted from 0."""
        started = time.perf_counter()
        prompts = self.prompts(step)
        completions = self.engine.sample(prompts, group=self.group, step=step)
        sampled = time.perf_counter() - started
        rewards, advantages, examples = self.grader.grade(prompts, completions)
        metrics = batch_metrics(completions, rewards, advantages, self.group)
        return Batch(examples, metrics | {"seconds/sample": sampled})
