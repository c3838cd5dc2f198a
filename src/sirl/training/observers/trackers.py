"""Experiment trackers. `metrics.jsonl` remains the source of truth.

A tracker that fails is turned off with a warning; training continues.
"""

import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from functools import partial
from math import isfinite
from typing import Any, Protocol

from sirl.roles import Control, Observer

__all__ = ["Board", "Scalars", "Start", "Tracker", "Trackers"]


class Tracker(Protocol):
    """Receives the metrics of each step; may fail at any time."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log the metrics of a step, counted from 1."""
        ...

    def close(self) -> None:
        """Finish."""
        ...


Start = Callable[[int], Tracker]
"""Starts a tracker, or goes on with it, given the steps already taken."""


class Trackers(Observer):
    """Several trackers; their failures do not stop a run."""

    def __init__(self, starts: Mapping[str, Start], say: Callable[[str], None]) -> None:
        self.starts = starts
        self.say = say
        self.running: dict[str, Tracker] = {}

    def on_start(self, taken: int, state: Mapping[str, Any]) -> None:
        """Start all, or go on with those that the run logged to before."""
        del state
        for name, start in self.starts.items():
            self.attempt(name, "start", partial(self.start, name, start, taken))

    def on_step(self, taken: int, metrics: dict[str, float], control: Control) -> None:
        """Log a step to every tracker that still works."""
        del control
        for name, tracker in list(self.running.items()):
            self.attempt(name, f"log step {taken}", partial(tracker.log, taken, metrics))

    def close(self) -> None:
        """Close every tracker that still works."""
        for name, tracker in list(self.running.items()):
            self.attempt(name, "close", tracker.close)
        self.running.clear()

    def start(self, name: str, start: Start, taken: int) -> None:
        """Start one."""
        self.running[name] = start(taken)

    def attempt(self, name: str, what: str, action: Callable[[], object]) -> None:
        """Call a tracker; on failure warn once and turn it off."""
        try:
            with redirect_stdout(sys.stderr):  # keep trackers off stdout
                action()
        except Exception as error:  # third-party code must not end the run
            self.running.pop(name, None)
            lines = str(error).strip().splitlines()
            reason = f"{lines[0].rstrip('.')} ({type(error).__name__})" if lines else repr(error)
            self.say(
                f"the tracker {name} could not {what} and is turned off: {reason}; "
                "metrics.jsonl has every step"
            )


class Scalars:
    """Logs to a TensorBoard SummaryWriter or one with its interface."""

    def __init__(self, writer: Any) -> None:  # noqa: ANN401 - foreign code
        self.writer = writer

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """One scalar per finite metric, flushed at once."""
        for key, value in metrics.items():
            if isfinite(value):
                self.writer.add_scalar(key, value, step)
        self.writer.flush()

    def close(self) -> None:
        """Flush and close."""
        self.writer.close()


class Board:
    """Logs to trackio or Weights & Biases, which share an interface."""

    def __init__(self, run: Any) -> None:  # noqa: ANN401 - foreign code
        self.run = run

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log all metrics of a step in one call."""
        self.run.log(dict(metrics), step=step)

    def close(self) -> None:
        """Finish the run."""
        self.run.finish()
