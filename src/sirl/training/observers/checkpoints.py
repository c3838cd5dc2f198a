"""Saves checkpoints. Must be the last observer, since it saves the state of the others."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sirl.errors import PluginError, first_line, shown
from sirl.roles import Control, Observer
from sirl.training.checkpoints import Checkpoint, save
from sirl.training.update import PolicyLearner

__all__ = ["SaveCheckpoints", "done_in", "states_in", "states_of"]

OLDER = {"log": ("skipped",), "broken": ("in_a_row",)}
"""Keys under which earlier versions stored the state of observers."""


class SaveCheckpoints(Observer):
    """Saves periodically, at the last step, and when another observer requests it."""

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
        """Gives the states of observers to save, by their names."""
        self.saved: Path | None = None
        self.last_good: Path | None = None
        """The newest checkpoint after which a step was finite."""

    def resume(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint."""
        self.saved = checkpoint.path
        good = checkpoint.state.get("last_good", "")
        self.last_good = self.folder / good if good and (self.folder / good).is_dir() else None

    def on_step(self, taken: int, metrics: dict[str, float], control: Control) -> None:
        """Save if a checkpoint is due."""
        if not metrics["update/skipped"]:
            self.last_good = self.saved
        due = (taken % self.every == 0 or control.save) and not control.broken
        if due or taken == self.steps or control.stop or control.done:
            self.save(taken, control.done)

    def save(self, taken: int, done: str = "") -> None:
        """Write a checkpoint; `done` says why training is complete with it."""
        state = {
            "done": done,
            "token_budget": self.learner.token_budget,
            "observers": dict(self.states()),
            "last_good": self.last_good.name if self.last_good else "",
        }
        self.saved = save(self.folder, taken, self.learner, state)


def states_of(observers: Mapping[str, Observer]) -> dict[str, dict[str, Any]]:
    """The state of each observer that has one, by name.

    Raises:
        PluginError: One cannot be written as JSON.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, observer in observers.items():
        state: Any = observer.state()
        if state is None:
            continue
        try:
            json.dumps(state)
            fault = "" if isinstance(state, dict) else "it is no dictionary"
        except (TypeError, ValueError) as error:
            fault = first_line(error)
        if fault:
            raise PluginError(
                f"the observer {name} has the state {shown(state)}, which a checkpoint cannot "
                f"keep: {fault}; let state() return a dictionary of JSON values"
            )
        if state:
            found[name] = state
    return found


def done_in(state: Mapping[str, Any]) -> str:
    """Why training was complete with a checkpoint before its last step; empty if it was not.

    >>> done_in({"done": "nothing is left to learn"}), done_in({"observers": {}})
    ('nothing is left to learn', '')
    """
    of_sentinel = states_in(state).get("sentinel", {}).get("reason", "")
    return str(state.get("done") or of_sentinel)  # earlier versions saved the sentinel's alone


def states_in(state: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The saved state of each observer, by name.

    >>> states_in({"step": 2, "skipped": 1, "in_a_row": 0})
    {'log': {'skipped': 1}, 'broken': {'in_a_row': 0}}
    """
    older = {name: {k: state[k] for k in keys if k in state} for name, keys in OLDER.items()}
    found: dict[str, dict[str, Any]] = state.get("observers", older)
    return found
