"""The tokens of an answer on their way to the client."""

from dataclasses import dataclass, replace
from typing import NamedTuple

from sirl.guard.monitor import NO_SCORE
from sirl.guard.server.source import Piece

__all__ = ["Outbox", "Part", "Seen", "blanked"]


@dataclass
class Seen:
    """A token of the answer, and what the guard made of it."""

    number: int
    """From 1."""
    piece: Piece
    start: int = 0
    """Characters of the answer before it."""
    checked: float | None = None
    """The score of the check behind this token; None if there was none."""
    score: float = NO_SCORE
    """The monitor's score after it."""
    shadow: int = 0
    """Characters sent after it in shadow mode."""
    live: int = 0
    """The same in live mode."""
    hold: int = 0
    """The same in hold mode."""
    dropped: bool = False
    """Whether an alarm dropped it before it was sent, or retracts it."""


class Part(NamedTuple):
    """What leaves at once."""

    text: str
    seen: tuple[Seen, ...] = ()
    """Tokens that leave with it."""
    settled: tuple[Seen, ...] = ()
    """Tokens with everything the guard made of them. In hold mode none that is held; those that an
    alarm drops come without their text."""
    last: bool = False
    """Whether it ends the answer."""


def blanked(seen: Seen) -> Seen:
    """A token without its text."""
    return replace(seen, piece=seen.piece._replace(text="", token="", top=()), dropped=True)


class Outbox:
    """Keeps what has arrived until it leaves, and until it is reported with all its details."""

    def __init__(self) -> None:
        self.ends = [0]
        """Characters of the first k tokens."""
        self.sent = 0
        """Characters sent."""
        self.texts: list[str] = []
        self.unsent: list[Seen] = []
        self.unsettled: list[Seen] = []

    @property
    def tokens(self) -> int:
        """Tokens that have arrived."""
        return len(self.texts)

    def arrived(self, piece: Piece) -> Seen:
        """The next token."""
        start = self.ends[-1]
        self.texts.append(piece.text)
        self.ends.append(start + len(piece.text))
        seen = Seen(self.tokens, piece, start)
        self.unsent.append(seen)
        self.unsettled.append(seen)
        return seen

    def reported_again(self, seen: Seen) -> None:
        """What is new of a token replaces what was reported of it."""
        if seen not in self.unsettled:
            self.unsettled.append(seen)

    def leaving(self, free: int | None = None) -> Part:
        """Unsent tokens up to number `free`.

        Without `free`: all unsent tokens, none of them settled.
        """
        upto = self.tokens if free is None else free
        seen = [s for s in self.unsent if s.number <= upto]
        self.unsent = self.unsent[len(seen) :]
        settled: list[Seen] = []
        if free is not None:
            settled = [s for s in self.unsettled if s.number <= free]
            self.unsettled = self.unsettled[len(settled) :]
        text = "".join(s.piece.text for s in seen)
        self.sent += len(text)
        return Part(text, tuple(seen), tuple(settled))

    def dropping(self) -> Part:
        """What an alarm drops: unsent tokens are reported without their text."""
        hidden = {s.number for s in self.unsent}
        settled = [blanked(s) if s.number in hidden else s for s in self.unsettled]
        self.unsent, self.unsettled = [], []
        return Part("", (), tuple(settled))
