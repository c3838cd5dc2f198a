"""Saves checkpoints when they are due. It stands last: what it saves is what the others say."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sirl.roles import Control, Observer
from sirl.training.checkpoints import save
from sirl.training.update import PolicyLearner

__all__ = ["SaveCheckpoints", "states_in"]

OLDER = {"log": ("skipped",), "broken": ("in_a_row",)}
"""Where checkpoints of earlier versions keep the state of an observer: beside the step."""


class SaveCheckpoints(Observer):
    """Saves every so many steps, at the last one, and when another observer asks for it."""

    def __init__(
        self,
        folder: Path,
        learner: PolicyLearner,
        steps: int,
        every: int,
        states: Callable[[], Mapping[str, Mapping[str, Any]]] = dict,
    ) -> None:
        self.folder = folder
        self.learner = learner
        self.steps = steps
        self.every = every
        """Steps between checkpoints."""
        self.states = states
        """What each observer wants to find again, by its name."""
        self.saved: Path | None = None
        self.last_good: Path | None = None
        """The newest checkpoint from which a later step came out finite."""

    def on_step(self, taken: int, metrics: dict[str, float], control: Control) -> None:
        """Save if it is time."""
        if not metrics["update/skipped"]:
            self.last_good = self.saved
        due = (taken % self.every == 0 or control.save) and not control.broken
        if due or taken == self.steps or control.stop:
            self.save(taken)

    def save(self, taken: int) -> None:
        """Write a checkpoint."""
        state = {"token_budget": self.learner.token_budget, "observers": dict(self.states())}
        self.saved = save(self.folder, taken, self.learner, state)


def states_in(state: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What a checkpoint holds of each observer, by its name.

    >>> states_in({"step": 2, "skipped": 1, "in_a_row": 0})
    {'log': {'skipped': 1}, 'broken': {'in_a_row': 0}}
    """
    older = {name: {k: state[k] for k in keys if k in state} for name, keys in OLDER.items()}
    found: dict[str, dict[str, Any]] = state.get("observers", older)
    return found
