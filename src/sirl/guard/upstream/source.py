"""An upstream's answers for the server: tokens from its stream, scores by asking it again."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import httpx

from sirl.guard.monitor import highest_score
from sirl.guard.server.policy import Limits
from sirl.guard.server.source import Ask, AskError, Piece, Scored, SourceError
from sirl.guard.upstream.asking import (
    AskedBody,
    NoLogprobsError,
    answer_body,
    check_body,
    first_token,
    refusal_score,
)
from sirl.guard.upstream.endpoint_guard import EndpointGuard
from sirl.guard.upstream.replies import StreamReader, broken
from sirl.guard.upstream.wire import Upstream
from sirl.rollouts.endpoint_reply import Answer as Reply
from sirl.rollouts.endpoint_reply import dig
from sirl.types import Message

__all__ = ["UpstreamAnswer", "UpstreamSource"]

TRIES = 3
"""Times a check is asked for at most."""
PAUSE, LONGEST_PAUSE = 0.2, 2.0
"""Seconds between them, and at most: the answer waits."""


class CheckError(Exception):
    """The upstream has not answered a check; the answer itself may go on."""


@contextmanager
def failing_check() -> Iterator[None]:
    """Tell what goes wrong in a check from a fault of the answer.

    Raises:
        CheckError: The check failed.
    """
    try:
        yield
    except (AskError, SourceError) as error:
        raise CheckError(str(error)) from error


@dataclass
class UpstreamSource:
    """A model at an upstream; satisfies `sirl.guard.server.source.Source`."""

    upstream: Upstream
    guard: EndpointGuard | None = None
    """None: answers are passed on unwatched."""

    @property
    def name(self) -> str:
        """The model id that clients give."""
        return self.upstream.model

    ready = True
    """Whether it can answer is known only when it is asked."""

    def stop(self) -> None:
        """Nothing runs between requests."""

    async def open(self, ask: Ask) -> "UpstreamAnswer":
        """Begin an answer: the upstream has taken the request.

        Raises:
            AskError: The upstream rejects it.
            SourceError: The upstream cannot answer now.
        """
        if ask.messages[-1].role == "assistant":
            raise AskError("an upstream does not continue an answer", "messages")
        deadline = asyncio.get_running_loop().time() + self.upstream.seconds
        body = answer_body(self.name, ask, self.guard.manner if self.guard else None)
        return UpstreamAnswer(self, ask, await self.upstream.begin(body), deadline)

    async def score(self, messages: tuple[Message, ...], text: str) -> float:
        """The model's opinion of a conversation and an answer so far.

        Raises:
            SourceError: It gives none, or is another model than the guard's.
        """
        if self.guard is None:
            raise SourceError("this server has no guard")
        found = await self._asked(check_body(self.name, self.guard.manner, messages, text))
        self.check_model(dig(found.payload, "model"))
        try:
            return refusal_score(first_token(found), self.guard.openers)
        except NoLogprobsError as error:
            raise broken(f"answered a check with {error}") from error

    async def _asked(self, body: AskedBody) -> Reply:
        """The reply to a check; short faults of the upstream are waited out."""
        tries = 1
        while not isinstance(
            found := await self.upstream.post(self.upstream.dialect.translated(body)), Reply
        ):
            if tries == TRIES or not found.again or found.after > LONGEST_PAUSE:
                raise self.upstream.error_of(found)
            await asyncio.sleep(found.after or PAUSE)
            tries += 1
        return found

    def check_model(self, served: object) -> None:
        """Reject the opinion of another model.

        Raises:
            SourceError: The upstream names another model than in the calibration.
        """
        known = self.guard.served if self.guard else ""
        if known and isinstance(served, str) and served and served != known:
            raise SourceError(
                f"the upstream now answers with {served[:80]}, not with {known}, which the guard "
                "is calibrated for",
                code="upstream_changed",
            )

    async def judge(self, messages: tuple[Message, ...], limits: Limits) -> Scored:  # noqa: ARG002
        """The highest score of a conversation: before its answer, and after all of it.

        Only the upstream can count tokens, so its own limit holds.

        Raises:
            AskError: There is no prompt, or no guard.
            SourceError: The upstream does not answer a check.
        """
        if self.guard is None:
            raise AskError("this server has no guard")
        answered = messages[-1].role == "assistant"
        asked = messages[:-1] if answered else messages
        if not asked:
            raise AskError("an answer without a prompt cannot be scored", "input")
        scores = {0: await self.score(asked, "")}
        if answered:
            scores[1] = await self.score(asked, messages[-1].content)
        return Scored(highest_score([0.0] if answered else [], scores, self.guard.watch))


class UpstreamAnswer:
    """One answer; satisfies `sirl.guard.server.source.Answer`.

    Args:
        source: Where it comes from.
        ask: What was asked.
        response: The upstream's stream.
        deadline: Time of the loop at which it must have ended.
    """

    def __init__(
        self, source: UpstreamSource, ask: Ask, response: httpx.Response, deadline: float
    ) -> None:
        self.source = source
        self.ask = ask
        self._response = response
        self._bytes = response.aiter_raw()
        self._deadline = deadline
        upstream, watched = source.upstream, source.guard is not None
        self._reader = StreamReader(watched=watched, key=upstream.key)
        self._ahead: deque[Piece] = deque()
        self._ended = False
        self._fault: SourceError | None = None
        self._texts: list[str] = []
        self._cut = False

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompt by the upstream's usage; 0 if it tells none."""
        return self._reader.prompt_tokens

    @property
    def finish(self) -> Literal["stop", "length", "content_filter"]:
        """Why the pieces ended."""
        return "length" if self._cut else self._reader.finish or "stop"

    async def pieces(self) -> AsyncIterator[Piece]:
        """The pieces in order.

        Raises:
            SourceError: The upstream failed.
        """
        while await self._has_next():
            piece = self._ahead.popleft()
            if len(self._texts) == self.ask.max_tokens:
                if not piece.text:  # an end of turn
                    continue
                self._cut = True
                return
            self._texts.append(piece.text)
            yield piece._replace(top=piece.top[: self.ask.top])

    async def score(self, position: int) -> float:
        """The score of the prompt and the first pieces.

        The answer's own first token gives the prompt's, unless the client's settings may change
        its log-probabilities.

        Raises:
            SourceError: The upstream failed before its first token.
            CheckError: It does not answer the check, or is another model than the guard's.
        """
        guard = self.source.guard
        if position == 0 and guard and self._is_plain() and await self._has_next():
            found = refusal_score(self._reader.first, guard.openers)
        else:
            text = "".join(self._texts[:position])
            with failing_check():
                found = await self.source.score(self.ask.messages, text)
        if position == 0:  # an answer names its model in its events
            await self._has_next()
        with failing_check():
            self.source.check_model(self._reader.model)
        return found

    async def close(self) -> None:
        """Close the stream, which ends the upstream's work."""
        await self._response.aclose()

    def _is_plain(self) -> bool:
        sampling = self.ask.sampling
        neutral = sampling.temperature == 1 and sampling.top_p == 1 and not sampling.top_k
        return neutral and not self.ask.logit_bias

    async def _has_next(self) -> bool:
        """Whether a piece is there, once it has arrived.

        Raises:
            SourceError: The upstream failed, now or before.
        """
        try:
            while not self._ahead and not self._ended:
                if self._fault:
                    raise self._fault
                chunk = await self._chunk()
                if chunk is None:
                    self._reader.end()
                    self._ended = True
                else:
                    self._ahead.extend(self._reader.feed(chunk))
                    self._ended = self._reader.done
        except SourceError as error:
            self._fault = error
            if not self._ahead:  # what came before it is given first
                raise
        return bool(self._ahead)

    async def _chunk(self) -> bytes | None:
        """The next bytes; None at the end."""
        upstream = self.source.upstream
        try:
            async with asyncio.timeout_at(self._deadline):
                return await anext(self._bytes, None)
        except TimeoutError:
            what, code = f"took longer than {upstream.seconds:g} s", "upstream_timeout"
        except httpx.ReadTimeout:
            what, code = f"sent nothing for {upstream.idle:g} s", "upstream_timeout"
        except (httpx.RequestError, httpx.StreamError) as error:
            what, code = f"broke off ({type(error).__name__})", "upstream_failed"
        raise SourceError(f"the upstream {what}", code=code)
