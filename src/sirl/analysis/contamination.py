"""Training prompts that occur in the evaluation, exactly or nearly.

Word sets A and B of Jaccard similarity t or more share a word among the |A| - ceil(t |A|) + 1
rarest of A, and as many of B (prefix filter, Chaudhuri et al. 2006). Only such pairs are compared,
so that thousands of prompts against hundreds of behaviours take a moment.
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
"""Jaccard similarity of word sets from which two prompts count as the same question."""
FEWEST = 3
"""Words from which near-duplicates are looked for; shorter ones must be the same."""


@dataclass(frozen=True)
class Overlap:
    """A training prompt and a behaviour that ask the same."""

    prompt_id: str
    behaviour_id: str
    similarity: float
    exact: bool
    """Whether the texts are the same but for case and spacing."""


def contamination(prompts: Sequence[Prompt], behaviours: Sequence[Prompt]) -> dict[str, Any]:
    """The overlaps, and how many behaviours were met in training: word for word, and at all."""
    found = overlaps(prompts, behaviours)
    return {
        "prompts": len(prompts),
        "behaviours": len(behaviours),
        "exact": len({o.behaviour_id for o in found if o.exact}),
        "near_or_exact": len({o.behaviour_id for o in found}),
        "pairs": [asdict(o) for o in found],
    }


def overlaps(prompts: Sequence[Prompt], behaviours: Sequence[Prompt]) -> list[Overlap]:
    """Pairs that ask the same, by behaviour, then from the likest prompt down."""
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
    """Indices of word sets that may be near each other; each pair once, no near one left out."""
    counts = Counter(word for mine in (*asked, *known) for word in mine)
    index: dict[str, list[int]] = {}
    for b, mine in enumerate(asked):
        for word in rarest(mine, counts):
            index.setdefault(word, []).append(b)
    for p, mine in enumerate(known):
        for b in sorted({b for word in rarest(mine, counts) for b in index.get(word, ())}):
            yield b, p


def rarest(words: frozenset[str], counts: Mapping[str, int]) -> list[str]:
    """The words of a set of which a near one shares one at least; none for a set too small."""
    if len(words) < FEWEST:
        return []
    ordered = sorted(words, key=lambda word: (counts[word], word))
    return ordered[: len(words) - math.ceil(NEAR * len(words)) + 1]


def texts_of(prompt: Prompt) -> tuple[str, frozenset[str]]:
    """The request without regard to case and spacing, and the set of its words."""
    return normalised(prompt.request), frozenset(words(prompt.request))
