"""Checks of every request before its route (host, keys, body size), and the handler of faults."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sirl.guard.server.faults import ApiError, error_of, responded
from sirl.guard.server.keys import LOOPBACK
from sirl.guard.server.pages import PAGES
from sirl.guard.server.service import Service

__all__ = ["Door"]

LOG = logging.getLogger("sirl.guard")
DROPPED = 64 << 20
"""Bytes of a refused body that are read, since a client that is cut off while it sends sees no
reply."""
TOO_SLOW = 408
OPEN = frozenset({"/healthz", *PAGES})
"""Paths that need no key: they hold no data."""


class Door:
    """The outermost part of the app.

    Args:
        app: The app.
        service: Whose keys and limits hold.
        route_of: The path template of a request, for metrics.
    """

    def __init__(self, app: ASGIApp, service: Service, route_of: Callable[[Scope], str]) -> None:
        self.app = app
        self.service = service
        self.route_of = route_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer it with an error."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status, bare = 0, scope["method"] == "HEAD"
        if bare:
            scope = {**scope, "method": "GET"}  # what GET answers, without its body
        body = Body(receive)

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send({**message, "body": b""} if bare and "body" in message else message)

        scope.setdefault("state", {})["failed"] = self.failing(scope)
        try:
            await self.enter(scope, body, noted)
        except Exception as error:
            if not isinstance(error, ApiError):
                LOG.exception("a request failed")
            shown = error_of(error)
            if not status:
                if scope["method"] == "POST" and shown.status != TOO_SLOW:
                    await body.drop(headers_of(scope), self.service.limits.seconds)
                await responded(shown)(scope, receive, noted)
        finally:
            self.service.metrics.requests.labels(self.route_of(scope), str(status)).inc()

    def failing(self, scope: Scope) -> Callable[[int], None]:
        """A function that counts an error that came after the headers of a stream."""

        def failed(status: int) -> None:
            self.service.metrics.broken.labels(self.route_of(scope), str(status)).inc()

        return failed

    async def enter(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check the host, the key and the body, then go on."""
        headers = headers_of(scope)
        if not self.service.keys:
            check_host(headers.get("host", ""))
        if scope["path"] not in OPEN:
            scope["state"]["caller"] = self.caller(headers)
        if scope["method"] == "POST":
            check_kind(headers)
            try:
                async with asyncio.timeout(self.service.limits.seconds):
                    receive = await self.whole_body(receive, headers.get("content-length", ""))
            except TimeoutError:
                raise ApiError(
                    TOO_SLOW, "the body did not arrive in time", code="timeout"
                ) from None
        await self.app(scope, receive, send)

    def caller(self, headers: Mapping[str, str]) -> str:
        """A name for the key of a request, in either of the headers that clients use.

        Raises:
            ApiError: 401.
        """
        keys = self.service.keys
        found = keys.caller(headers.get("authorization", ""))
        found = found or keys.caller(f"Bearer {headers.get('x-api-key', '')}")
        if found is None:
            raise ApiError(
                401,
                "a valid API key is needed: Authorization: Bearer KEY, or X-API-Key: KEY",
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )
        return found

    async def whole_body(self, receive: Receive, said: str) -> Receive:
        """Read a body of limited size; what the app receives then."""
        most = self.service.limits.body_bytes
        if said.isdigit() and len(said) < 20 and int(said) > most:
            raise self.too_large(most)
        body, more = bytearray(), True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return replayed(message, receive)
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > most:
                raise self.too_large(most)
        return replayed({"type": "http.request", "body": bytes(body), "more_body": False}, receive)

    def too_large(self, most: int) -> ApiError:
        """A 413."""
        return ApiError(
            413, f"the body is larger than {most} bytes", code="request_too_large",
            headers={"Connection": "close"},
        )  # fmt: skip


class Body:
    """The channel of a request, which knows whether more of its body is to come."""

    def __init__(self, receive: Receive) -> None:
        self.receive = receive
        self.more = True

    async def __call__(self) -> Message:
        """The next message."""
        message = await self.receive()
        self.more = message.get("more_body", False)
        return message

    async def drop(self, headers: Mapping[str, str], seconds: float) -> None:
        """Read the rest, within bounds; none of a client that waits to be told to send it."""
        if "100-continue" in headers.get("expect", "").lower():
            return
        left = DROPPED
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.more and left > 0:
                    left -= len((await self()).get("body", b""))


def headers_of(scope: Scope) -> dict[str, str]:
    """The headers of a request."""
    return {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}


def check_kind(headers: Mapping[str, str]) -> None:
    """Reject a body that is no plain JSON.

    Raises:
        ApiError: 415.
    """
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ApiError(
            415,
            f"content type {kind[:80] or 'none'} is not supported: send application/json",
            code="unsupported_content_type",
        )
    coding = headers.get("content-encoding", "").strip().lower()
    if coding not in ("", "identity"):
        raise ApiError(
            415,
            f"content encoding {coding[:80]} is not supported: send the body as it is",
            code="unsupported_content_encoding",
        )


def check_host(host: str) -> None:
    """Reject a request that was sent to another name than one of this machine.

    A server without keys listens on loopback only. A web page whose name is made to point there
    (DNS rebinding) could otherwise read its answers; its requests carry the page's name.

    Raises:
        ApiError: 421.
    """
    name = host.strip().lower()
    if name.startswith("["):
        name, _, port = name[1:].partition("]")
        port = port.removeprefix(":")
    else:
        name, _, port = name.partition(":")
    if name not in LOOPBACK or not (port.isascii() and port.isdigit() or not port):
        raise ApiError(
            421,
            f"host {host[:80]!r} is not served without keys: use 127.0.0.1 or localhost, or start "
            "the server with --key-file",
            code="wrong_host",
        )


def replayed(first: Message, receive: Receive) -> Callable[[], Awaitable[Message]]:
    """A channel that gives a message first."""
    waiting = [first]

    async def next_message() -> Message:
        return waiting.pop() if waiting else await receive()

    return next_message
