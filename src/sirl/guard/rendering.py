"""Renders conversations for the server, one at a time, and refuses what is too long."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from sirl.errors import SirlError
from sirl.guard.server.source import AskError
from sirl.guard.text_bound import beginning, characters, token_bound
from sirl.guard.turns import last_of_several
from sirl.models.chat import ChatModel, written
from sirl.types import Message

__all__ = ["Renderer", "too_long"]

Ids = tuple[int, ...]


def too_long(sentence: str) -> AskError:
    """The error of a prompt of too many tokens."""
    return AskError(sentence, "messages", "context_length_exceeded")


class Renderer:
    """Renders conversations in one thread, since templates are rendered with a global clock.

    Args:
        chat: The model.
        header: Tokens that a check adds to an answer.
    """

    def __init__(self, chat: ChatModel, header: int) -> None:
        self.chat = chat
        self.header = header
        self.bound = token_bound(chat)
        self._thread = ThreadPoolExecutor(1, "sirl-renderer")

    def stop(self) -> None:
        """End the thread."""
        self._thread.shutdown()

    def room(self, ids: Ids) -> int:
        """Tokens of an answer that the context has room for, behind a prompt and before a check."""
        return self.chat.context - len(ids) - self.header

    async def prompt(self, messages: tuple[Message, ...], room: int = 0) -> Ids:
        """Token ids of a conversation that leaves room for an answer and a check.

        Raises:
            AskError: It cannot be rendered, or is too long.
        """
        ids = await self.in_thread(partial(self.ids_of, messages))
        if not ids:
            raise AskError("the prompt has no tokens", "messages")
        if self.room(ids) < room:
            most = max(0, self.chat.context - room - self.header)
            raise too_long(
                f"the prompt has {len(ids)} tokens; an answer of {room} and a check of the guard "
                f"leave room for {most} in the context of {self.chat.context}"
            )
        return ids

    async def last_turn(self, messages: tuple[Message, ...]) -> Ids:
        """The last turn by itself; empty if it is the only one.

        Raises:
            AskError: It cannot be rendered.
        """
        last = last_of_several(messages)
        return await self.prompt(last) if last else ()

    async def answered(
        self, messages: tuple[Message, ...], prompt: Ids, most: int
    ) -> tuple[Ids, bool]:
        """The first tokens of a final answer that `most` and the context have room for.

        Also whether the answer is longer. Of a long text no more is tokenized than can be read.

        Raises:
            AskError: The conversation cannot be rendered.
        """
        room = min(most, self.room(prompt))
        # A word that is cut has other tokens: the text is cut well behind those that are read.
        own = await self.in_thread(partial(self.first_ids, messages, len(prompt) + 2 * room + 1))
        if own[: len(prompt)] != prompt:
            raise AskError(
                f"the chat template of {self.chat.name} writes the answer into the prompt",
                "messages",
            )
        tokens = own[len(prompt) :]
        return tokens[:room], len(tokens) > room

    async def in_thread(self, work: Callable[[], Ids]) -> Ids:
        """The result of work with the template; its errors are the client's."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except SirlError as error:
            raise AskError(str(error), "messages") from error

    def first_ids(self, messages: tuple[Message, ...], most: int) -> Ids:
        """Token ids of a conversation, at least its first `most`, of no longer text than needed."""
        text = written(self.chat, messages)
        return self.chat.encode(beginning(text, most * self.bound) if self.bound else text)

    def ids_of(self, messages: tuple[Message, ...]) -> Ids:
        """Token ids of a conversation; of a text that cannot fit, none are made.

        Others wait while a long text is tokenized.
        """
        text, most = written(self.chat, messages), self.chat.context
        if self.bound and characters(text) > most * self.bound:
            raise too_long(
                f"the prompt has {len(text)} characters, more than {most} tokens can be: shorten it"
            )
        return self.chat.encode(text)
