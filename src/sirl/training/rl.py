"""The training loop. Its collaborators are passed in; extend it with a new collaborator."""

from collections.abc import Iterable, Sequence

from sirl.errors import Stopped
from sirl.roles import BatchSource, Control, ExampleSource, Learner, Observer

__all__ = ["train"]


def train(
    steps: Iterable[int],
    batches: BatchSource,
    learner: Learner,
    observers: Sequence[Observer] = (),
    sources: Sequence[ExampleSource] = (),
) -> str:
    """Train: get the batch of a step, update, call the observers.

    Ends with the steps, or earlier if an observer says that training is done, and returns what it
    says; an empty text otherwise.

    Raises:
        Stopped: An observer requested it.
    """
    for step in steps:
        examples, metrics, rows = batches.batch(step)
        more = [example for source in sources for example in source.examples(step)]
        rows = (rows or len(examples)) + len(more)
        metrics = metrics | learner.update([*examples, *more], step=step, rows=rows)
        control = Control()
        for observer in observers:
            observer.on_step(step + 1, metrics, control)
        if control.stop:
            raise Stopped(control.stop)
        if control.done:
            return control.done
    return ""
