"""How many characters a token stands for, so that a text that cannot fit is never tokenized."""

import re
from itertools import islice

from sirl.models.chat import ChatModel

__all__ = ["beginning", "characters", "token_bound"]

COMPOSED = 4
"""Characters that a Unicode normalization makes into one at most."""
PROBES = ("a", "\u0301", "\u200b", "\U000f0000")
"""Characters of which a tokenizer may read any number as one token, or none: letters of a long
word, accents, invisible characters, unknown ones."""


def characters(text: str) -> int:
    """Characters other than white space, of which a token may stand for any number."""
    return len("".join(text.split()))


def beginning(text: str, most: int) -> str:
    """A text up to its first characters, so many, other than white space.

    >>> beginning("a b  c d", 3)
    'a b  c'
    """
    after = next(islice(re.finditer(r"\S", text), most, None), None)
    return text[: after.start()].rstrip() if after else text


def token_bound(chat: ChatModel) -> int | None:
    """Characters other than white space that a token stands for at most; None if there is no bound.

    It is a multiple of the longest token, and none where one of the probes exceeds it.
    """
    longest = COMPOSED * max(characters(str(token)) for token in chat.tokenizer.get_vocab())
    many = 4 * longest
    bounded = all(len(chat.encode(probe * many)) * longest >= many for probe in PROBES)
    return longest if bounded else None
