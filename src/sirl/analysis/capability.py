"""Capability: what the model can still do, per benchmark."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sirl.stats import rate
from sirl.types import Record

__all__ = ["summarise_capability", "unfinished"]

UNFINISHED = ("timed out", "out of memory", "stopped")
"""Kinds of reasons with which a task counts as unsolved, although no test said that it is wrong."""


def summarise_capability(records: Sequence[Record]) -> dict[str, Any]:
    """Share of tasks solved, per benchmark."""
    solved: dict[str, list[bool]] = {}
    for record in records:
        if record.kind == "capability":
            solved.setdefault(record.judge, []).append(record.score == 1.0)
    return {name: asdict(rate(sum(done), len(done))) for name, done in solved.items()}


def unfinished(records: Sequence[Record]) -> dict[str, Any]:
    """How many tasks were not tested to their end, of how many, and why; empty where all were.

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
        "sentence": f"of {len(tasks)} answers to tasks {listed}: they count as unsolved",
    }
