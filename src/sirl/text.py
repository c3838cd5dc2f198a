"""Texts without what does not matter: one notion of the same text and of nearly the same.

Two texts are the same when they differ in case and spacing alone, and nearly the same when their
features overlap enough (Jaccard similarity). Words are runs of letters and digits; scripts that
are written without spaces are read character by character.
"""

import re
import unicodedata
from collections.abc import Set as AbstractSet

__all__ = ["jaccard", "normalised", "words"]

WORD = re.compile(r"[\u0e00-\u0fff\u2e80-\ua4cf\uf900-\ufaff]|[^\W_\u0e00-\u0fff\u2e80-\ua4cf]+")


def normalised(text: str) -> str:
    r"""A text without regard to case and spacing.

    >>> normalised(" Bend\n THE moon")
    'bend the moon'
    """
    return " ".join(text.casefold().split())


def words(text: str) -> list[str]:
    r"""The words of a text, without markup, punctuation, case, and what cannot be seen.

    >>> words("I **can\u2019t**\u00a0he\u200blp.")
    ['i', 'can', 't', 'help']
    """
    if not text.isascii():
        wide = unicodedata.normalize("NFKC", text)
        text = "".join(c for c in wide if unicodedata.category(c) != "Cf")
    return WORD.findall(text.casefold())


def jaccard(first: AbstractSet[object], second: AbstractSet[object]) -> float:
    """What both have, as a share of what either has; two silences are alike."""
    either = len(first | second)
    return len(first & second) / either if either else 1.0
