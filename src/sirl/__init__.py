"""Hardens chat models against jailbreaks with their own confidence, and measures the effect.

The method is that of "Safety Instincts: LLMs Learn to Trust Their Internal Compass for
Self-Defense" (arXiv 2510.01088).

    import sirl

    before = sirl.evaluate("embedded", limit=20)
    hardened = sirl.train("embedded", steps=10).model
    after = sirl.evaluate(hardened, limit=20)
    sirl.compare(before, after)

`sirl.guard` has `calibrate` and `evaluate` for guards. Each function is imported when it is first
used.
"""

from importlib import import_module
from typing import Any

from sirl.errors import SirlError

__all__ = ["SirlError", "__version__", "compare", "evaluate", "guard", "load", "probe", "train"]

__version__ = "0.1.0"
FUNCTIONS = ("compare", "evaluate", "load", "probe", "train")
"""Imported on first use; their types are in `__init__.pyi`."""


def __getattr__(name: str) -> Any:  # noqa: ANN401 - any of the functions
    if name in FUNCTIONS:
        return getattr(import_module("sirl.workflows.notebook"), name)
    if name == "guard":
        return import_module("sirl.guard")
    raise AttributeError(f"module 'sirl' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
