"""A table as plain data: Markdown for a file, blocks of columns for a terminal."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

__all__ = ["Grid", "markdown"]

LABEL_WIDTH = 40
"""Width from which the label of a row continues on the next line."""
FRAME = 3
"""Characters around a cell: two spaces and a line."""


class Grid(NamedTuple):
    """A table; the first cell of a row is its label."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    @property
    def turned(self) -> "Grid":
        """The table with rows and columns exchanged."""
        head, *rows = zip(self.head, *self.rows, strict=True)
        return Grid(head, rows)

    @property
    def widths(self) -> list[int]:
        """Characters that each column needs: words and cells stay whole, but for long labels."""
        words = [max(map(len, name.split()), default=0) for name in self.head]
        cells = [max((len(row[n]) for row in self.rows), default=0) for n in range(len(self.head))]
        label = max([LABEL_WIDTH, *(len(w) for row in self.rows for w in row[0].split())])
        cells[0] = min(cells[0], label)
        return [max(both) for both in zip(words, cells, strict=True)]

    def blocks(self, width: int) -> "list[Grid]":
        """The table as few tables as fit a width, each with the labels; turned if that is fewer."""
        return min((self.cut(width), self.turned.cut(width)), key=len)

    def cut(self, width: int) -> "list[Grid]":
        """Tables of neighbouring columns, each with the labels, that fit a width."""
        label, *widths = self.widths
        free = width - 1 - label - FRAME
        columns: list[list[int]] = [[]]
        used = 0
        for n, own in enumerate(widths, 1):
            if columns[-1] and used + own + FRAME > free:
                columns.append([])
                used = 0
            columns[-1].append(n)
            used += own + FRAME
        return [self.picked([0, *chosen]) for chosen in columns]

    def picked(self, columns: Sequence[int]) -> "Grid":
        """The table with some of its columns."""
        head, *rows = ([line[n] for n in columns] for line in (self.head, *self.rows))
        return Grid(head, rows)


def markdown(parts: Iterable[str | Grid]) -> list[str]:
    """Sentences and tables as lines of Markdown."""
    lines: list[str] = []
    for part in parts:
        if isinstance(part, str):
            lines.append(part)
            continue
        whole = [part.head, ["---"] * len(part.head), *part.rows]
        lines += [f"| {' | '.join(line)} |" for line in whole]
    return lines
