"""Says where each token of an answer stands in its text."""

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise

__all__ = ["edges_of", "overlapping"]

AROUND, LONGEST = 8, 64
"""Tokens that are decoded again for the next one, and those within unfinished characters."""
UNFINISHED = "\ufffd"
"""What the bytes of an unfinished character are decoded to."""


def edges_of(
    ids: Sequence[int],
    pieces: Sequence[str],
    whole: str,
    read: Callable[[Sequence[int]], str] | None,
) -> list[int]:
    """Start of each token in the decoded text, and the end of the last one.

    Args:
        ids: The tokens.
        pieces: The text of each token.
        whole: The text of all tokens.
        read: Decodes tokens; None if the text is the pieces.
    """
    if read is None or "".join(pieces) == whole:
        return [0, *accumulate(map(len, pieces))]
    edges = [*lengths(ids, read)][: len(ids)] + [len(whole)]
    # An unfinished character may be decoded to several signs, and lose them when it is complete.
    return [*accumulate(reversed(edges), min)][::-1]


def lengths(ids: Sequence[int], read: Callable[[Sequence[int]], str]) -> list[int]:
    """The length of the text of the first tokens, for each number of them."""
    found = [0]
    start = middle = before = 0
    for end in range(1, len(ids) + 1):
        text = read(ids[start:end])
        found.append(before + len(text))
        # A decoder looks at the tokens around the next one alone: at the blanks between them, and
        # at the bytes of one character, which must not be torn.
        if end - middle >= (LONGEST if text.endswith(UNFINISHED) else AROUND):
            start, middle = middle, end
            before = found[-1] - len(read(ids[start:end]))
    return found


def overlapping(edges: Sequence[int], spans: Sequence[tuple[int, int]]) -> list[bool]:
    """Whether each token overlaps one of the spans.

    A token that adds nothing to the length is a part of the character before it.
    """
    return [any(a < e and min(s, e - 1) < b for a, b in spans) for s, e in pairwise(edges)]
