"""Former names of settings, logs and figures.

Run folders of earlier versions still open, and a former setting in a command suggests its present
name.
"""

from collections.abc import Mapping
from typing import Any

__all__ = ["FIGURES", "LOGS", "SETTINGS", "current_settings", "current_summary"]

SETTINGS: Mapping[str, str] = {
    "checkup_every": "eval_every",
    "rows": "sampling_batch_size",
}
"""The present name of each setting that was renamed, by its former one."""
LOGS: Mapping[str, str] = {"mini_evals.jsonl": "checkups.jsonl"}
"""The former name of each log of a run folder that was renamed, by its present one."""
FIGURES: Mapping[str, str] = {"opinions": "second_judges"}
"""The present name of each figure of a model in `summary.json` that was renamed."""


def current_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a run folder of any version under their present names.

    >>> current_settings({"rows": 8, "seed": 1})
    {'sampling_batch_size': 8, 'seed': 1}

    Runs without a method are of the only one there was.

    >>> current_settings({"reward": "random"})
    {'method': 'entropy', 'reward': 'random'}
    """
    method = {"method": "entropy"} if "reward" in settings and "method" not in settings else {}
    return method | {SETTINGS.get(name, name): value for name, value in settings.items()}


def current_summary(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The `summary.json` of a run folder of any version with the present names of figures.

    >>> current_summary({"models": {"base": {"opinions": {}}}})
    {'models': {'base': {'second_judges': {}}}}
    """
    models = summary.get("models")
    if not isinstance(models, Mapping):
        return dict(summary)
    return {
        **summary,
        "models": {
            model: {FIGURES.get(name, name): value for name, value in figures.items()}
            if isinstance(figures, Mapping)
            else figures
            for model, figures in models.items()
        },
    }
