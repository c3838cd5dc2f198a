"""Contamination: training prompts that also occur in the evaluation, exactly or nearly.

If two word sets A and B have a Jaccard similarity of at least t, the |A| - ceil(t |A|) + 1 rarest
words of A and the |B| - ceil(t |B|) + 1 rarest words of B have a word in common (prefix filter,
Chaudhuri et al. 2006). Only such pairs are compared, because comparing thousands of prompts with
hundreds of behaviours would be slow.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sirl.text import jaccard, normalised, words
from sirl.types import Prompt

__all__ = ["Overlap", "candidates", "contamination", "overlaps"]

NEAR = 0.6
"""Minimum Jaccard similarity of the word sets of near-duplicates."""
FEWEST = 3
"""Minimum number of different words of a near-duplicate; shorter prompts must match exactly."""


@dataclass(frozen=True)
class Overlap:
    """A training prompt that duplicates a behaviour of the evaluation."""

    prompt_id: str
    behaviour_id: str
    similarity: float
    exact: bool
    """Whether the texts are equal up to case and white space."""


def contamination(prompts: Sequence[Prompt], behaviours: Sequence[Prompt]) -> dict[str, Any]:
    """The overlaps, and how many behaviours occur in training: exactly, and nearly or exactly."""
    found = overlaps(prompts, behaviours)
    return {
        "prompts": len(prompts),
        "behaviours": len(behaviours),
        "exact": len({o.behaviour_id for o in found if o.exact}),
        "near_or_exact": len({o.behaviour_id for o in found}),
        "pairs": [asdict(o) for o in found],
    }


def overlaps(prompts: Sequence[Prompt], behaviours: Sequence[Prompt]) -> list[Overlap]:
    """Exact and near-duplicate pairs, by behaviour, then by descending similarity."""
    asked, known = [texts_of(b) for b in behaviours], [texts_of(p) for p in prompts]
    same: dict[str, list[int]] = {}
    for at, (text, _) in enumerate(known):
        same.setdefault(text, []).append(at)
    pairs = {(b, p): 1.0 for b, (text, _) in enumerate(asked) for p in same.get(text, ())}
    exact = frozenset(pairs)
    for b, p in candidates([mine for _, mine in asked], [mine for _, mine in known]):
        similarity = jaccard(asked[b][1], known[p][1])
        if similarity >= NEAR:
            pairs.setdefault((b, p), similarity)
    ordered = sorted(pairs, key=lambda pair: (pair[0], -pairs[pair], pair[1]))
    return [
        Overlap(prompts[p].id, behaviours[b].id, pairs[b, p], (b, p) in exact) for b, p in ordered
    ]


def candidates(
    asked: Sequence[frozenset[str]], known: Sequence[frozenset[str]]
) -> Iterator[tuple[int, int]]:
    """Index pairs of word sets that may be near-duplicates, each pair once; misses none."""
    counts = Counter(word for mine in (*asked, *known) for word in mine)
    index: dict[str, list[int]] = {}
    for b, mine in enumerate(asked):
        for word in rarest(mine, counts):
            index.setdefault(word, []).append(b)
    for p, mine in enumerate(known):
        for b in sorted({b for word in rarest(mine, counts) for b in index.get(word, ())}):
            yield b, p


def rarest(words: frozenset[str], counts: Mapping[str, int]) -> list[str]:
    """The prefix: rarest words, one of which any near-duplicate shares; empty for small sets."""
    if len(words) < FEWEST:
        return []
    ordered = sorted(words, key=lambda word: (counts[word], word))
    return ordered[: len(words) - math.ceil(NEAR * len(words)) + 1]


def texts_of(prompt: Prompt) -> tuple[str, frozenset[str]]:
    """The request normalised for case and white space, and the set of its words."""
    return normalised(prompt.request), frozenset(words(prompt.request))
