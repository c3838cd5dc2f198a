"""What to do next, where the figures of a measurement say so."""

from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any

from sirl import registry
from sirl.config import EvaluateConfig

__all__ = ["hints"]

MANIFEST = "manifest.json"
"""Of a checkpoint that training wrote."""


def hints(config: EvaluateConfig, figures: Mapping[str, Any]) -> list[str]:
    """The next command; none where figures are in doubt, or there is nothing to gain.

    Training is named where the model's own entropy tells its refusals, and the model can be
    trained and has not been.
    """
    if figures.get("doubts"):
        return []
    if (Path(config.model) / MANIFEST).is_file():
        return [
            f"next: sirl compare BEFORE {quote(config.out)}, BEFORE being the same evaluation of "
            "the model before training"
        ]
    if registry.is_remote(config.model):
        return []
    found = figures.get("entropy", {}).get("finding")
    model = f"--model {quote(config.model)}"
    if found == "instinct":
        prompts = "" if config.model == registry.EMBEDDED else " --prompts FILE"
        return [f"next: sirl train {model}{prompts} --out DIR"]
    if found in ("too few", "undecided"):
        return [f"next: sirl probe {model} --behaviours FILE --out DIR, with more requests"]
    return []
