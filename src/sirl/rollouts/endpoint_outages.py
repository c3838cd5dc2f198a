"""Tells requests that fail alone from an outage of the endpoint, within one call of an engine."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from sirl.rollouts.arrivals import Contact, Lost, Streak
from sirl.rollouts.endpoint_reply import Answer
from sirl.rollouts.endpoint_wire import Body

__all__ = ["Asking", "Request", "Watch"]

Request = tuple[str, Body]
"""Its name in error messages, and the request body."""
Asking = Callable[[Request], Awaitable[Answer | Lost]]
"""Sends a request until it is answered or fails permanently."""


@dataclass
class Watch:
    """Sends the requests of one call and watches for an outage."""

    greeting: Request
    contact: Contact[Request]
    streak: Streak
    left: int
    """Requests that have no result yet."""
    unsure: Lost | None = None
    """A failure since which no greeting has been sent, as others were answered meanwhile."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """One request at a time is checked, so that failures at the same time need one greeting."""

    async def result(self, ask: Asking, request: Request) -> Answer | Lost | None:
        """The answer or loss of a request; None if it was not sent, because of an outage."""
        if self.streak.outage:
            return None
        answers = self.contact.answers
        found = await ask(request)
        if isinstance(found, Lost) and found.about in ("request", "server"):
            async with self.lock:
                found = await self.checked(ask, request, found, answers)
        if works(found):
            self.contact.note(request)
        self.streak.note(found)
        self.left -= 1
        if not self.left and self.unsure and not self.streak.outage:
            last = await self.greeted(ask, self.unsure)
            if last.about == "endpoint":
                self.streak.note(last)
        return found

    async def checked(
        self, ask: Asking, request: Request, lost: Lost, answers: int
    ) -> Answer | Lost:
        """A loss with its scope; `answers` is the number of answers when it was sent.

        If the endpoint answers others although it asked for a long pause, the request is sent once
        more.
        """
        if self.streak.outage:
            return replace(lost, about="endpoint")
        told, others = lost, self.contact.answers > answers
        if not others:
            told = await self.greeted(ask, lost)
            others = told.about == "silence" and self.contact.answers > answers
        if others:
            self.unsure = self.unsure or lost
        else:
            lost = told
        alive = lost.about in ("request", "server")
        return await ask(request) if lost.paused and alive else lost

    async def greeted(self, ask: Asking, lost: Lost) -> Lost:
        """A loss with its scope, which a greeting tells, or the request answered last."""
        if works(await ask(self.greeting)):
            self.unsure = None
            self.contact.note(self.greeting)
            self.contact.greeted = True
            return lost
        last = self.contact.proof()
        return self.contact.ungreeted(lost, again=last is not None and works(await ask(last)))


def works(found: Answer | Lost) -> bool:
    """Whether a result shows that the endpoint works."""
    return isinstance(found, Answer) or found.about == "prompt"
