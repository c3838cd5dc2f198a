"""The next command, chosen by the results of an evaluation."""

from collections.abc import Mapping
from shlex import quote
from typing import Any

from sirl import registry
from sirl.config import EvaluationSettings
from sirl.models.folder import is_hardened

__all__ = ["hints"]


def hints(config: EvaluationSettings, figures: Mapping[str, Any]) -> list[str]:
    """The next command; empty if a judge is in doubt or training would not help.

    Suggests training if the model's refusals have lower entropy than its compliance and sirl has
    not trained it yet.
    """
    if figures.get("doubts"):
        return []
    if is_hardened(config.model):
        return [
            f"next: sirl compare BEFORE {quote(config.out)}, where BEFORE is the same evaluation "
            "of the model before training"
        ]
    if registry.is_remote(config.model):
        return []
    found = figures.get("entropy", {}).get("finding")
    model = f"--model {quote(config.model)}"
    if found == "instinct":
        prompts = "" if config.model == registry.EMBEDDED else " --prompts FILE"
        return [f"next: sirl train {model}{prompts} --out DIR"]
    if found in ("too few", "undecided"):
        file = "" if config.model == registry.EMBEDDED else " --behaviours FILE"
        more = "requests in disguises" if not file else "more requests, and these in disguises"
        return [f"next: sirl probe {model}{file} --attacks quick --out DIR, with {more}"]
    return []
