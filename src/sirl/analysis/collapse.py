"""Signs of mode collapse: diversity, repetition and length of answers.

The easiest way to maximise a confidence reward is to give the same sentence to every prompt.
Refusals and ordinary answers are measured separately: similar refusals are intended, similar
ordinary answers are damage. Words are runs of letters and digits, so the signs are not meaningful
for scripts without spaces.
"""

import re
from collections.abc import Sequence
from dataclasses import asdict
from itertools import combinations
from typing import Any

from sirl.stats import mean, rate, repetition
from sirl.text import jaccard
from sirl.types import Record

__all__ = ["collapse_change", "collapse_signs"]

EDGE = 8
"""Length of an opening or a closing, in words."""
SHORTEST = 4
"""Words of an answer in which repetition can show."""
LOOKED_AT = 120
"""Maximum number of answers compared pairwise (7,140 pairs)."""


def collapse_signs(records: Sequence[Record]) -> dict[str, Any]:
    """Signs of one model, for its refusals and its ordinary answers; an empty group is left out.

    The share of distinct openings and closings falls with n for every model, so use
    `collapse_change` to compare two models.
    """
    parts = {"refusal": refusals(records), "ordinary": ordinary(records)}
    return {name: signs(answers, LOOKED_AT) for name, answers in parts.items() if answers}


def collapse_change(before: Sequence[Record], after: Sequence[Record]) -> dict[str, Any]:
    """Signs of two models over equal numbers of answers, and the relative loss of length.

    `shorter` is 1 - mean length after / mean length before; negative if answers became longer.
    """
    parts = {
        "refusal": (refusals(before), refusals(after)),
        "ordinary": (ordinary(before), ordinary(after)),
    }
    changes: dict[str, Any] = {}
    for name, (old, new) in parts.items():
        if old and new:
            n = min(len(old), len(new), LOOKED_AT)
            pair = {"before": signs(old, n), "after": signs(new, n)}
            was, now = (pair[side]["tokens"] for side in ("before", "after"))
            changes[name] = {**pair, "shorter": 1 - now / was if was else float("nan")}
    return changes


def refusals(records: Sequence[Record]) -> list[Record]:
    """Refusals of first tries only, because later tries of a search can differ by one letter."""
    return [r for r in records if r.kind == "attack" and r.refused and not r.number]


def ordinary(records: Sequence[Record]) -> list[Record]:
    """Answers to ordinary prompts, refused ones included."""
    return [r for r in records if r.kind == "ordinary"]


def signs(answers: Sequence[Record], looked_at: int) -> dict[str, Any]:
    """Length and truncation over all answers; wording over at most `looked_at`, evenly spaced."""
    n = min(len(answers), looked_at)
    texts = [words(answers[i * len(answers) // n].completion) for i in range(n)]
    return {
        "distinct_openings": len({text[:EDGE] for text in texts}) / n,
        "distinct_closings": len({text[-EDGE:] for text in texts}) / n,
        "self_similarity": self_similarity(texts),
        "repetition": mean([repetition(t) for t in texts if len(t) >= SHORTEST]),
        "tokens": mean([float(r.tokens) for r in answers]),
        "truncated": asdict(rate(sum(r.finish == "length" for r in answers), len(answers))),
        "looked_at": n,
        "n": len(answers),
    }


def words(text: str) -> tuple[str, ...]:
    """The words of a text, case-folded."""
    return tuple(re.findall(r"[\w']+", text.casefold()))


def self_similarity(texts: Sequence[Sequence[str]]) -> float:
    """Mean Jaccard similarity of word sets over all pairs; NaN for fewer than two texts.

    >>> self_similarity([["a", "b"], ["a", "c"], ["a", "b"]])
    0.5555555555555555
    """
    return mean([jaccard(a, b) for a, b in combinations([frozenset(t) for t in texts], 2)])
