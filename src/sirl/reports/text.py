"""Model output made visible and inert, for pages and terminals. It is hostile text."""

from sirl.errors import printable

__all__ = ["LONGEST_PIECE", "visible"]

LONGEST_PIECE = 40
"""Characters of a token that are shown."""


def visible(text: str, longest: int | None = None) -> str:
    r"""The text with control, direction and invisible characters as escapes, perhaps cut.

    >>> visible("a\u202eb\x1b[2J")
    'a\\u202eb\\u001b[2J'
    """
    shown = printable(text)
    if longest is not None and len(shown) > longest:
        return shown[:longest] + "…"
    return shown
