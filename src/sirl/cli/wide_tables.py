"""Tables of many columns on a narrow terminal: no word is broken, columns go on further down."""

from collections.abc import Sequence
from textwrap import fill

from rich.table import Table

from sirl.reports.grid import Grid

__all__ = ["fitting_grids", "fitting_tables"]

NARROWEST = 14
"""Characters to which a column may be narrowed; more where a word is longer."""
RATE = 22
"""The same where cells are rates with one decimal and their interval."""
LABEL = 30
"""The same for the names of the rows."""
FRAME = 3
"""Characters of the border and the blanks of a column."""


def fitting_tables(
    title: str,
    note: str,
    header: Sequence[str],
    rows: Sequence[tuple[str, Sequence[str]]],
    width: int,
    narrowest: int = NARROWEST,
) -> list[Table]:
    """The table, or several with some of its columns each, none wider than `width`.

    A column that is too wide alone stays whole: its words are what can be searched and copied.
    """
    names = wrapped([name for name, _ in rows], LABEL)
    columns = [[head, *(cells[n] for _, cells in rows)] for n, head in enumerate(header)]
    left = width - width_of(names) - FRAME - 1
    tables = []
    for part in parts(columns, left, narrowest):
        shown = Table(title=title, title_justify="left", caption_justify="left")
        shown.add_column("", no_wrap=True)
        for head, *_ in part:
            shown.add_column(head, no_wrap=True)
        for n, name in enumerate(names, 1):
            shown.add_row(name, *(column[n] for column in part))
        tables.append(shown)
        title = f"{title.removesuffix(', continued')}, continued"
    tables[-1].caption = note or None
    return tables


def fitting_grids(grid: Grid, width: int) -> list[Table]:
    """A grid under the head of its labels as title; turned where that needs fewer tables."""
    both = (
        fitting_tables(head[0], "", head[1:], [(row[0], row[1:]) for row in rows], width, RATE)
        for head, rows in (grid, grid.turned)
    )
    return min(both, key=len)


def parts(columns: Sequence[Sequence[str]], left: int, narrowest: int) -> list[list[list[str]]]:
    """The columns in order, as many together as have room, with lines as long as they may be."""
    narrow = [wrapped(column, narrowest) for column in columns]
    found: list[list[list[str]]] = [[]]
    room = left
    for column in narrow:
        taken = width_of(column) + FRAME
        if found[-1] and taken > room:
            found.append([])
            room = left
        found[-1].append(column)
        room -= taken
    # Where all columns have room as they are, no line is broken.
    whole = [list(column) for column in columns]
    return [whole] if sum(width_of(c) + FRAME for c in whole) <= left else found


def wrapped(column: Sequence[str], narrowest: int) -> list[str]:
    """The cells of a column in lines that are as short as its longest word allows."""
    words = [len(word) for cell in column for word in cell.split()]
    longest = max([narrowest, *words])
    return [fill(c, longest, break_long_words=False, break_on_hyphens=False) for c in column]


def width_of(column: Sequence[str]) -> int:
    """Characters of its longest line."""
    return max((len(line) for cell in column for line in cell.splitlines()), default=0)
