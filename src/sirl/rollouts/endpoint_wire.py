"""The HTTP under an endpoint: addresses, keys, one try with its limits.

httpx rather than the official client: that one reads a body of any size, does not heed a pause of
more than a minute, cannot send a lone surrogate, and hides the tries that pace and errors count.
"""

import asyncio
import importlib
import ipaddress
import json
import os
import re
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from sirl.errors import ConfigError, MissingExtraError
from sirl.rollouts.arrivals import About
from sirl.rollouts.endpoint_reply import Answer, Failure, understood

__all__ = ["LARGEST", "Body", "Post", "check_url", "http_client", "key_for", "line"]

LARGEST = 32 * 2**20
"""Bytes of an answer, unpacked; more is no answer of a chat model."""
PACKED = {"gzip": 47, "x-gzip": 47, "deflate": 47}
"""Encodings that are unpacked, with zlib's window bits: of gzip and zlib, by the header."""

Body = Mapping[str, object]
Post = Callable[[Body], Awaitable[Answer | Failure]]


def check_url(url: str) -> None:
    """Refuse what is not the base address of an API."""
    if "@" in url:
        raise ConfigError(
            "url of the endpoint has '@' in it: leave out name and password, "
            "the key comes from the environment"
        )
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, a bracket that is not closed
        fine = False
    if not fine or url.split() != [url] or "?" in url or "#" in url:
        shown = re.split("[?#]", url)[0]  # what follows may be a key
        raise ConfigError(
            f"url {shown!r} is not the base address of an API, such as http://localhost:8000/v1"
        )


def on_loopback(url: str) -> bool:
    """Whether an address does not leave this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return host == "localhost" or host.endswith(".localhost")


def key_for(url: str, variable: str) -> str:
    """The key in an environment variable, or nothing; errors do not tell it.

    Raises:
        ConfigError: It cannot be sent in a header, or anybody on the way could read it.
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
    """The library that speaks HTTP, or MissingExtraError."""
    try:
        return importlib.import_module("httpx")
    except ImportError as error:
        raise MissingExtraError("an endpoint", "serve") from error


def past_proxies(address: str) -> dict[str, None]:
    """The routes of httpx that go round the proxies of the environment: to this machine, straight.

    A proxy would read the key of an http address, and know another machine by this name.

    >>> past_proxies("http://localhost:8000/v1"), past_proxies("https://far.test/v1")
    ({'all://localhost': None}, {})
    """
    host = urlsplit(address).hostname or ""
    named = f"[{host}]" if ":" in host else host
    return {f"all://{named}": None} if on_loopback(address) else {}


@asynccontextmanager
async def line(address: str, key: str, timeout: float) -> AsyncIterator[Post]:
    """A way to post to one address, open as long as the block."""
    httpx = http_client()
    headers = {"Content-Type": "application/json", "Accept-Encoding": "gzip"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    async with httpx.AsyncClient(
        headers=headers,
        timeout=None,  # theirs is on each read; the limit below is on the whole try
        limits=httpx.Limits(max_connections=None),
        mounts=past_proxies(address),
        follow_redirects=False,
    ) as client:

        async def post(body: Body) -> Answer | Failure:
            try:
                async with asyncio.timeout(timeout):
                    # ASCII escapes, since attacks may hold characters that UTF-8 cannot.
                    content = json.dumps(dict(body)).encode("ascii")
                    async with client.stream("POST", address, content=content) as reply:
                        whole = await bounded(reply)
            except TimeoutError:
                what = f"did not answer within {timeout:g} s"
                way_out = "raise timeout or lower concurrency"
                return Failure(what, way_out, "no answer in time", "server")
            except httpx.RequestError as error:
                what = f"did not answer ({type(error).__name__})"
                nobody = isinstance(error, httpx.ConnectError | httpx.ProxyError)
                about: About = "endpoint" if nobody else "server"
                way_out = "check the url, and that the server runs"
                return Failure(what, way_out, "no connection", about)
            if isinstance(whole, str):
                return Failure(whole, "check its log", "unreadable", "request", again=False)
            return understood(reply.status_code, dict(reply.headers), whole, key)

        yield post


async def bounded(reply: Any) -> bytes | str:  # noqa: ANN401 - a response of httpx
    """The body, unpacked no further than it is read; or what is wrong with it."""
    encoding = reply.headers.get("content-encoding", "identity").strip().lower() or "identity"
    if encoding not in ("identity", *PACKED):
        return f"answered {reply.status_code} in the encoding {encoding!r}, which was not asked for"
    unpacking = zlib.decompressobj(PACKED[encoding]) if encoding in PACKED else None
    whole = bytearray()
    async for piece in reply.aiter_raw():
        try:
            whole += unpacking.decompress(piece, LARGEST + 1 - len(whole)) if unpacking else piece
        except zlib.error:
            return f"answered {reply.status_code} with a body that cannot be unpacked"
        if len(whole) > LARGEST:
            return f"answered {reply.status_code} with more than {LARGEST >> 20} MiB"
    return bytes(whole)
