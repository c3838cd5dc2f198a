"""Normalised texts: when two texts count as the same or nearly the same.

Two texts are the same if they differ only in case and spacing, and nearly the same if their
features overlap enough (Jaccard similarity). Words are runs of letters and digits; in scripts
without spaces each character is a word.
"""

import re
import unicodedata
from collections.abc import Set as AbstractSet

__all__ = ["is_blank", "jaccard", "many", "normalised", "words"]

UNSEEN = frozenset({"Cc", "Cf", "Mc", "Me", "Mn", "Zl", "Zp", "Zs"})
"""Unicode categories of characters that show nothing alone."""

WORD = re.compile(r"[\u0e00-\u0fff\u2e80-\ua4cf\uf900-\ufaff]|[^\W_\u0e00-\u0fff\u2e80-\ua4cf]+")


def many(n: int, one: str, more: str = "") -> str:
    """A number of things.

    >>> many(1, "prompt"), many(2, "prompt"), many(1, "row is", "rows are"), many(1000, "row")
    ('1 prompt', '2 prompts', '1 row is', '1,000 rows')
    """
    return f"{n:,} {one if n == 1 else more or f'{one}s'}"


def is_blank(text: str) -> bool:
    r"""Whether a text shows nothing: spaces, marks without a letter, control characters.

    >>> is_blank("\u200b\x1a "), is_blank("?")
    (True, False)
    """
    return all(unicodedata.category(c) in UNSEEN for c in text)


def normalised(text: str) -> str:
    r"""A text in lower case with single spaces.

    >>> normalised(" Bend\n THE moon")
    'bend the moon'
    """
    return " ".join(text.casefold().split())


def words(text: str) -> list[str]:
    r"""The words of a text in lower case, without markup, punctuation and invisible characters.

    >>> words("I **can\u2019t**\u00a0he\u200blp.")
    ['i', 'can', 't', 'help']
    """
    if not text.isascii():
        wide = unicodedata.normalize("NFKC", text)
        text = "".join(c for c in wide if unicodedata.category(c) != "Cf")
    return WORD.findall(text.casefold())


def jaccard(first: AbstractSet[object], second: AbstractSet[object]) -> float:
    """Jaccard similarity: intersection over union; 1 for two empty sets."""
    either = len(first | second)
    return len(first & second) / either if either else 1.0
