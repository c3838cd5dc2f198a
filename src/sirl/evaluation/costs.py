"""Costs of an evaluation by role: calls, tokens and seconds of target, attacker and judge."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["COSTS", "Cost", "Meter", "total"]

COSTS = "costs.jsonl"


@dataclass
class Cost:
    """The costs of one role."""

    calls: int = 0
    tokens: int = 0
    """Tokens generated, if known."""
    seconds: float = 0.0


class Meter:
    """Accumulates costs by role."""

    def __init__(self) -> None:
        self.roles: dict[str, Cost] = {}

    @contextmanager
    def timing(self, role: str, calls: int) -> Iterator[Cost]:
        """Count calls and the time of a block."""
        cost = self.roles.setdefault(role, Cost())
        started = time.perf_counter()
        try:
            yield cost
        finally:
            cost.calls += calls
            cost.seconds += time.perf_counter() - started

    def count(self, role: str, calls: int) -> None:
        """Count calls whose time is measured elsewhere."""
        self.roles.setdefault(role, Cost()).calls += calls

    def row(self, what: str) -> dict[str, Any]:
        """A line of `costs.jsonl` with the costs since the last one; resets the meter."""
        spent = {role: asdict(cost) for role, cost in self.roles.items()}
        self.roles = {}
        return {"what": what, "roles": spent}


def total(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Calls, tokens and seconds by role over the lines of `costs.jsonl`."""
    roles: dict[str, dict[str, float]] = {}
    for row in rows:
        for role, cost in (row.get("roles") or {}).items():
            sums = roles.setdefault(role, dict.fromkeys(asdict(Cost()), 0.0))
            for quantity in sums:
                sums[quantity] = round(sums[quantity] + cost[quantity], 3)
    return roles
