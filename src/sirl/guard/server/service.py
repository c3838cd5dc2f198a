"""State shared by the routes."""

import time
from dataclasses import dataclass, field

from sirl.guard.server.alarms import AlarmLog
from sirl.guard.server.gate import Gate
from sirl.guard.server.keys import Keys
from sirl.guard.server.metrics import Metrics
from sirl.guard.server.policy import Limits, Policy
from sirl.guard.server.source import Source
from sirl.guard.session import SessionRisk

__all__ = ["Service"]


@dataclass(frozen=True)
class Service:
    """A source of answers, and how it is served."""

    source: Source
    policy: Policy
    limits: Limits
    gate: Gate
    metrics: Metrics
    keys: Keys = field(default_factory=Keys)
    alarms: AlarmLog | None = None
    risk: SessionRisk | None = None
    created: int = field(default_factory=lambda: int(time.time()))

    @classmethod
    def of(
        cls,
        source: Source,
        policy: Policy,
        limits: Limits,
        keys: Keys | None = None,
        alarms: AlarmLog | None = None,
        risk: SessionRisk | None = None,
    ) -> "Service":
        """A service with its own gate and metrics."""
        gate = Gate(limits.streams, limits.queue, limits.seconds)
        metrics = Metrics(gate, policy)
        return cls(source, policy, limits, gate, metrics, keys or Keys(), alarms, risk)
