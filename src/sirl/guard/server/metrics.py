"""Prometheus metrics of one server; labels contain neither text nor keys."""

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from sirl.guard.server.gate import Gate
from sirl.guard.server.policy import Policy
from sirl.guard.server.source import Scored
from sirl.guard.server.watching import WatchedAnswer

__all__ = ["VERDICT", "Metrics"]

VERDICT = "verdict"
"""The mode of what is only judged: moderations and guardrails of other programs."""

TOKENS = (0, 8, 16, 32, 64, 128, 256, 512, 1024, float("inf"))
SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, float("inf"))
SCORES = (-20, -10, -5, -2, 0, 2, 5, 10, 20, float("inf"))


class Metrics:
    """What is counted."""

    def __init__(self, gate: Gate, policy: Policy) -> None:
        self.registry = CollectorRegistry()
        own: dict[str, Any] = {"registry": self.registry, "namespace": "sirl"}
        self.requests = Counter("requests_total", "Requests", ["route", "code"], **own)
        self.broken = Counter(
            "stream_errors_total", "Errors inside streams", ["route", "code"], **own
        )
        self.decisions = Counter(
            "guard_decisions_total", "Answers by what the guard did", ["mode", "action"], **own
        )
        self.faults = Counter("guard_faults_total", "Checks that failed", ["policy"], **own)
        self.score = Histogram("guard_score", "Highest score of an answer", buckets=SCORES, **own)
        self.alarm = Histogram(
            "alarm_token_position", "Tokens judged when an alarm was raised", buckets=TOKENS, **own
        )
        self.first = Histogram(
            "ttft_seconds", "Time from the request to its first text", buckets=SECONDS, **own
        )
        self.between = Histogram(
            "inter_part_seconds", "Time between two parts of one answer", buckets=SECONDS, **own
        )
        self.checking = Histogram(
            "guard_check_seconds", "Time that an answer waits for a check", buckets=SECONDS, **own
        )
        self.tokens = Counter("tokens_total", "Tokens generated", **own)
        self.throttled = Counter("throttled_total", "Requests refused by session risk", **own)
        self.unlogged = Counter(
            "alarm_log_errors_total", "Alarms that could not be written to alarms.jsonl", **own
        )
        self.partial = Counter(
            "guard_partial_verdicts_total",
            "Verdicts on the beginning of an answer alone, since it is longer than the guard reads",
            **own,
        )
        active = Gauge("active_streams", "Answers being made", **own)
        active.set_function(lambda: gate.active)
        waiting = Gauge("queue_depth", "Answers that wait", **own)
        waiting.set_function(lambda: gate.waiting)
        self.policy = policy
        self.show_zeros()

    def show_zeros(self) -> None:
        """Begin the series whose labels are known, so that a rate has a start."""
        if self.policy.rule is None:
            return
        for mode, action in ((self.policy.mode, self.policy.acts), (VERDICT, "flag")):
            for done in ("none", action):
                self.decisions.labels(mode, done)
        self.faults.labels(self.on_fault)

    @property
    def on_fault(self) -> str:
        """The policy in force when a check fails."""
        return "open" if self.policy.goes_on else "closed"

    def judged(self, found: Scored, *, flagged: bool) -> None:
        """Count a verdict."""
        self.partial.inc(found.partial)
        self.decisions.labels(VERDICT, "flag" if flagged else "none").inc()
        self.score.observe(found.score)

    def found(self, watched: WatchedAnswer) -> None:
        """Count an answer."""
        finding = watched.finding
        self.tokens.inc(watched.tokens)
        for seconds in watched.check_seconds:
            self.checking.observe(seconds)
        if self.policy.rule is None:
            return
        self.decisions.labels(self.policy.mode, finding.action).inc()
        if finding.fault is not None:
            self.faults.labels(self.on_fault).inc()
        if finding.score > float("-inf"):
            self.score.observe(finding.score)
        if finding.position is not None:
            self.alarm.observe(finding.position)

    def text(self) -> bytes:
        """Everything, in Prometheus' format."""
        return generate_latest(self.registry)
