"""Hashes of the answers that the shipped refusal judge was fitted on.

`recipes/refusal_judge/seen.py` writes the file.
"""

import json
from collections.abc import Iterable
from functools import cache
from hashlib import sha256
from importlib.resources import files

from sirl.text import normalised

__all__ = ["SEEN", "digest", "fitted_on"]

SEEN = "refusal_seen.json"
BYTES = 8


def digest(answer: str) -> str:
    """The first 8 bytes of SHA-256 of an answer normalised for case and white space, in hex."""
    return sha256(normalised(answer).encode("utf-8", "surrogatepass")).digest()[:BYTES].hex()


@cache
def seen() -> frozenset[str]:
    """The hashes in the package."""
    return frozenset(json.loads(files("sirl.judges").joinpath(SEEN).read_text("utf-8")))


def fitted_on(answers: Iterable[str]) -> int:
    """Number of these answers that the shipped refusal judge was fitted on."""
    return sum(digest(answer) in seen() for answer in answers)
