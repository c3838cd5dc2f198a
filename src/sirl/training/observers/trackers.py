"""Trackers: other tools that are shown each step's numbers. `metrics.jsonl` stays the truth.

A tracker that fails is left out from then on, with a sentence; training goes on without it.
"""

import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from functools import partial
from typing import Any, Protocol

from sirl.roles import Control, Observer

__all__ = ["Board", "Scalars", "Start", "Tracker", "Trackers"]


class Tracker(Protocol):
    """Shown the numbers of steps; may fail at any time."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take the numbers of a step, counted from 1."""
        ...

    def close(self) -> None:
        """No more steps come."""
        ...


Start = Callable[[], Tracker]


class Trackers(Observer):
    """Several trackers, started together; none of them can stop a run."""

    def __init__(self, starts: Mapping[str, Start], say: Callable[[str], None]) -> None:
        self.starts = starts
        self.say = say
        self.running: dict[str, Tracker] = {}

    def on_start(self, taken: int, state: Mapping[str, Any]) -> None:
        """Start all."""
        del taken, state
        for name, start in self.starts.items():
            self.attempt(name, "start", partial(self.start, name, start))

    def on_step(self, taken: int, metrics: dict[str, float], control: Control) -> None:
        """Show a step to all that still run."""
        del control
        for name, tracker in list(self.running.items()):
            self.attempt(name, f"log step {taken}", partial(tracker.log, taken, metrics))

    def close(self) -> None:
        """Close all that still run."""
        for name, tracker in list(self.running.items()):
            self.attempt(name, "close", tracker.close)
        self.running.clear()

    def start(self, name: str, start: Start) -> None:
        """Start one."""
        self.running[name] = start()

    def attempt(self, name: str, what: str, action: Callable[[], object]) -> None:
        """Do something with a tracker; where it fails, say so once and leave it out."""
        try:
            with redirect_stdout(sys.stderr):  # standard output is ours alone
                action()
        except Exception as error:  # foreign code: whatever it raises, the run is not its to end
            self.running.pop(name, None)
            lines = str(error).strip().splitlines()
            reason = f"{lines[0].rstrip('.')} ({type(error).__name__})" if lines else repr(error)
            self.say(
                f"the tracker {name} could not {what} and is turned off: {reason}; "
                "metrics.jsonl has every step"
            )


class Scalars:
    """TensorBoard's writer, or what is used as it is."""

    def __init__(self, writer: Any) -> None:  # noqa: ANN401 - foreign code
        self.writer = writer

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """One curve per metric; what is finite is seen at once."""
        for key, value in metrics.items():
            self.writer.add_scalar(key, value, step)
        self.writer.flush()

    def close(self) -> None:
        """See the rest onto the disk."""
        self.writer.close()


class Board:
    """A run of trackio or of Weights & Biases, which are used alike."""

    def __init__(self, run: Any) -> None:  # noqa: ANN401 - foreign code
        self.run = run

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """All metrics of a step in one row."""
        self.run.log(dict(metrics), step=step)

    def close(self) -> None:
        """Finish the run."""
        self.run.finish()
