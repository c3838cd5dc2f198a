"""Stops training: on request, and after repeated non-finite steps."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sirl.errors import TrainingError
from sirl.roles import Control, Observer
from sirl.text import many

__all__ = ["StopOnRequest", "StopWhenBroken"]


class StopOnRequest(Observer):
    """Stops after a step, which is saved, when a stop is requested."""

    def __init__(self, asked: Callable[[], bool], steps: int) -> None:
        self.asked = asked
        self.steps = steps

    def on_step(self, taken: int, metrics: dict[str, float], control: Control) -> None:
        """Stop if requested."""
        del metrics
        if self.asked() and taken < self.steps:
            control.stop = f"stopped after step {taken} of {self.steps}, saved"


class StopWhenBroken(Observer):
    """Ends training after several steps in a row without a finite loss and gradient.

    Training of fewer steps, none of which was finite, ends with an error too.
    """

    def __init__(
        self, last_good: Callable[[], Path | None], patience: int = 3, steps: int | None = None
    ) -> None:
        self.last_good = last_good
        """The newest checkpoint after which a step was finite."""
        self.patience = patience
        self.steps = steps
        self.in_a_row = 0
        self.learned = False
        """Whether a step was finite."""

    def on_start(self, taken: int, state: Mapping[str, Any]) -> None:
        """Restore the count, and whether a step was finite."""
        self.in_a_row = int(state.get("in_a_row", 0))
        # Earlier versions did not save it; they saved hardly any checkpoint after broken steps.
        self.learned = bool(state.get("learned", taken > 0 and not self.in_a_row))

    def on_step(self, taken: int, metrics: dict[str, float], control: Control) -> None:
        """Count broken steps.

        Raises:
            TrainingError: There are too many in a row.
        """
        broken = int(metrics["update/skipped"])
        self.in_a_row = self.in_a_row + 1 if broken == metrics["update/steps"] else 0
        control.broken = bool(self.in_a_row)
        self.learned |= not control.broken
        is_vain = taken == self.steps and not self.learned and not self.last_good()
        if self.in_a_row >= self.patience or is_vain:
            raise TrainingError(self.sentence(taken))

    def state(self) -> dict[str, Any]:
        """The count, and whether a step was finite."""
        return {"in_a_row": self.in_a_row, "learned": self.learned}

    def sentence(self, taken: int) -> str:
        """How to recover from non-finite steps, as a sentence."""
        good = self.last_good()
        back = (
            f"go back to the last good checkpoint in a new run with --model {good}"
            if good
            else "there is no good checkpoint yet: start over"
        )
        return (
            f"{many(self.in_a_row, 'step')} in a row up to step {taken} had a loss or "
            f"gradient that is not finite; {back}, with a lower --learning-rate or float32"
        )
