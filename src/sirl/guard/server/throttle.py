"""Throttles callers by session risk, and logs alarms."""

import logging
import time
from collections.abc import Sequence

from sirl.errors import RunError
from sirl.guard.server.alarms import prompt_hash
from sirl.guard.server.faults import busy
from sirl.guard.server.metrics import VERDICT
from sirl.guard.server.orders import Order
from sirl.guard.server.service import Service
from sirl.guard.server.source import Scored
from sirl.guard.server.watching import APART, Finding, WatchedAnswer
from sirl.guard.turns import before_last_turn, last_turn
from sirl.types import Message

__all__ = ["Asker", "account", "account_verdict", "check_risk"]

Asker = tuple[str, str | None]
"""The name of a key, and the user that it asks for."""
LOG = logging.getLogger("sirl.guard")
KEY_FACTOR = 10.0
"""A key serves many users: it is throttled at so many times the limit of a conversation."""


def names(caller: str, user: str | None) -> tuple[tuple[str, float], ...]:
    """The names whose risk counts, each with the weight of an alarm: a conversation and its key.

    All requests of a key without `user` are one conversation.
    """
    conversation = "no user" if user is None else f"user/{user}"
    return ((f"{caller}/{conversation}", 1.0), (caller, 1.0 / KEY_FACTOR))


def check_risk(service: Service, asker: Asker) -> None:
    """Reject a request of a caller whose risk is above the limit.

    Raises:
        ApiError: 429, with the seconds until the risk has faded.
    """
    if service.risk is None:
        return
    wait = max(service.risk.wait(name, time.monotonic()) for name, _ in names(*asker))
    if wait > 0:
        service.metrics.throttled.inc()
        raise busy("too many alarms of the guard in a short time", "session_risk", wait)


async def account(
    service: Service, order: Order, caller: str, answers: Sequence[WatchedAnswer]
) -> None:
    """Count answers; add alarms to the risk of their caller, and log them and failed checks."""
    for watched in answers:
        found = watched.finding
        service.metrics.found(watched)
        if found.flagged or found.fault is not None:
            log(service, order.id, caller, order.messages, watched.text, found)
    places = [own.finding.position for own in answers if own.finding.flagged]
    of_prompt = places.count(0)
    sent = [kept(own) for own in answers]
    await add_risk(
        service, (caller, order.user), order.messages, of_prompt, len(places) - of_prompt, sent
    )


async def account_verdict(
    service: Service, id: str, asker: Asker, messages: tuple[Message, ...], scored: Scored
) -> bool:
    """Count the score of a conversation that another model leads; whether it is an alarm."""
    flagged = service.policy.rule is not None and scored.score > service.policy.rule.threshold
    service.metrics.judged(scored, flagged=flagged)
    if not flagged:
        return False
    answered = messages[-1].role == "assistant"
    asked, text = (messages[:-1], messages[-1].content) if answered else (messages, "")
    place = None if answered else 0  # of an answer only the highest score is known
    found = Finding(flagged=True, action="flag", position=place, score=scored.score)
    log(service, id, asker[0], asked, text, found, mode=VERDICT)
    await add_risk(service, asker, asked, int(not answered), int(answered))
    return True


async def add_risk(
    service: Service, asker: Asker, messages: tuple[Message, ...], of_prompt: int, in_answers: int,
    sent: Sequence[str] = (),
) -> None:  # fmt: skip
    """Add alarms to the risk of who asked: those of the prompt, unless counted, and in answers.

    A conversation with an alarm is remembered with the answers that were sent, so that one with
    another answer, which the client has made up, is not taken for it.
    """
    risk, own, alarms = service.risk, names(*asker), in_answers
    if risk is None:
        return
    goes_on = risk.remembers(event(own[0][0], before_last_turn(messages)))
    if of_prompt and not (goes_on and await is_harmless(service, last_turn(messages))):
        alarms += of_prompt
    for text in sent if of_prompt or goes_on else ():
        risk.remember(event(own[0][0], (*messages, Message("assistant", text))))
    for name, weight in own if alarms else ():
        risk.add(name, weight * alarms, time.monotonic())


def kept(watched: WatchedAnswer) -> str:
    """An answer as its client keeps it: without what is retracted, with the refusal."""
    found = watched.finding
    text = watched.text[: found.retract_from]
    if found.action != "refuse":
        return text
    return text + (APART if text else "") + watched.policy.refusal


async def is_harmless(service: Service, last: tuple[Message, ...]) -> bool:
    """Whether the last turn of a prompt raises no alarm by itself, and can be scored."""
    rule = service.policy.rule
    try:
        return rule is not None and (
            (await service.source.judge(last, service.limits)).score <= rule.threshold
        )
    except Exception:
        LOG.exception("the last turn of a prompt could not be scored: its alarm counts")
        return False


def event(name: str, messages: Sequence[Message]) -> str:
    """A conversation, as it is remembered; clients trim what was said."""
    trimmed = [Message(m.role, m.content.strip()) for m in messages]
    return f"{name}/{prompt_hash(trimmed)}"


def log(
    service: Service, id: str, caller: str, messages: tuple[Message, ...], text: str,
    found: Finding, mode: str | None = None,
) -> None:  # fmt: skip
    """Log an alarm or a failed check.

    A log that cannot be written changes no answer: the server's own log and a metric say so.
    """
    if service.alarms is None:
        return
    try:
        service.alarms.note(id, caller, messages, text, found, service.policy, mode)
    except RunError as error:
        LOG.error("the alarm of %s was not logged: %s", id, error)  # noqa: TRY400 - a full disk
        service.metrics.unlogged.inc()
