"""Logs each step to `metrics.jsonl` and to the progress bar."""

from collections.abc import Mapping, Sequence
from typing import Any

from sirl.roles import Control, Observer, Progress
from sirl.runs import Run, missing_steps, rows_by_step

__all__ = ["OF_THE_LOG", "MetricsLog", "ProgressBar"]

METRICS = "metrics.jsonl"
OF_THE_LOG = ("step", "update/skipped_total")
"""What the log itself adds to the metrics of a step."""
SHOWN = {"reward/mean": "reward", "points/settled": "decisions as taught"}
"""Metrics that the progress shows, in words; a step has one of them."""


class MetricsLog(Observer):
    """Writes a line per step; adds `update/skipped_total`."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.skipped = 0
        """Optimizer steps so far whose loss or gradient was not finite."""

    def on_start(self, taken: int, state: Mapping[str, Any]) -> None:
        """Drop the lines of steps after the checkpoint."""
        self.skipped = int(state.get("skipped", 0))
        rows = counted_from_one(list(rows_by_step(self.run, METRICS).values()))
        self.run.keep(METRICS, [row for row in rows if row["step"] <= taken])
        if lost := missing_steps(self.run, METRICS, taken):
            self.run.disk.once(lost)

    def on_step(self, taken: int, metrics: dict[str, float], control: Control) -> None:
        """Write a line."""
        del control
        self.skipped += int(metrics["update/skipped"])
        metrics["update/skipped_total"] = self.skipped
        self.run.append(METRICS, {"step": taken, **metrics})

    def state(self) -> dict[str, Any]:
        """The count."""
        return {"skipped": self.skipped}


class ProgressBar(Observer):
    """Shows steps and what they gain on the console."""

    def __init__(self, progress: Progress, steps: int) -> None:
        self.progress = progress
        self.steps = steps

    def on_start(self, taken: int, state: Mapping[str, Any]) -> None:
        """Show the first step."""
        del state
        self.progress("training", taken, self.steps)

    def on_step(self, taken: int, metrics: dict[str, float], control: Control) -> None:
        """Show the step."""
        del control
        shown = next(key for key in SHOWN if key in metrics)
        self.progress(f"training, {SHOWN[shown]} {metrics[shown]:.3f}", taken, self.steps)


def counted_from_one(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of metrics.jsonl with steps counted from 1; earlier versions counted from 0.

    >>> counted_from_one([{"step": 0}, {"step": 1}])
    [{'step': 1}, {'step': 2}]
    >>> counted_from_one([{"step": 1}, {"step": 2}])
    [{'step': 1}, {'step': 2}]
    """
    older = int(bool(rows) and rows[0]["step"] == 0)
    return [{**row, "step": row["step"] + older} for row in rows]
