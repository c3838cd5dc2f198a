"""Admits requests: limits concurrent and waiting answers, and admits none while draining."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sirl.guard.server.faults import ApiError, busy
from sirl.text import many

__all__ = ["Gate"]

SOON = 1.0
"""Seconds after which a client that found the queue full may try again."""


class Gate:
    """Counts answers; requests wait in the order in which they came."""

    def __init__(self, streams: int, queue: int, seconds: float) -> None:
        self.streams = streams
        self.queue = queue
        self.seconds = seconds
        self.active = 0
        """Answers that are being made."""
        self.waiting = 0
        """Answers that wait."""
        self.draining = False
        self._line: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._clocks: set[asyncio.Timeout] = set()

    @asynccontextmanager
    async def admitted(self, answers: int) -> AsyncIterator[None]:
        """Room for so many answers of one request, for a limited time.

        Raises:
            ApiError: The queue is full, the server is draining, or the time is over.
        """
        if self.draining:
            raise self.closing()
        try:
            async with asyncio.timeout(self.seconds) as clock:
                self._clocks.add(clock)
                try:
                    await self._enter(answers)
                    try:
                        yield
                    finally:
                        self.active -= answers
                        self._wake()
                finally:
                    self._clocks.discard(clock)
        except TimeoutError as error:
            if not clock.expired():
                raise
            raise (
                self.closing()
                if self.draining
                else ApiError(
                    503, f"the request took longer than {self.seconds:g} seconds", code="timeout"
                )
            ) from error

    def closing(self) -> ApiError:
        """The error of a server that stops."""
        return ApiError(
            503, "the server is shutting down", code="draining", headers={"Retry-After": "5"}
        )

    def drain(self) -> None:
        """Admit nothing more."""
        self.draining = True

    def cut(self) -> None:
        """End what still runs, with an error."""
        now = asyncio.get_running_loop().time()
        for clock in self._clocks:
            if not clock.expired():  # one whose time is over ends anyway
                clock.reschedule(now)

    async def _enter(self, answers: int) -> None:
        if not self._line and self.active + answers <= self.streams:
            self.active += answers
            return
        if self.waiting + answers > self.queue:
            raise busy(
                f"{many(self.active, 'answer is', 'answers are')} being made and "
                f"{self.waiting} wait: try again later",
                "overloaded",
                SOON,
            )
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append((answers, turn))
        self.waiting += answers
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it was let in at the same moment
                self.active -= answers
            elif (answers, turn) in self._line:  # else it was passed over
                self._line.remove((answers, turn))
                self.waiting -= answers
            self._wake()
            raise

    def _wake(self) -> None:
        """Let in those at the head of the line while they fit; pass over those that have left."""
        while self._line:
            answers, turn = self._line[0]
            if not turn.cancelled():
                if self.active + answers > self.streams:
                    break
                self.active += answers
                turn.set_result(None)
            self._line.popleft()
            self.waiting -= answers
