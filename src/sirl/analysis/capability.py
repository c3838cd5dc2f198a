"""Capability: share of benchmark tasks solved."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sirl.evaluation.asked import UNCHECKED
from sirl.stats import rate
from sirl.text import many
from sirl.types import Record

__all__ = ["summarise_capability", "unfinished"]

UNFINISHED = ("timed out", "out of memory", "stopped")
"""Reasons for which a task counts as unsolved although its tests did not run to the end."""


def summarise_capability(records: Sequence[Record]) -> dict[str, Any]:
    """Share of tasks solved, per benchmark, and how many answers could not be checked."""
    tasks: dict[str, list[Record]] = {}
    for record in records:
        if record.kind == "capability":
            tasks.setdefault(record.benchmark, []).append(record)
    return {
        name: {
            **asdict(rate(sum(r.score == 1.0 for r in asked), len(asked))),
            "unchecked": sum(r.reason.startswith(UNCHECKED) for r in asked),
        }
        for name, asked in tasks.items()
    }


def unfinished(records: Sequence[Record]) -> dict[str, Any]:
    """Number of tasks whose tests did not run to the end, by reason; empty if all did.

    >>> unfinished([])
    {}
    """
    tasks = [r for r in records if r.kind == "capability"]
    kinds = Counter(r.reason.partition(":")[0] for r in tasks if r.score != 1.0 and not r.fault)
    found = {kind: kinds[kind] for kind in UNFINISHED if kinds[kind]}
    if not found:
        return {}
    listed = ", ".join(f"{n} {kind}" for kind, n in found.items())
    return {
        "n": sum(found.values()),
        "tasks": len(tasks),
        "kinds": found,
        "sentence": f"of {many(len(tasks), 'answer')} to tasks {listed}: they count as unsolved",
    }
