"""Repetition of a sequence, as of an answer that goes round in circles."""

from collections.abc import Hashable, Sequence

__all__ = ["repetition"]

SIZE = 4


def repetition(items: Sequence[Hashable]) -> float:
    """Share of a sequence's 4-grams that repeat earlier ones; 0 if it is shorter.

    >>> repetition("no no no no no".split()), round(repetition([1, 2, 3, 4, 1, 2, 3, 4]), 6)
    (0.5, 0.2)
    """
    grams = [tuple(items[i : i + SIZE]) for i in range(len(items) - SIZE + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0
