"""Former names of settings and logs.

Run folders of earlier versions still open, and a former setting in a command suggests its present
name.
"""

from collections.abc import Mapping
from typing import Any

__all__ = ["LOGS", "SETTINGS", "current_settings"]

SETTINGS: Mapping[str, str] = {
    "checkup_every": "eval_every",
    "rows": "sampling_batch_size",
}
"""The present name of each setting that was renamed, by its former one."""
LOGS: Mapping[str, str] = {"mini_evals.jsonl": "checkups.jsonl"}
"""The former name of each log of a run folder that was renamed, by its present one."""


def current_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a run folder of any version under their present names.

    >>> current_settings({"rows": 8, "seed": 1})
    {'sampling_batch_size': 8, 'seed': 1}
    """
    return {SETTINGS.get(name, name): value for name, value in settings.items()}
