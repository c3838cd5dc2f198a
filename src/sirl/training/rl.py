"""The training loop. Its collaborators are passed in; extend it with a new collaborator."""

import time
from collections.abc import Iterable, Sequence

from sirl.errors import Stopped
from sirl.roles import Control, Engine, ExampleSource, Learner, Observer
from sirl.training.grading import Grader
from sirl.training.metrics import batch_metrics
from sirl.types import Prompt

__all__ = ["train"]


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
