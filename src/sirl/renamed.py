"""Former names of settings, logs, figures and states of judges.

Run folders of earlier versions still open, and a former setting in a command suggests its present
name.
"""

from collections.abc import Mapping
from typing import Any

__all__ = [
    "FIGURES",
    "JUDGES",
    "LOGS",
    "SETTINGS",
    "current_identity",
    "current_settings",
    "current_summary",
]

SETTINGS: Mapping[str, str] = {
    "checkup_every": "eval_every",
    "rows": "sampling_batch_size",
}
"""The present name of each setting that was renamed, by its former one."""
LOGS: Mapping[str, str] = {"mini_evals.jsonl": "checkups.jsonl"}
"""The former name of each log of a run folder that was renamed, by its present one."""
FIGURES: Mapping[str, str] = {"opinions": "second_judges"}
"""The present name of each figure of a model in `summary.json` that was renamed."""
JUDGES: Mapping[str, str] = {
    "rules dda64593c4505d2354ee1803aea0ffb147efdb273d9c35c6646162a5534aedf4": (
        "rules 1 7784dd8c50354ac0af2c63f8894edf59cd2ecf3e38e91dc123e4d3f398f952a2"
    ),
}
"""The present identity of each state of a judge that had another one: the identity of the rules
was a hash of their source files, so that a comment changed it. States that are not listed had
other rules, whose verdicts differ."""


def current_identity(identity: str) -> str:
    """The identity of a judge, or of several, as it is written today.

    >>> current_identity("rules 1 abc"), len(current_identity(min(JUDGES)))
    ('rules 1 abc', 72)
    """
    for former, present in JUDGES.items():
        identity = identity.replace(former, present)
    return identity


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
