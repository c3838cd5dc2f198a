"""A table as plain data, and as Markdown for a file."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

__all__ = ["Grid", "markdown"]


class Grid(NamedTuple):
    """A table; the first cell of a row is its label."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    @property
    def turned(self) -> "Grid":
        """The table with rows and columns exchanged."""
        head, *rows = zip(self.head, *self.rows, strict=True)
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
