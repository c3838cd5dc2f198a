"""Tokens with log-probabilities and alternatives, as chat APIs report them."""

import codecs
import math
from collections.abc import Sequence
from typing import NamedTuple

from sirl.rollouts.endpoint_reply import dig

__all__ = ["Aligned", "Token", "tokens_in"]

MOST_TOP = 64
"""Alternatives read per token."""


class Token(NamedTuple):
    """A token of an answer."""

    name: str
    """How it is told from others: its text, or its bytes if they are no whole characters."""
    raw: bytes
    logprob: float
    """Nats."""
    top: tuple[tuple[str, float], ...] = ()
    """Names of the likeliest tokens at its place, with their log-probabilities."""


def tokens_in(logprobs: object) -> tuple[Token, ...]:
    """The tokens in the field `logprobs` of a choice, also of a refusal; none if it is missing.

    Raises:
        ValueError: It is there and malformed.
    """
    found: list[object] = []
    for name in ("content", "refusal"):
        rows = dig(logprobs, name)
        if not isinstance(rows, list | None):
            raise ValueError(f"logprobs.{name} is not a list")
        found += rows or ()
    return tuple(map(token_in, found))


def token_in(row: object) -> Token:
    """One token."""
    name, raw, logprob = named(row)
    tops = dig(row, "top_logprobs") or []
    if not isinstance(tops, list):
        raise ValueError("top_logprobs is not a list")
    best = [named(top) for top in tops[:MOST_TOP]]
    return Token(name, raw, logprob, tuple((n, p) for n, _, p in best))


def named(row: object) -> tuple[str, bytes, float]:
    """Name, bytes and log-probability of a token."""
    text, given, logprob = dig(row, "token"), dig(row, "bytes"), dig(row, "logprob")
    if not isinstance(text, str) or isinstance(logprob, bool):
        raise ValueError("a token has no text")
    if not isinstance(logprob, int | float) or math.isnan(logprob) or logprob > 1e-3:
        raise ValueError("a token has no log-probability")
    if not isinstance(given, list):
        return text, text.encode(errors="replace"), float(logprob)
    if not all(isinstance(byte, int) and 0 <= byte < 256 for byte in given):
        raise ValueError("a token has invalid bytes")
    raw = bytes(given)
    try:
        return raw.decode() if raw else text, raw, float(logprob)
    except UnicodeDecodeError:
        return "".join(f"<0x{byte:02X}>" for byte in raw), raw, float(logprob)


class Aligned:
    """Gives each token its part of the text; a character of several tokens belongs to the last.

    The parts add up to the text, whatever the tokens say: tokens that the server leaves out of the
    text, such as an end of turn, get none, and what no token explains goes to the last one.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def parts(self, text: str, tokens: Sequence[Token]) -> list[str]:
        """The parts of the next text, one for each of its tokens."""
        found, at = [], 0
        for token in tokens:
            own = self._decoder.decode(token.raw)
            if not text.startswith(own, at):
                own = ""
                self._decoder.reset()
            found.append(own)
            at += len(own)
        if found:
            found[-1] += text[at:]
        return found
