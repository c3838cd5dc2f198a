"""Throttles callers by session risk, and logs alarms."""

import logging
import time

from sirl.errors import RunError
from sirl.guard.server.faults import busy
from sirl.guard.server.orders import Order
from sirl.guard.server.service import Service
from sirl.guard.server.watching import WatchedAnswer

__all__ = ["account", "check_risk"]

LOG = logging.getLogger("sirl.guard")
KEY_FACTOR = 10.0
"""A key serves many users: it is throttled at so many times the limit of a conversation."""


def names(caller: str, user: str | None) -> tuple[tuple[str, float], ...]:
    """The names whose risk counts, each with the weight of an alarm: a conversation and its key.

    All requests of a key without `user` are one conversation.
    """
    conversation = "no user" if user is None else f"user/{user}"
    return ((f"{caller}/{conversation}", 1.0), (caller, 1.0 / KEY_FACTOR))


def check_risk(service: Service, caller: str, user: str | None) -> None:
    """Reject a request of a caller whose risk is above the limit.

    Raises:
        ApiError: 429, with the seconds until the risk has faded.
    """
    if service.risk is None:
        return
    wait = max(service.risk.wait(name, time.monotonic()) for name, _ in names(caller, user))
    if wait > 0:
        service.metrics.throttled.inc()
        raise busy("too many alarms of the guard in a short time", "session_risk", wait)


def account(service: Service, order: Order, caller: str, watched: WatchedAnswer) -> None:
    """Count an answer; add an alarm to the risk of its caller, and log it or a failed check.

    A log that cannot be written changes no answer: the server's own log and a metric say so.
    """
    found = watched.finding
    service.metrics.found(watched)
    if not found.flagged and found.fault is None:
        return
    if service.risk and found.flagged:
        for name, weight in names(caller, order.user):
            service.risk.add(name, weight, time.monotonic())
    if service.alarms:
        try:
            service.alarms.note(
                order.id, caller, order.messages, watched.text, found, service.policy
            )
        except RunError as error:
            LOG.error("the alarm of %s was not logged: %s", order.id, error)  # noqa: TRY400 - a full disk
            service.metrics.unlogged.inc()
