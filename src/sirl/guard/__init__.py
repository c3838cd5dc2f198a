"""Watches answers while they stream: what is checked, when, and when an alarm is raised.

In a notebook:

    guard = sirl.guard.calibrate("CHECKPOINT", prompts="prompts.csv")
    sirl.guard.evaluate("CHECKPOINT", guard, behaviours="unsafe.csv")

Both functions are imported when they are first used.
"""

from importlib import import_module
from typing import Any

__all__ = ["calibrate", "evaluate"]  # noqa: F822 - imported on first use

FUNCTIONS = ("calibrate", "evaluate")
"""Imported on first use; their types are in `__init__.pyi`."""


def __getattr__(name: str) -> Any:  # noqa: ANN401 - any of the functions
    if name in FUNCTIONS:
        return getattr(import_module("sirl.workflows.guard.notebook"), name)
    raise AttributeError(f"module 'sirl.guard' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(FUNCTIONS)
