"""Answers of a local model for the server: tokens from the batcher, scores from its caches."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from sirl.guard.batching import Batcher
from sirl.guard.checks import Check
from sirl.guard.monitor import Watch, check_positions, highest_score
from sirl.guard.rendering import Renderer, too_long
from sirl.guard.server.policy import Limits
from sirl.guard.server.source import Ask, AskError, Piece, Scored, SourceError
from sirl.guard.slots import Drawn, Stream
from sirl.guard.stream_checks import CheckScorer, Told
from sirl.models.chat import ChatModel
from sirl.models.forward import score
from sirl.types import Completion, Message

__all__ = ["LocalAnswer", "LocalSource"]

LOG = logging.getLogger("sirl.guard")
BROKEN_CHARACTER = "\ufffd"
"""What decoding gives for a character whose bytes are incomplete."""
CHECKS = 4
"""Checks of a given answer that run between two steps of the streams."""


class GrowingText:
    """Turns token ids into text that only grows."""

    def __init__(self, chat: ChatModel) -> None:
        self.chat = chat
        self.ids: list[int] = []
        self.start = 0
        """Tokens before this one are not decoded again."""
        self.read = 0
        """Tokens whose text was given."""

    def next(self, token_id: int) -> str:
        """The text that a token adds."""
        self.ids.append(token_id)
        return self.rest(whole=True)

    def rest(self, *, whole: bool) -> str:
        """The text that was not given yet; with `whole` none that ends inside a character."""
        before = self.chat.decode(self.ids[self.start : self.read])
        text = self.chat.decode(self.ids[self.start :])
        if len(text) <= len(before) or (whole and text.endswith(BROKEN_CHARACTER)):
            return ""
        self.start, self.read = self.read, len(self.ids)
        return text[len(before) :]


@dataclass
class LocalAnswer:
    """One answer; satisfies `sirl.guard.server.source.Answer`."""

    batcher: Batcher
    stream: Stream
    told: "asyncio.Queue[Told]" = field(default_factory=asyncio.Queue)

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompt."""
        return len(self.stream.prompt_ids)

    @property
    def finish(self) -> Literal["stop", "length"]:
        """Why the pieces ended."""
        ids, ends = self.stream.token_ids, self.batcher.chat.end_ids
        return "stop" if ids and ids[-1] in ends else "length"

    async def pieces(self) -> AsyncIterator[Piece]:
        """The pieces in order.

        Raises:
            SourceError: Decoding failed.
        """
        reader = GrowingText(self.batcher.chat)
        while (told := await self.told.get()) is not None:
            if isinstance(told, Exception):
                raise SourceError(f"{self.batcher.chat.name} failed while answering") from told
            yield self.piece(reader, told)

    def piece(self, reader: GrowingText, drawn: Drawn) -> Piece:
        """A token as a piece; an end of turn has no text."""
        names = self.batcher.chat.pieces([drawn.token_id, *(i for i, _ in drawn.top)])
        top = tuple(zip(names[1:], (p for _, p in drawn.top), strict=True))
        ends = drawn.token_id in self.batcher.chat.end_ids
        text = "" if ends else reader.next(drawn.token_id)
        if ends or len(reader.ids) == self.stream.max_tokens:
            text += reader.rest(whole=False)
        return Piece(text, drawn.entropy, drawn.logprob, names[0], top)

    async def score(self, position: int) -> float:
        """The score of the prompt and the first tokens."""
        return await asyncio.wrap_future(self.batcher.check(self.stream, position))

    async def close(self) -> None:
        """Leave the batch."""
        self.batcher.leave(self.stream)


class LocalSource:
    """A local model; satisfies `sirl.guard.server.source.Source`.

    Args:
        name: The model id that clients give.
        chat: The model.
        scorer: Scores checks; None if nothing is watched.
        watch: How answers are watched.
        streams: Answers at the same time.
    """

    def __init__(
        self, name: str, chat: ChatModel, scorer: CheckScorer | None, watch: Watch, streams: int
    ) -> None:
        self.name = name
        self.chat = chat
        self.scorer = scorer
        self.watch = watch
        self.batcher = Batcher(chat, scorer, streams)
        self.renderer = Renderer(chat, len(scorer.reader.header) if scorer else 0)
        self._warned = False
        """Whether the log says that answers are read in part."""

    @property
    def ready(self) -> bool:
        """Whether it can answer."""
        return self.batcher.alive

    def start(self) -> None:
        """Start decoding."""
        self.batcher.start()

    def stop(self) -> None:
        """Stop decoding."""
        self.batcher.stop()
        self.renderer.stop()

    async def open(self, ask: Ask) -> LocalAnswer:
        """Begin an answer.

        Raises:
            AskError: The template rejects the conversation, or it is too long.
        """
        ids = await self.renderer.prompt(ask.messages, 1 if ask.shrinks else ask.max_tokens)
        self.check_bias(ask)
        turn = await self.renderer.last_turn(ask.messages) if self.scorer else ()
        stream = Stream(
            ids,
            min(ask.max_tokens, self.renderer.room(ids)),
            ask.sampling,
            ask.seed,
            ask.index,
            dict(ask.logit_bias),
            min(ask.top, self.chat.rows),
            Stream(turn, 1) if turn else None,
        )
        answer, loop = LocalAnswer(self.batcher, stream), asyncio.get_running_loop()

        def tell(told: Told) -> None:
            loop.call_soon_threadsafe(answer.told.put_nowait, told)

        self.batcher.join(stream, tell, begun=ask.messages[-1].role == "assistant")
        return answer

    def check_bias(self, ask: Ask) -> None:
        """Reject biases of tokens that do not exist."""
        for token_id in ask.logit_bias:
            if not 0 <= token_id < self.chat.rows:
                raise AskError(
                    f"logit_bias names token {token_id}; {self.name} has {self.chat.rows} tokens",
                    "logit_bias",
                )

    async def judge(self, messages: tuple[Message, ...], limits: Limits) -> Scored:
        """The highest score of a conversation; of a long answer, of its first `max_tokens`.

        Raises:
            AskError: It cannot be rendered, or its prompt is too long.
        """
        if self.scorer is None:
            raise AskError("this server has no guard")
        asked = messages[:-1] if messages[-1].role == "assistant" else messages
        if not asked:
            raise AskError("an answer without a prompt cannot be scored", "messages")
        prompt, most = await self.renderer.prompt(asked), limits.prompt_tokens
        if most is not None and len(prompt) > most:
            raise too_long(f"the prompt has {len(prompt)} tokens, more than {most}")
        own: tuple[int, ...] = ()
        more = False
        if asked != messages:
            own, more = await self.renderer.answered(messages, prompt, limits.max_tokens)
        answer = Completion("", prompt, own, "", (), (), "length")
        turn = await self.renderer.last_turn(asked)
        entropies: list[float] = []
        if own:
            entropies = await self.between_steps(partial(entropies_of, self.chat, answer))
        places = check_positions(entropies, self.watch)
        scores: list[float] = []
        for start in range(0, len(places), CHECKS):
            checks = [Check(answer, k, turn=turn) for k in places[start : start + CHECKS]]
            scores += await self.between_steps(partial(scores_of, self.scorer, checks))
        found = highest_score(entropies, dict(zip(places, scores, strict=True)), self.watch)
        if more and not self._warned:
            self._warned = True
            LOG.warning(
                "an answer to score has more than %d tokens, of which the guard reads no more; "
                "sirl_guard_partial_verdicts_total counts such verdicts",
                len(own),
            )
        return Scored(found, more)

    async def between_steps(self, work: Callable[[], list[float]]) -> list[float]:
        """The result of work on the model; streams go on before and after it."""
        found: list[float] = await asyncio.wrap_future(self.batcher.call(work))
        return found


def entropies_of(chat: ChatModel, answer: Completion) -> list[float]:
    """The entropy of each token of an answer."""
    found: list[float] = score(chat, [answer])[0].entropies.tolist()
    return found


def scores_of(scorer: CheckScorer, checks: Sequence[Check]) -> list[float]:
    """The scores of checks of a whole answer."""
    return scorer.fitted.scores(scorer.reader, checks)
