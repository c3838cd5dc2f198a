"""Capability: what the model can still do, per benchmark."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sirl.stats import rate
from sirl.types import Record

__all__ = ["summarise_capability"]


def summarise_capability(records: Sequence[Record]) -> dict[str, Any]:
    """Share of tasks solved, per benchmark."""
    solved: dict[str, list[bool]] = {}
    for record in records:
        if record.kind == "capability":
            solved.setdefault(record.judge, []).append(record.score == 1.0)
    return {name: asdict(rate(sum(done), len(done))) for name, done in solved.items()}
