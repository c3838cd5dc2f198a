"""Stop sequences, found across the pieces of an answer."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence

from sirl.guard.server.source import Piece

__all__ = ["Stops"]


class Stops:
    """Ends an answer before the stop sequence that is complete first.

    A piece whose text may begin a stop sequence waits until that is decided, so the pieces do not
    depend on how the text is cut.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self.stops = tuple(stops)
        self.found = False

    async def cut(self, pieces: AsyncIterator[Piece]) -> AsyncGenerator[Piece]:
        """The pieces before the first stop sequence; `found` says whether there was one."""
        waiting: list[Piece] = []
        async for piece in pieces:
            waiting.append(piece)
            text = "".join(p.text for p in waiting)
            ends = [(at + len(s), at) for s in self.stops if (at := text.find(s)) >= 0]
            if ends:
                self.found = True
                for kept in shortened(waiting, min(ends)[1]):
                    yield kept
                return
            safe = len(text) - self.unsure(text)
            while waiting and len(waiting[0].text) <= safe:
                safe -= len(waiting[0].text)
                yield waiting.pop(0)
        for piece in waiting:
            yield piece

    def unsure(self, text: str) -> int:
        """Characters at the end of a text that may begin a stop sequence."""
        return max(
            (n for stop in self.stops for n in range(1, len(stop)) if text.endswith(stop[:n])),
            default=0,
        )


def shortened(pieces: Sequence[Piece], length: int) -> list[Piece]:
    """All pieces, with the text after so many characters taken off."""
    found = []
    for piece in pieces:
        found.append(piece._replace(text=piece.text[: max(0, length)]))
        length -= len(piece.text)
    return found
