"""Checks of a prompt at cuts: would the model refuse if the user had stopped here?

A check at a cut keeps the first tokens of the prompt, closes the user's turn and opens the
assistant's. What follows a cut cannot change it, so a request is seen as it was before a suffix
that a search has found.

Of several turns only the last is cut, and by itself: the earlier ones were checked when they were
asked, and a refused one would otherwise raise an alarm at every later turn. The check at the end
reads the whole conversation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sirl.models.chat import ChatModel
from sirl.models.packing import common_prefix
from sirl.types import Message

__all__ = ["Cut", "Cutter"]

EVERY = 4
"""Tokens between two cuts at least."""
MOST = 128
"""Cuts of a prompt; those of a longer prompt are further apart."""
TEXTS = ("One of the two.", "Another text 2?")
"""Two texts that have no first and no last token in common."""
Ids = tuple[int, ...]


class Cut(NamedTuple):
    """A prompt that ends early."""

    kept: int
    """Its first tokens, which are those of the whole prompt."""
    ids: Ids


@dataclass(frozen=True)
class Cutter:
    """Cuts rendered prompts of one model."""

    head: int
    """Tokens before the text of a prompt without a system message."""
    marker: Ids
    """Tokens right before the user's text, with and without a system message."""
    closing: Ids
    """Tokens behind the user's text: the end of the turn and the assistant's header."""

    @classmethod
    def of(cls, chat: ChatModel) -> "Cutter":
        """The cutter of a chat template."""
        one, other = (chat.render((Message("user", text),)) for text in TEXTS)
        head, tail = common_prefix(one, other), common_prefix(one[::-1], other[::-1])
        before = one[:head]
        if (instructed := after_instructions(chat)) is not None:
            common = common_prefix(before[::-1], instructed[::-1])
            before = before[len(before) - common :]
        return cls(head, before, one[len(one) - tail :])

    def cuts(self, prompt_ids: Sequence[int]) -> list[Cut]:
        """The prompt at its cuts, none of which is within a system message, and at its end."""
        ids, closing = tuple(prompt_ids), self.closing
        closed = bool(closing) and ids[-len(closing) :] == closing
        end = len(ids) - len(closing) if closed else len(ids)
        first = self.first(ids)
        step = max(EVERY, -(-(end - first) // MOST))
        found = [Cut(n, (*ids[:n], *closing)) for n in range(first + step, end, step)]
        return [*found, Cut(len(ids), ids if closed else (*ids, *closing))]

    def cuts_of_turns(
        self, prompt_ids: Sequence[int], turn: Sequence[int]
    ) -> tuple[list[Cut], list[Cut]]:
        """The cuts of the last turn by itself, if there are others, and those of the prompt.

        Behind other turns, a prompt is read at its end alone.
        """
        cuts = self.cuts(prompt_ids)
        return (self.cuts(turn), cuts[-1:]) if turn else ([], cuts)

    def first(self, ids: Ids) -> int:
        """Where the text of the first user turn begins."""
        wide = len(self.marker)
        places = range(len(ids) - wide + 1) if wide else ()
        begins = (n + wide for n in places if ids[n : n + wide] == self.marker)
        return max(self.head, next(begins, self.head))


def after_instructions(chat: ChatModel) -> Ids | None:
    """What precedes the user's text behind a system message; None if the template takes none."""
    try:
        one, other = (
            chat.render((Message("system", TEXTS[0]), Message("user", text))) for text in TEXTS
        )
    except Exception:  # a template is third-party code and may reject a conversation
        return None
    return one[: common_prefix(one, other)]
