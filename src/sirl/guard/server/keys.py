"""API keys of clients. Only digests are kept."""

import hashlib
import hmac
from collections.abc import Iterable

__all__ = ["ANONYMOUS", "LOOPBACK", "Keys"]

ANONYMOUS = "anonymous"
"""The caller when no key is asked for."""
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
"""Hosts that only this machine reaches; others need keys."""


class Keys:
    """The keys of a server; without any, everybody may ask."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self._digests = tuple(digest(key) for key in keys)

    def __bool__(self) -> bool:
        return bool(self._digests)

    def caller(self, authorization: str) -> str | None:
        """A name for who sent this header, which does not reveal the key; None if they may not ask.

        Takes the same time for every wrong key.
        """
        if not self._digests:
            return ANONYMOUS
        scheme, _, given = authorization.partition(" ")
        own = digest(given.strip())
        matches = [hmac.compare_digest(own, known) for known in self._digests]
        return own.hex()[:12] if any(matches) and scheme.lower() == "bearer" else None


def digest(key: str) -> bytes:
    """The digest of a key."""
    return hashlib.sha256(key.encode(errors="surrogatepass")).digest()
