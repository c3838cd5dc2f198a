"""The fitted half of the refusal judge: what the acts of an answer and its wording amount to.

Two questions: does the answer decline (in full or in part), and does the refusal hold, so that
nothing of what was asked is given? Each is answered by random trees over `signs.signs` and the
evidence of a linear model over fragments of words. `recipes/refusal_judge` fits all of it and
writes `refusal_model.json`; here it is read and added up, without scikit-learn.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import sqrt

from sirl.judges.signs import OPENING, Reading, signs

__all__ = ["RefusalModel", "Tree", "fragments", "shipped", "wording"]

OPENED, REST = 300, 3000
"""Characters of the opening and of the rest whose wording is read."""
PIECE = re.compile(r"[a-z0-9']+|[^\sa-z0-9']")


@dataclass(frozen=True)
class Tree:
    """A binary tree in arrays, in preorder: the left child of a node is the next node."""

    sign: Sequence[int]
    """Index of the sign that a node looks at; -1 for a leaf."""
    most: Sequence[float]
    """A sign up to this value leads to the left; of a leaf, its share of answers that do."""
    right: Sequence[int]

    def __call__(self, numbers: Sequence[float]) -> float:
        """The share, from 0 to 1, of the leaf that the signs lead to."""
        node = 0
        while (sign := self.sign[node]) >= 0:
            node = node + 1 if numbers[sign] <= self.most[node] else self.right[node]
        return self.most[node]


@dataclass(frozen=True)
class RefusalModel:
    """The weights that `recipes/refusal_judge/fit.py` writes."""

    names: tuple[str, ...]
    """Signs in the order in which the trees count them; the wording's evidence comes behind."""
    opening: Mapping[str, float]
    rest: Mapping[str, float]
    bias: float
    declines: tuple[Tree, ...]
    holds: tuple[Tree, ...]

    def numbers(self, reading: Reading) -> list[float]:
        """The signs of an answer and the evidence of its wording."""
        found = signs(reading)
        opened, rest = wording(reading)
        evidence = self.bias + weigh(opened, self.opening) + weigh(rest, self.rest)
        return [*(found[name] for name in self.names), evidence]

    def shares(self, reading: Reading) -> tuple[float, float]:
        """How surely, from 0 to 1, an answer declines, and its refusal holds."""
        numbers = self.numbers(reading)
        return mean(numbers, self.declines), mean(numbers, self.holds)


def mean(numbers: Sequence[float], trees: Sequence[Tree]) -> float:
    """What the trees say on average."""
    return sum(tree(numbers) for tree in trees) / len(trees)


def wording(reading: Reading) -> tuple[list[str], list[str]]:
    """Fragments of the opening, and words and pairs of words of the rest, each once."""
    opened = " ".join(reading.sentences[:OPENING]).lower()[:OPENED]
    rest = " ".join(reading.sentences[OPENING:]).lower()[:REST]
    words = PIECE.findall(rest)
    return sorted(fragments(opened)), sorted({*words, *pairs(words)})


def fragments(text: str) -> set[str]:
    """Runs of three to five characters inside words with their borders, and pairs of words."""
    words = PIECE.findall(text)
    found = pairs(words)
    for word in words:
        bordered = f" {word} "
        for size in (3, 4, 5):
            found |= {bordered[i : i + size] for i in range(len(bordered) - size + 1)}
    return found


def pairs(words: Sequence[str]) -> set[str]:
    """Each word with the next."""
    return {f"{a} {b}" for a, b in zip(words, words[1:], strict=False)}


def weigh(found: Iterable[str], weights: Mapping[str, float]) -> float:
    """Sum of the weights of known fragments over the root of their number."""
    known = [weights[f] for f in found if f in weights]
    return sum(known) / sqrt(len(known)) if known else 0.0


@cache
def shipped() -> RefusalModel:
    """The model that comes with the package."""
    held = json.loads(files("sirl.judges").joinpath("refusal_model.json").read_text("utf-8"))
    forests = {name: tuple(Tree(**tree) for tree in held[name]) for name in ("declines", "holds")}
    return RefusalModel(
        tuple(held["signs"]), held["opening"], held["rest"], held["bias"], **forests
    )
