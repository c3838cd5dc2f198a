"""Risk of a conversation or a key: alarms that fade with time, and when to throttle.

Pure arithmetic: the caller passes the time. Risk halves every `half_life` seconds, so a single
alarm never locks anyone out for good.
"""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["Risk", "SessionRisk"]


class Risk(NamedTuple):
    """Risk at a time."""

    amount: float
    at: float


@dataclass
class SessionRisk:
    """Keeps the risk of many names.

    >>> risk = SessionRisk(limit=2.0, half_life=60.0)
    >>> for _ in range(3):
    ...     risk.add("a", 1.0, now=0.0)
    >>> round(risk.of("a", now=60.0), 3), round(risk.wait("a", now=0.0), 1), risk.wait("b", 0.0)
    (1.5, 35.1, 0.0)
    """

    limit: float
    """Risk above which a name is throttled."""
    half_life: float
    """Seconds in which risk halves."""
    most: int = 10_000
    """Names that are kept; beyond, another one with the least risk is forgotten. Also events."""
    _known: dict[str, Risk] = field(default_factory=dict)
    _events: dict[str, None] = field(default_factory=dict)

    def add(self, name: str, amount: float, now: float) -> None:
        """Add risk to a name."""
        self._known[name] = Risk(self.of(name, now) + amount, now)
        if len(self._known) > self.most:
            others = (n for n in self._known if n != name)
            del self._known[min(others, key=lambda n: self.of(n, now))]

    def remember(self, event: str) -> None:
        """Remember that something was counted; beyond `most`, the oldest is forgotten."""
        self._events[event] = None
        if len(self._events) > self.most:
            del self._events[next(iter(self._events))]

    def remembers(self, event: str) -> bool:
        """Whether something was counted."""
        return event in self._events

    def of(self, name: str, now: float) -> float:
        """The risk of a name, decayed."""
        found = self._known.get(name)
        if found is None:
            return 0.0
        return found.amount * math.exp2(-max(0.0, now - found.at) / self.half_life)

    def wait(self, name: str, now: float) -> float:
        """Seconds until the risk of a name is no longer above the limit."""
        risk = self.of(name, now)
        return self.half_life * math.log2(risk / self.limit) if risk > self.limit else 0.0
