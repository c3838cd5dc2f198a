"""Text in a cipher, in codes or in symbols, such as ROT13, Morse code and emoji.

Nothing is decoded. English prose has a common word in every few; a long run without one that is
not English to a language detector says something else.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Set
from itertools import groupby

from sirl.judges.language import QUOTED, is_english
from sirl.text import words

__all__ = ["in_cipher"]

COMMON = re.compile(
    r"(?:a|about|after|all|also|am|an|and|any|are|as|at|be|because|been|before|but|by|can|could"
    r"|did|do|does|don|down|else|for|from|get|go|had|has|have|he|help|her|here|him|his|how|i"
    r"|if|in|into|is|it|its|just|like|may|me|might|more|my|no|not|now|of|off|on|or|other|our"
    r"|out|over|please|she|should|so|some|than|that|the|their|them|then|there|these|they|this"
    r"|those|to|too|under|until|up|us|use|very|was|way|we|well|were|what|when|where|which"
    r"|while|who|why|will|with|would|you|your|im|ive|ill|id|dont|doesnt|didnt|cant|wont|isnt"
    r"|arent|youre|youll|theyre|thats|lets)\Z"
)
"""Common English words, without apostrophes."""
RUN, DISTINCT = 8.0, 5
"""Minimum weight, and minimum number of different tokens, of a run without a common word."""
LIGHT, USUAL = 0.5, 8
"""Weight of a number of at most 4 digits, as telephone numbers have; and length of a word beyond
which its weight grows."""
CODED, VARIED = 25, 8
"""Minimum length of a word that is code, such as base64, and minimum number of different
characters; the longest common English words have 20 letters."""
LETTER = re.compile(r"[a-z]\Z")
MORSE = re.compile(r"[.-]{1,6}")
ADDRESS = re.compile(r".://.|.@.|www\..|\w\.(?:com|org|net|gov|edu|uk|info)\b")


def in_cipher(text: str, request: Iterable[str]) -> bool:
    """Whether a plain text has a part in a cipher, in codes or in symbols.

    Words of the request, which an answer may quote, are left out, and so are web addresses.

    >>> in_cipher("No. Gnxr n guva veba jver naq oraq vgf raq vagb n ubbx.", [])
    True
    >>> in_cipher("No, that would hurt somebody. Ask a locksmith instead.", [])
    False
    """
    own = QUOTED.sub(" ", text)
    quoted = {word for part in request for word in words(part)}
    found = list(tokens(own, quoted))
    if any(len(token) >= CODED and len({*token}) >= VARIED for token in found):
        return True
    runs = (
        list(run)
        for common, run in groupby(found, lambda token: bool(COMMON.match(token)))
        if not common
    )
    return any(unlike_english(run) for run in runs)


def unlike_english(run: list[str]) -> bool:
    """Whether a run of tokens without a common word is long, and is not English."""
    if sum(map(weight, run)) < RUN or len({*run}) < DISTINCT:
        return False
    named = [token for token in run if token.isalpha()]
    return sum(map(weight, named)) < RUN / 2 or not is_english(" ".join(named))


def weight(token: str) -> float:
    """How much a token counts in a run without a common word."""
    return LIGHT if token.isdigit() and len(token) <= 4 else max(1.0, len(token) / USUAL)


def tokens(text: str, quoted: Set[str]) -> Iterator[str]:
    """Words in lower case, single symbols such as emoji, and the letters of Morse code.

    Web addresses are left out, and so are single letters and other punctuation, of which tables
    and drawings are made.
    """
    for chunk in text.split():
        if ADDRESS.search(chunk):
            continue
        if said := words(chunk.replace("'", "")):
            yield from (word for word in said if word not in quoted and not LETTER.match(word))
        elif MORSE.fullmatch(chunk):
            yield chunk
        else:
            yield from (c for c in chunk if unicodedata.category(c) == "So")
