"""Capability: what the model can still do, per benchmark."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sirl.evaluation.asked import UNCHECKED
from sirl.stats import rate
from sirl.types import Record

__all__ = ["summarise_capability"]


def summarise_capability(records: Sequence[Record]) -> dict[str, Any]:
    """Share of tasks solved, per benchmark, and how many answers could not be checked."""
    tasks: dict[str, list[Record]] = {}
    for record in records:
        if record.kind == "capability":
            tasks.setdefault(record.judge, []).append(record)
    return {
        name: {
            **asdict(rate(sum(r.score == 1.0 for r in asked), len(asked))),
            "unchecked": sum(r.reason.startswith(UNCHECKED) for r in asked),
        }
        for name, asked in tasks.items()
    }
