"""HTTP to one upstream: streams of answers, and whole replies to checks."""

import asyncio
import logging
from dataclasses import dataclass, field
from typing import Any

import httpx

from sirl.guard.server.source import AskError, SourceError
from sirl.guard.upstream.asking import AskedBody
from sirl.rollouts.endpoint_dialect import NEUTRAL, Dialect
from sirl.rollouts.endpoint_reply import Answer, Failure, on_one_line, understood
from sirl.rollouts.endpoint_wire import (
    bounded,
    encoded,
    new_client,
    posted,
    too_slow,
    unreachable,
)

__all__ = ["Upstream"]

LOG = logging.getLogger("sirl.guard")
CONNECT = 10.0
"""Seconds to connect."""
STREAM = "text/event-stream"
"""The content type of a stream."""
STREAMED = {"stream": True, "stream_options": {"include_usage": True}}
SPARED = frozenset({"seed", "stream_options"})
"""Parameters without which an answer is still what the client asked for."""
LONGEST_ROUNDS = 4
"""Times an answer is asked for while parameters are renamed or left out."""
OF_OPERATOR = frozenset({401, 402, 403, 404, 407})
"""Statuses that the operator of the guard can mend, and the client cannot."""


@dataclass
class Upstream:
    """One model at one address."""

    url: str
    """Base address."""
    model: str
    key: str = field(default="", repr=False)
    seconds: float = 300.0
    """Seconds of one request at most, from connecting to the last byte."""
    idle: float = 60.0
    """Seconds without a byte at most."""
    transport: Any = field(default=None, repr=False)
    """Replaces the network."""
    dialect: Dialect = field(default_factory=Dialect)
    key_from_env: str = ""
    """The environment variable with the key; empty if none is sent."""
    _client: "tuple[asyncio.AbstractEventLoop, httpx.AsyncClient] | None" = None

    @property
    def address(self) -> str:
        """Where answers are asked for."""
        return f"{self.url.rstrip('/')}/chat/completions"

    @property
    def client(self) -> httpx.AsyncClient:
        """The client of the running loop."""
        loop = asyncio.get_running_loop()
        if self._client is None or self._client[0] is not loop:
            timeout = httpx.Timeout(self.idle, connect=CONNECT, pool=None)
            made: httpx.AsyncClient = new_client(self.address, self.key, timeout, self.transport)
            self._client = (loop, made)
        return self._client[1]

    async def close(self) -> None:
        """Close connections."""
        if self._client:
            await self._client[1].aclose()
        self._client = None

    async def post(self, body: AskedBody) -> Answer | Failure:
        """Send a request and read its whole reply."""
        return await posted(self.client, self.address, self.key, self.seconds, body)

    async def begin(self, body: AskedBody) -> httpx.Response:
        """The response to a request for a stream, once its status is known to be right.

        Raises:
            AskError: The upstream does not take the request.
            SourceError: It does not answer.
        """
        if lost := sorted((self.dialect.left_out & set(body)) - SPARED):
            raise AskError(f"the upstream does not take {', '.join(lost)}", lost[0])
        for again in reversed(range(LONGEST_ROUNDS)):
            sent = self.dialect.translated(body | STREAMED)
            found = await self._opened(sent)
            if isinstance(found, httpx.Response):
                return found
            if not (again and self._learned(sent, found)):
                raise self.error_of(found)
        raise SourceError("the upstream takes no request")

    def error_of(self, failure: Failure) -> AskError | SourceError:
        """What a client is shown of a failure; what the operator can mend is in the log alone."""
        if failure.about != "prompt" and failure.status in OF_OPERATOR:
            key = self.key_from_env or "the variable that --upstream-key-from-env names"
            hint = failure.hint(key, self.model)
            LOG.error("the upstream %s: %s", failure.what, hint)
        return error_of_failure(failure)

    async def _opened(self, body: AskedBody) -> httpx.Response | Failure:
        """Send a request; its response, unread, or a failure."""
        request = self.client.build_request(
            "POST",
            self.address,
            content=encoded(body),
            headers={"Accept": STREAM, "Accept-Encoding": "identity"},
        )
        try:
            async with asyncio.timeout(self.seconds):
                response = await self.client.send(request, stream=True)
        except TimeoutError:
            return too_slow(self.seconds)
        except httpx.ReadTimeout:
            return too_slow(self.idle)
        except httpx.RequestError as error:
            return unreachable(error)
        if response.status_code == httpx.codes.OK and content_type(response) == STREAM:
            return response
        try:
            return await self._refused(response)
        finally:
            await response.aclose()

    async def _refused(self, response: httpx.Response) -> Failure:
        """The failure in a response that is not a stream."""
        try:
            async with asyncio.timeout(self.seconds):
                whole = await bounded(response)
        except TimeoutError:
            return too_slow(self.seconds)
        except httpx.RequestError as error:
            return unreachable(error)
        if isinstance(whole, str):
            return Failure(whole, "check its log", "unreadable", again=False)
        found = understood(response.status_code, dict(response.headers), whole, self.key)
        if isinstance(found, Failure) and found.kind != "no choices":
            return found
        kind = content_type(response) or "no content type"
        what = f"answered {response.status_code} as {kind}, not as a stream ({STREAM})"
        return Failure(what, "check its settings", "no stream", again=False)

    def _learned(self, sent: AskedBody, failure: Failure) -> bool:
        """Learn which parameters the upstream does not take; whether to send the request again.

        It is not sent again if what the guard needs would have to be left out.
        """
        before = set(self.dialect.left_out)
        if not self.dialect.learn(sent, failure.status, failure.payload):
            return False
        learned = self.dialect.left_out - before
        # One refused at its neutral value may still be wanted at another by the next client.
        idle = {name for name in learned if name in NEUTRAL and sent.get(name) == NEUTRAL[name]}
        self.dialect.left_out_if_neutral |= idle
        self.dialect.left_out -= learned - SPARED
        return not learned - SPARED - idle


def content_type(response: httpx.Response) -> str:
    """The content type of a response, without parameters; empty if it names none."""
    named: str = response.headers.get("content-type", "")
    return on_one_line(named.partition(";")[0]).lower()


def error_of_failure(failure: Failure) -> AskError | SourceError:
    """What a client is shown of an upstream that gives no answer."""
    status, what = failure.status, f"the upstream {failure.what}"
    if failure.about == "prompt":
        return AskError(what, "messages", "content_filter")
    if status == 429:
        after = failure.after or 1.0
        return SourceError(what, status=429, code="upstream_busy", after=after)
    if status in OF_OPERATOR:
        return SourceError(
            f"the upstream answered {status} to this server, whose log has the reason",
            code="upstream_failed",
        )
    if 400 <= status < 500 and status != 408:
        long = "context" in failure.what.casefold()
        return AskError(what, None, "context_length_exceeded" if long else "upstream_refused")
    slow = failure.kind == "no answer in time" or status == 408
    code = "upstream_timeout" if slow else "upstream_failed"
    return SourceError(what, code=code, after=failure.after or None)
