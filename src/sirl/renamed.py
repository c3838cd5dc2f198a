"""Former names of settings: older run folders still open, and an old name suggests the new one."""

from collections.abc import Mapping
from typing import Any

__all__ = ["SETTINGS", "current_settings"]

SETTINGS: Mapping[str, str] = {
    "rows": "sampling_batch_size",
}
"""The present name of each setting that was renamed, by its former one."""


def current_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a run folder of any version under their present names.

    >>> current_settings({"rows": 8, "seed": 1})
    {'sampling_batch_size': 8, 'seed': 1}
    """
    return {SETTINGS.get(name, name): value for name, value in settings.items()}
