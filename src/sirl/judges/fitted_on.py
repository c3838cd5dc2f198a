"""Hashes of the answers that a judge was fitted on.

Those of the shipped refusal judge are in a file of the package, which
`recipes/refusal_judge/seen.py` writes; a fitted classifier keeps its own.
"""

import json
from collections.abc import Iterable
from functools import cache
from hashlib import sha256
from importlib.resources import files

from sirl.text import normalised

__all__ = ["ANSWERS", "SEEN", "digest", "digests", "fitted_on"]

SEEN = "refusal_seen.json"
ANSWERS = "answers"
"""Key in the metadata of a fitted classifier: the hashes of the answers that it was fitted on."""
BYTES = 8


def digest(answer: str) -> str:
    """The first 8 bytes of SHA-256 of an answer normalised for case and white space, in hex."""
    return sha256(normalised(answer).encode("utf-8", "surrogatepass")).digest()[:BYTES].hex()


def digests(answers: Iterable[str]) -> list[str]:
    """The hashes of distinct answers, sorted."""
    return sorted({digest(answer) for answer in answers})


@cache
def seen() -> frozenset[str]:
    """The hashes in the package."""
    return frozenset(json.loads(files("sirl.judges").joinpath(SEEN).read_text("utf-8")))


def fitted_on(answers: Iterable[str], known: Iterable[str] | None = None) -> int:
    """Number of answers that a judge was fitted on.

    Args:
        answers: The answers.
        known: Hashes of the fit; those of the shipped refusal judge if there are none.
    """
    fitted = seen() if known is None else frozenset(known)
    return sum(digest(answer) in fitted for answer in answers)
