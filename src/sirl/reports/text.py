"""Model output made visible and inert, for pages and terminals. It is hostile text."""

import unicodedata

__all__ = ["LONGEST_PIECE", "visible"]

LONGEST_PIECE = 40
"""Characters of a token that are shown."""
HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
"""Unicode categories of what cannot be seen or ends a line."""


def visible(text: str, longest: int | None = None) -> str:
    r"""The text with control, direction and invisible characters as escapes, perhaps cut.

    >>> visible("a\u202eb\x1b[2J")
    'a\\u202eb\\u001b[2J'
    """
    shown = "".join(f"\\u{ord(c):04x}" if unicodedata.category(c) in HIDDEN else c for c in text)
    if longest is not None and len(shown) > longest:
        return shown[:longest] + "…"
    return shown
