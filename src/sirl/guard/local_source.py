"""Answers of a local model for the server: tokens from the batcher, scores from its caches."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from sirl.errors import SirlError
from sirl.guard.batching import Batcher
from sirl.guard.checks import Check
from sirl.guard.monitor import Watch, check_positions, highest_score
from sirl.guard.server.policy import Limits
from sirl.guard.server.source import Ask, AskError, Piece, SourceError
from sirl.guard.slots import Drawn, Stream
from sirl.guard.stream_checks import CheckScorer, Told
from sirl.models.chat import ChatModel
from sirl.models.forward import score
from sirl.types import Completion, Message

__all__ = ["LocalAnswer", "LocalSource"]

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
        self._renderer = ThreadPoolExecutor(1, "sirl-renderer")
        """One thread: templates are rendered with a clock that is global."""

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
        self._renderer.shutdown()

    async def open(self, ask: Ask) -> LocalAnswer:
        """Begin an answer.

        Raises:
            AskError: The template rejects the conversation, or it is too long.
        """
        ids = await self.rendered(ask.messages, ask.max_tokens)
        self.check_bias(ask)
        stream = Stream(
            ids,
            ask.max_tokens,
            ask.sampling,
            ask.seed,
            ask.index,
            dict(ask.logit_bias),
            min(ask.top, self.chat.rows),
        )
        answer, loop = LocalAnswer(self.batcher, stream), asyncio.get_running_loop()

        def tell(told: Told) -> None:
            loop.call_soon_threadsafe(answer.told.put_nowait, told)

        self.batcher.join(stream, tell, begun=ask.messages[-1].role == "assistant")
        return answer

    async def rendered(self, messages: tuple[Message, ...], room: int) -> tuple[int, ...]:
        """Token ids of a conversation that leaves room for an answer and a check."""
        loop = asyncio.get_running_loop()
        try:
            ids = await loop.run_in_executor(self._renderer, self.chat.render, messages)
        except SirlError as error:
            raise AskError(str(error), "messages") from error
        if not ids:
            raise AskError("the prompt has no tokens", "messages")
        header = len(self.scorer.reader.header) if self.scorer else 0
        most = self.chat.context - room - header
        if len(ids) > most:
            raise AskError(
                f"the prompt has {len(ids)} tokens; an answer of {room} and a check of the guard "
                f"leave room for {max(0, most)} in the context of {self.chat.context}",
                "messages",
                "context_length_exceeded",
            )
        return ids

    def check_bias(self, ask: Ask) -> None:
        """Reject biases of tokens that do not exist."""
        for token_id in ask.logit_bias:
            if not 0 <= token_id < self.chat.rows:
                raise AskError(
                    f"logit_bias names token {token_id}; {self.name} has {self.chat.rows} tokens",
                    "logit_bias",
                )

    async def judge(self, messages: tuple[Message, ...], limits: Limits) -> float:
        """The highest score of a conversation.

        Raises:
            AskError: It cannot be rendered, or its prompt or its answer is too long.
        """
        if self.scorer is None:
            raise AskError("this server has no guard")
        answer = await self.given(messages, limits)
        entropies: list[float] = []
        if answer.token_ids:
            entropies = await self.between_steps(partial(entropies_of, self.chat, answer))
        places = check_positions(entropies, self.watch)
        scores: list[float] = []
        for start in range(0, len(places), CHECKS):
            checks = [Check(answer, k) for k in places[start : start + CHECKS]]
            scores += await self.between_steps(partial(scores_of, self.scorer, checks))
        return highest_score(entropies, dict(zip(places, scores, strict=True)), self.watch)

    async def between_steps(self, work: Callable[[], list[float]]) -> list[float]:
        """The result of work on the model; streams go on before and after it."""
        found: list[float] = await asyncio.wrap_future(self.batcher.call(work))
        return found

    async def given(self, messages: tuple[Message, ...], limits: Limits) -> Completion:
        """A conversation as an answer behind its prompt; without an answer one of no tokens.

        Raises:
            AskError: It cannot be rendered, or its prompt or its answer is too long.
        """
        answered = messages[-1].role == "assistant"
        asked = messages[:-1] if answered else messages
        if not asked:
            raise AskError("an answer without a prompt cannot be scored", "input")
        prompt = await self.rendered(asked, 0)
        check_length("prompt", len(prompt), limits.prompt_tokens)
        own = await self.rendered(messages, 0) if answered else prompt
        if own[: len(prompt)] != prompt:
            raise AskError(
                f"the chat template of {self.name} writes the answer into the prompt", "input"
            )
        check_length("answer", len(own) - len(prompt), limits.max_tokens)
        text = messages[-1].content if answered else ""
        return Completion("", prompt, own[len(prompt) :], text, (), (), "length")


def check_length(what: str, tokens: int, most: int | None) -> None:
    """Reject a text of too many tokens."""
    if most is not None and tokens > most:
        raise AskError(
            f"the {what} has {tokens} tokens, more than {most}", "input", "context_length_exceeded"
        )


def entropies_of(chat: ChatModel, answer: Completion) -> list[float]:
    """The entropy of each token of an answer."""
    found: list[float] = score(chat, [answer])[0].entropies.tolist()
    return found


def scores_of(scorer: CheckScorer, checks: Sequence[Check]) -> list[float]:
    """The scores of checks of a whole answer."""
    return scorer.fitted.scores(scorer.reader, checks)
