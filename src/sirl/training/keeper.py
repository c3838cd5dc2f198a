"""Keeps a training run: logs each step, saves when due, stops when asked or when numbers break."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from sirl.errors import Stopped, TrainingError
from sirl.roles import Progress, silent
from sirl.runs import Run, missing_steps, rows_by_step
from sirl.training.checkpoints import Checkpoint, save
from sirl.training.update import Learner
from sirl.types import Prompt

__all__ = ["Keeper", "prompt_batches"]

METRICS = "metrics.jsonl"


def prompt_batches(
    prompts: Sequence[Prompt], size: int, seed: int, steps: range
) -> Iterator[tuple[int, Sequence[Prompt]]]:
    """The prompts of each step, a function of (seed, step) alone.

    Every pass over the prompts is shuffled anew; what does not fill a batch waits for the next.
    There are at least `size` prompts.
    """
    per_pass = len(prompts) // size
    for step in steps:
        order = list(range(len(prompts)))
        Random(f"{seed}/{step // per_pass}").shuffle(order)
        start = (step % per_pass) * size
        yield step, [prompts[i] for i in order[start : start + size]]


def counted_from_one(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of metrics.jsonl by the steps taken; earlier versions counted the first one as 0.

    >>> counted_from_one([{"step": 0}, {"step": 1}])
    [{'step': 1}, {'step': 2}]
    >>> counted_from_one([{"step": 1}, {"step": 2}])
    [{'step': 1}, {'step': 2}]
    """
    older = int(bool(rows) and rows[0]["step"] == 0)
    return [{**row, "step": row["step"] + older} for row in rows]


@dataclass
class Keeper:
    """Told after every step; satisfies `sirl.training.rl.StepDone`."""

    run: Run
    learner: Learner
    steps: int
    every: int
    """Steps between checkpoints."""
    stop: Callable[[], bool] = lambda: False
    """Asked after every step."""
    progress: Progress = silent
    track: Callable[[int, Mapping[str, float]], None] = lambda _step, _metrics: None
    """Shown each step, once it is in the log."""
    also: Callable[[int], bool] = lambda _taken: False
    """Whether a checkpoint is due after a step whatever `every` says."""
    patience: int = 3
    """Broken steps in a row before training ends."""
    skipped: int = 0
    in_a_row: int = 0
    saved: Path | None = None
    last_good: Path | None = None
    """The newest checkpoint from which a later step came out finite."""

    def resume(self, checkpoint: Checkpoint | None) -> int:
        """Forget what was logged after the checkpoint; the step to go on with."""
        step = checkpoint.step if checkpoint else 0
        rows = counted_from_one(list(rows_by_step(self.run, METRICS).values()))
        self.run.keep(METRICS, [row for row in rows if row["step"] <= step])
        if lost := missing_steps(self.run, METRICS, step):
            self.run.disk.once(lost)
        if checkpoint:
            self.skipped = int(checkpoint.state["skipped"])
            self.in_a_row = int(checkpoint.state["in_a_row"])
            budget = checkpoint.state.get("token_budget", self.learner.token_budget)
            self.learner.token_budget = int(budget)
            self.saved = checkpoint.path
        self.progress("training", step, self.steps)
        return step

    def __call__(self, taken: int, metrics: dict[str, float]) -> None:
        """Log a step, save when due, then see whether to go on.

        Raises:
            TrainingError: Too many steps in a row were not finite.
            Stopped: A stop was asked for; this step is saved.
        """
        broken = int(metrics["update/skipped"])
        self.skipped += broken
        self.in_a_row = self.in_a_row + broken if broken == metrics["update/steps"] else 0
        if not broken:
            self.last_good = self.saved
        row = {"step": taken, **metrics, "update/skipped_total": self.skipped}
        self.run.append(METRICS, row)
        self.track(taken, {key: value for key, value in row.items() if key != "step"})
        self.progress(f"training, reward {metrics['reward/mean']:.3f}", taken, self.steps)
        if self.in_a_row >= self.patience:
            raise TrainingError(self.broken_sentence(taken))
        asked = self.stop()
        due = (taken % self.every == 0 or self.also(taken)) and not self.in_a_row
        if due or taken == self.steps or asked:
            self.save(taken)
        if asked and taken < self.steps:
            raise Stopped(f"stopped after step {taken} of {self.steps}, saved")

    def save(self, taken: int) -> None:
        """Write a checkpoint."""
        state: dict[str, Any] = {
            "skipped": self.skipped,
            "in_a_row": self.in_a_row,
            "token_budget": self.learner.token_budget,
        }
        self.saved = save(self.run.path / "checkpoints", taken, self.learner, state)

    def broken_sentence(self, taken: int) -> str:
        """What to do when the numbers broke."""
        back = (
            f"go back to the last good checkpoint in a new run, --model {self.last_good}"
            if self.last_good
            else "there is no good checkpoint yet: begin anew"
        )
        return (
            f"{self.in_a_row} optimizer steps in a row up to step {taken} had a loss or gradient "
            f"that is not finite; {back}, with a lower --learning-rate, a higher --kl, or float32"
        )
