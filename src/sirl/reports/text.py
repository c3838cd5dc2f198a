"""Escapes untrusted model output for pages and terminals."""

from sirl.errors import printable

__all__ = ["LONGEST_PIECE", "visible", "visible_lines"]

LONGEST_PIECE = 40
"""Maximum characters of a token."""


def visible(text: str, longest: int | None = None) -> str:
    r"""The text with control, direction and invisible characters as escapes, cut at `longest`.

    >>> visible("a\u202eb\x1b[2J")
    'a\\u202eb\\u001b[2J'
    """
    shown = printable(text)
    if longest is not None and len(shown) > longest:
        return shown[:longest] + "…"
    return shown


def visible_lines(text: str, longest: int) -> str:
    r"""Like `visible`, but a line feed becomes a mark and a line break.

    >>> visible_lines("a\nb", 9)
    'a↵\nb'
    """
    shown = "↵\n".join(visible(line) for line in text[:longest].split("\n"))
    return f"{shown}…" if len(text) > longest else shown
