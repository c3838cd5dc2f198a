"""HTTP for endpoints: addresses, keys, single requests with limits.

Uses httpx rather than the official client, which reads bodies of any size, ignores pauses of more
than a minute, cannot send a lone surrogate, and hides the retries that rate limits and errors
count.
"""

import asyncio
import importlib
import ipaddress
import json
import os
import re
import ssl
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import cache
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from sirl.errors import ConfigError, MissingExtraError
from sirl.rollouts.arrivals import About
from sirl.rollouts.endpoint_reply import Answer, Failure, understood

__all__ = [
    "LARGEST",
    "Body",
    "Post",
    "bounded",
    "check_url",
    "encoded",
    "http_client",
    "key_for",
    "line",
    "new_client",
    "posted",
    "too_slow",
    "unreachable",
]

LARGEST = 32 * 2**20
"""Maximum bytes of a decompressed response."""
PACKED = {"gzip": 47, "x-gzip": 47, "deflate": 47}
"""Supported encodings with zlib's window bits; 47 detects gzip and zlib by the header."""

Body = Mapping[str, object]
Post = Callable[[Body], Awaitable[Answer | Failure]]


def check_url(url: str) -> None:
    """Raise ConfigError if a url is not the base address of an API."""
    if "@" in url:
        raise ConfigError(
            "the endpoint's url contains '@': leave out name and password, "
            "the key comes from the environment"
        )
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # invalid port or unclosed bracket
        fine = False
    if not fine or url.split() != [url] or "?" in url or "#" in url:
        shown = re.split("[?#]", url)[0]  # the rest may be a key
        raise ConfigError(
            f"url {shown!r} is not the base address of an API, such as http://localhost:8000/v1"
        )


def on_loopback(url: str) -> bool:
    """Whether an address is on this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return host == "localhost" or host.endswith(".localhost")


def key_for(url: str, variable: str) -> str:
    """The key in an environment variable, or an empty string; errors do not reveal it.

    Raises:
        ConfigError: It is invalid in a header, or would be sent unencrypted.
    """
    key = os.environ.get(variable, "").strip() if variable else ""
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(f"the key in {variable} cannot be sent in a header: fix it")
    if key and urlsplit(url).scheme == "http" and not on_loopback(url):
        raise ConfigError(
            f"the key in {variable} would go to {url} unencrypted: give an https address, or send "
            "no key with --set key_from_env=none (judge_key_from_env, attacker_key_from_env)"
        )
    return key


def http_client() -> ModuleType:
    """The httpx module; MissingExtraError if it is not installed."""
    try:
        return importlib.import_module("httpx")
    except ImportError as error:
        raise MissingExtraError("an endpoint", "serve") from error


@cache
def trusted() -> ssl.SSLContext:
    """The certificates that httpx trusts, read once: reading them outlasts a short request."""
    context: ssl.SSLContext = http_client().create_ssl_context()
    return context


def past_proxies(address: str) -> dict[str, None]:
    """Mounts for httpx that bypass the environment's proxies for addresses on this machine.

    A proxy could read the key of an http address and would resolve this name to itself.

    >>> past_proxies("http://localhost:8000/v1"), past_proxies("https://far.test/v1")
    ({'all://localhost': None}, {})
    """
    host = urlsplit(address).hostname or ""
    named = f"[{host}]" if ":" in host else host
    return {f"all://{named}": None} if on_loopback(address) else {}


def new_client(address: str, key: str, timeout: Any = None, transport: Any = None) -> Any:  # noqa: ANN401 - of httpx
    """An httpx.AsyncClient for one address, to be closed.

    Args:
        address: The full address.
        key: Sent in each request, unless empty.
        timeout: httpx's limits of single reads and writes; None sets none.
        transport: Replaces the network.
    """
    httpx = http_client()
    headers = {"Content-Type": "application/json", "Accept-Encoding": "gzip"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    return httpx.AsyncClient(
        verify=trusted(),
        headers=headers,
        timeout=timeout,
        limits=httpx.Limits(max_connections=None),
        mounts=past_proxies(address),
        follow_redirects=False,
        transport=transport,
    )


def encoded(body: Body) -> bytes:
    """A request as JSON in ASCII, since attacks may contain characters that UTF-8 cannot encode."""
    return json.dumps(dict(body)).encode("ascii")


def unreachable(error: Exception) -> Failure:
    """The failure of a request that httpx could not send or read."""
    httpx = http_client()
    what = f"did not answer ({type(error).__name__})"
    lost = isinstance(error, httpx.ConnectError | httpx.ProxyError)
    about: About = "endpoint" if lost else "server"
    return Failure(what, "check the url, and that the server runs", "no connection", about)


def too_slow(timeout: float) -> Failure:
    """The failure of a request that took too long."""
    what = f"did not answer within {timeout:g} s"
    return Failure(what, "raise timeout or lower concurrency", "no answer in time", "server")


async def posted(
    client: Any,  # noqa: ANN401 - of httpx
    address: str,
    key: str,
    timeout: float,
    body: Body,
) -> Answer | Failure:
    """Send one request and read its whole reply."""
    try:
        async with asyncio.timeout(timeout):
            async with client.stream("POST", address, content=encoded(body)) as reply:
                whole = await bounded(reply)
    except TimeoutError:
        return too_slow(timeout)
    except http_client().RequestError as error:
        return unreachable(error)
    if isinstance(whole, str):
        return Failure(whole, "check its log", "unreadable", "request", again=False)
    limit = body.get("max_tokens", body.get("max_completion_tokens"))
    return understood(reply.status_code, dict(reply.headers), whole, key, limit)


@asynccontextmanager
async def line(address: str, key: str, timeout: float) -> AsyncIterator[Post]:
    """A function that posts to an address inside a block."""
    # httpx's own limits are of single reads; this one is of the whole request.
    async with new_client(address, key) as client:

        async def post(body: Body) -> Answer | Failure:
            return await posted(client, address, key, timeout, body)

        yield post


async def bounded(reply: Any) -> bytes | str:  # noqa: ANN401 - a response of httpx
    """The body, decompressed up to the size limit; or its fault."""
    encoding = reply.headers.get("content-encoding", "identity").strip().lower() or "identity"
    if encoding not in ("identity", *PACKED):
        return f"answered {reply.status_code} in the encoding {encoding!r}, which was not requested"
    unpacking = zlib.decompressobj(PACKED[encoding]) if encoding in PACKED else None
    whole = bytearray()
    async for piece in reply.aiter_raw():
        try:
            whole += unpacking.decompress(piece, LARGEST + 1 - len(whole)) if unpacking else piece
        except zlib.error:
            return f"answered {reply.status_code} with a body that cannot be decompressed"
        if len(whole) > LARGEST:
            return f"answered {reply.status_code} with more than {LARGEST >> 20} MiB"
    return bytes(whole)
