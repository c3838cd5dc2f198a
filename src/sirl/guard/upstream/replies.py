"""Reads the stream of an upstream's answer: its events become pieces."""

import json
from collections.abc import Iterator
from typing import Literal

from sirl.guard.server.source import Piece, SourceError
from sirl.guard.upstream.asking import piece_of
from sirl.guard.upstream.frames import BrokenFrameError, Frames
from sirl.rollouts.endpoint_reply import (
    BROKEN_OFF,
    CUT,
    FILTER,
    complaint_in,
    count_of,
    dig,
    parts_of,
    reason_in,
)
from sirl.rollouts.endpoint_tokens import Aligned, Token, tokens_in

__all__ = ["StreamReader", "broken"]

DONE = "[DONE]"
THOUGHTS = ("reasoning_content", "reasoning")
"""Fields of a delta that are no part of the answer."""


def broken(what: str) -> SourceError:
    """The error of an upstream that does not keep the protocol."""
    return SourceError(f"the upstream {what}", code="upstream_failed")


class StreamReader:
    """Turns the bytes of one streamed answer into pieces.

    Args:
        watched: Whether text without log-probabilities is an error.
        key: The upstream's key, which error messages do not show.
    """

    def __init__(self, *, watched: bool, key: str = "") -> None:
        self.watched = watched
        self.key = key
        self.done = False
        """Whether [DONE] has come."""
        self.finish: Literal["stop", "length", "content_filter"] | None = None
        self.prompt_tokens = 0
        self.first: Token | None = None
        """The first token of the answer."""
        self.model = ""
        """The model that answers, as the upstream calls it."""
        self._frames = Frames()
        self._aligned = Aligned()

    def feed(self, chunk: bytes) -> Iterator[Piece]:
        """The pieces that these bytes complete.

        Raises:
            SourceError: The upstream reports an error, or does not keep the protocol.
        """
        try:
            for data in self._frames.feed(chunk):
                if self.done or data.strip() == DONE:
                    self.done = True
                    return
                yield from self._read(data)
        except BrokenFrameError as error:
            raise broken(str(error)) from error

    def end(self) -> None:
        """No bytes follow.

        Raises:
            SourceError: The answer is not complete.
        """
        if not self.done and self.finish is None:
            raise broken("ended in the middle of an answer, without [DONE]")

    def _read(self, data: str) -> list[Piece]:
        """One event."""
        try:
            chunk = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise broken("sent an event that is not JSON") from error
        choices, failed = dig(chunk, "choices"), dig(chunk, "error")
        complaint = complaint_in(chunk, self.key) if failed or choices is None else ""
        if failed or complaint:
            raise broken(f"broke off with an error{complaint}")
        if not isinstance(chunk, dict) or not isinstance(choices, list | None):
            raise broken("sent an event that is no part of an answer")
        self.prompt_tokens = count_of(dig(chunk, "usage", "prompt_tokens")) or self.prompt_tokens
        if isinstance(served := dig(chunk, "model"), str):
            self.model = served
        own = [c for c in choices or () if dig(c, "index") in (None, 0)]
        return [piece for choice in own for piece in self._choice(choice)]

    def _choice(self, choice: object) -> list[Piece]:
        """The next part of the answer."""
        content, thoughts = parts_of(dig(choice, "delta", "content"))
        refusal, _ = parts_of(dig(choice, "delta", "refusal"))
        text = (content or "") + (refusal or "")
        try:
            tokens = tokens_in(dig(choice, "logprobs"))
        except ValueError as error:
            raise broken(f"sent malformed log-probabilities ({error})") from error
        if not text and (thoughts or any(dig(choice, "delta", name) for name in THOUGHTS)):
            tokens = ()
        if self.watched and text and not (tokens and all(token.top for token in tokens)):
            raise broken("sent text without log-probabilities")
        self._ended(choice)
        if not tokens:
            return [Piece(text)] if text else []
        self.first = self.first or tokens[0]
        parts = self._aligned.parts(text, tokens)
        return [piece_of(part, token) for part, token in zip(parts, tokens, strict=True)]

    def _ended(self, choice: object) -> None:
        """Note the reason for which an answer ended."""
        reason = reason_in(choice)
        if BROKEN_OFF.fullmatch(reason):
            raise broken("aborted its answer")
        if reason:
            filtered = FILTER.search(reason)
            cut = "length" if CUT.fullmatch(reason) else "stop"
            self.finish = "content_filter" if filtered else cut  # type: ignore[assignment]
