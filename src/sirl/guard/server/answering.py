"""Runs an order: opens its answers, sends them as a stream or complete, and counts them."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sirl.guard.server.faults import ApiError, error_of
from sirl.guard.server.orders import Order
from sirl.guard.server.outbox import Part
from sirl.guard.server.replies import Writer
from sirl.guard.server.service import Service
from sirl.guard.server.source import SourceError
from sirl.guard.server.throttle import account
from sirl.guard.server.watching import WatchedAnswer

__all__ = ["ClientGoneError", "EventStream", "answers_to", "stream", "while_connected", "whole"]

LOG = logging.getLogger("sirl.guard")
DONE = b"data: [DONE]\n\n"
COMMENT = b": held\n\n"
"""Keeps the connection open in proxies that close silent ones; clients ignore it."""
QUIET = 10.0
"""Seconds of silence before a comment."""
SLOW = 5.0
"""Seconds for a client to read the end of a stream; then the connection is closed."""


class ClientGoneError(Exception):
    """The client has closed the connection."""


@asynccontextmanager
async def while_connected(receive: Receive) -> AsyncIterator[None]:
    """Cancel a block as soon as the client has disconnected.

    Raises:
        ClientGoneError: It is gone.
    """
    task = asyncio.current_task()
    left = False

    async def listen() -> None:
        nonlocal left
        while (await receive())["type"] != "http.disconnect":
            pass
        left = True
        if task:
            task.cancel()

    listener = asyncio.create_task(listen())
    try:
        yield
        if left:  # at the last moment: take the cancellation here
            await asyncio.sleep(0)
    except asyncio.CancelledError:
        if not left or task is None:
            raise
        task.uncancel()
        raise ClientGoneError from None
    finally:
        listener.cancel()


@asynccontextmanager
async def answers_to(
    service: Service, order: Order, caller: str
) -> AsyncIterator[list[WatchedAnswer]]:
    """The answers of an order, with room to make them; closed and accounted for at the end.

    Raises:
        ApiError: There is no room.
        AskError: The source does not take the request.
    """
    answers: list[WatchedAnswer] = []
    opened = False
    try:
        async with service.gate.admitted(len(order.asks)):
            try:
                for ask in order.asks:
                    answer = await service.source.open(ask)
                    answers.append(WatchedAnswer(answer, service.policy, order.stops))
                    check_prompt(answer.prompt_tokens, service.limits.prompt_tokens)
                opened = True
                yield answers
            finally:
                await asyncio.shield(closed(answers))
    finally:  # an alarm may be scored again: that holds up no other answer
        await asyncio.shield(account(service, order, caller, answers if opened else ()))


def check_prompt(tokens: int, most: int | None) -> None:
    """Reject a prompt of too many tokens."""
    if most is not None and tokens > most:
        raise ApiError(
            400,
            f"the prompt has {tokens} tokens, more than {most}",
            param="messages",
            code="context_length_exceeded",
        )


async def closed(answers: Sequence[WatchedAnswer]) -> None:
    """Close answers that are not closed yet."""
    for answer in answers:
        try:
            await answer.close()
        except Exception:
            LOG.exception("an answer could not be closed")


async def whole(service: Service, order: Order, caller: str) -> dict[str, Any]:
    """The response with all answers."""
    async with answers_to(service, order, caller) as answers:
        parts: list[list[Part]] = [[] for _ in answers]
        async with aclosing(merged(answers)) as found:
            async for index, part in found:
                parts[index].append(part)
        return Writer(order, service.policy).response(answers, parts)


async def stream(
    service: Service, order: Order, answers: Sequence[WatchedAnswer]
) -> AsyncGenerator[dict[str, Any]]:
    """The chunks of a stream."""
    writer = Writer(order, service.policy)
    latest: dict[int, float] = {}
    for index in range(len(answers)):
        yield writer.first(index)
    async with aclosing(merged(answers)) as found:
        async for index, part in found:
            if part.text:
                now = time.perf_counter()
                if index in latest:
                    service.metrics.between.observe(now - latest[index])
                elif not latest:
                    service.metrics.first.observe(now - order.received)
                latest[index] = now
            if chunk := writer.part(index, part):
                yield chunk
            if part.last:
                yield writer.last(index, answers[index])
    if order.usage:
        yield writer.usage_chunk(answers)


async def merged(answers: Sequence[WatchedAnswer]) -> AsyncGenerator[tuple[int, Part]]:
    """The parts of several answers as they come, each with the number of its answer."""
    arrived: asyncio.Queue[tuple[int, Part] | Exception] = asyncio.Queue()

    async def run(index: int) -> None:
        try:
            async with aclosing(answers[index].parts()) as parts:
                async for part in parts:
                    await arrived.put((index, part))
            await closed([answers[index]])  # one that was cut need not wait for the others
            await arrived.put((index, Part("", last=True)))
        except Exception as error:
            await arrived.put(error)

    tasks = [asyncio.create_task(run(index)) for index in range(len(answers))]
    running = len(tasks)
    try:
        while running:
            found = await arrived.get()
            if isinstance(found, Exception):
                raise found
            running -= found[1].last
            yield found
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def with_pauses(
    chunks: AsyncGenerator[dict[str, Any]], quiet: float
) -> AsyncGenerator[dict[str, Any] | None]:
    """The chunks, and None whenever no chunk has arrived for that many seconds."""
    arrived: asyncio.Queue[dict[str, Any] | Exception | None] = asyncio.Queue(1)

    async def run() -> None:
        try:
            async with aclosing(chunks):
                async for chunk in chunks:
                    await arrived.put(chunk)
            await arrived.put(None)
        except Exception as error:
            await arrived.put(error)

    task = asyncio.create_task(run())
    try:
        while True:
            try:
                async with asyncio.timeout(quiet):
                    found = await arrived.get()
            except TimeoutError:
                yield None
                continue
            if isinstance(found, Exception):
                raise found
            if found is None:
                return
            yield found
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class EventStream(Response):
    """Server-sent events; errors are sent in the stream, and [DONE] always ends it.

    Args:
        stack: Holds the answers; closed when the stream ends, however it ends.
        chunks: The documents to send.
        failed: Called with the status of an error sent in the stream.
        quiet: Seconds without a document after which a comment is sent.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        stack: AsyncExitStack,
        chunks: AsyncGenerator[dict[str, Any]],
        failed: Callable[[int], None],
        quiet: float = QUIET,
    ) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self.stack = stack
        self.chunks = chunks
        self.failed = failed
        self.quiet = quiet

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Send the stream until it ends or the client disconnects."""
        try:
            async with while_connected(receive):
                await self.sent(send)
        except ClientGoneError:
            return
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(SLOW):
                await send({"type": "http.response.body", "body": DONE, "more_body": False})

    async def sent(self, send: Send) -> None:
        """Send everything but the end."""

        async def event(document: dict[str, Any] | None) -> None:
            data = COMMENT
            if document is not None:
                data = b"data: " + json.dumps(document, separators=(",", ":")).encode() + b"\n\n"
            await send({"type": "http.response.body", "body": data, "more_body": True})

        try:
            async with self.stack, aclosing(with_pauses(self.chunks, self.quiet)) as chunks:
                await send(
                    {
                        "type": "http.response.start",
                        "status": 200,
                        "headers": self.raw_headers,
                    }
                )
                async for chunk in chunks:
                    await event(chunk)
        except Exception as error:
            shown = error_of(error)
            if isinstance(error, SourceError):
                LOG.error("a stream failed: %s", error)  # noqa: TRY400 - a fault to be expected
            elif not isinstance(error, ApiError):
                LOG.exception("a stream failed")
            self.failed(shown.status)
            with suppress(TimeoutError):
                async with asyncio.timeout(SLOW):
                    await event(shown.document())
