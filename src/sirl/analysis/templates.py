"""Finds answers that are one template, equal except for words of the request.

No phrase is known beforehand. A word of the request counts as echoed where answers to other
requests hardly hold it, and echoes are masked before answers are compared; so a refusal that
repeats what it refuses is found to be one, and answers that share an opener alone are not.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from sirl.text import jaccard, words

__all__ = ["NEAR", "clusters", "medoid", "near"]

NEAR = 0.6
"""Jaccard similarity of words and pairs of words from which two answers are nearly one."""
COMMON = 0.05
"""Share of the answers to other requests from which a word is no echo of a request."""
STEM = 4
"""Letters by which forms of a word are taken for one: steal, stealing."""
GAP = 2
"""Words between two echoes that are taken for a part of the echo."""
READ = 100
"""Words of an answer that are compared."""
ECHO = "_"
Features = frozenset[object]


def near(first: Features, second: Features) -> bool:
    """Whether two answers are nearly one."""
    return jaccard(first, second) >= NEAR


def clusters(answers: Sequence[tuple[str, str]]) -> list[list[int]]:
    """Indices of (request, answer) pairs whose answers are nearly one, the largest cluster first.

    An answer joins the first cluster that began with one like it. Only such as share some of
    their rarest features are compared, so that ten thousand answers take half a minute.
    """
    by_features: dict[Features, list[int]] = {}
    for at, features in enumerate(masked(answers)):
        by_features.setdefault(features, []).append(at)
    counts = Counter(f for features in by_features for f in features)
    rank = {feature: n for n, (feature, _) in enumerate(reversed(counts.most_common()))}
    index: dict[object, list[int]] = {}
    leaders: list[Features] = []
    found: list[list[int]] = []
    for features, members in sorted(by_features.items(), key=lambda item: -len(item[1])):
        rare = rarest(features, rank)
        led = Counter(n for feature in rare for n in index.get(feature, ()))
        likely = sorted(n for n, c in led.items() if c >= min(map(shared, (features, leaders[n]))))
        home = next((n for n in likely if near(leaders[n], features)), None)
        if home is None:
            for feature in rare:
                index.setdefault(feature, []).append(len(leaders))
            leaders.append(features)
            found.append(list(members))
        else:
            found[home] += members
    return sorted(found, key=len, reverse=True)


def medoid(answers: Sequence[tuple[str, str]], members: Sequence[int]) -> int:
    """The member whose answer is given most often; of equally common ones the first."""
    texts = [" ".join(words(answers[at][1])) for at in members]
    return members[texts.index(Counter(texts).most_common(1)[0][0])]


def masked(answers: Sequence[tuple[str, str]]) -> list[Features]:
    """The words and pairs of words of each answer, echoes of its request masked."""
    asked = [frozenset(map(stem, words(request))) for request, _ in answers]
    said = [words(answer)[:READ] for _, answer in answers]
    common = common_stems(asked, [frozenset(map(stem, text)) for text in said])
    return [
        features([ECHO if stem(w) in request - common else w for w in text])
        for request, text in zip(asked, said, strict=True)
    ]


def common_stems(asked: Sequence[frozenset[str]], said: Sequence[frozenset[str]]) -> frozenset[str]:
    """Stems that answers hold whether or not they were asked about."""
    unasked = Counter(s for request, text in zip(asked, said, strict=True) for s in text - request)
    of = Counter(s for request in asked for s in request)
    return frozenset(
        s for s, count in unasked.items() if count > COMMON * max(1, len(asked) - of[s])
    )


def stem(word: str) -> str:
    """What forms of a word have in common."""
    return word[:STEM]


def features(text: Sequence[str]) -> Features:
    """Words and pairs of words, each stretch of echoes as one."""
    joined: list[str] = []
    for at, word in enumerate(text):
        inside = joined and joined[-1] == ECHO and ECHO in text[at : at + GAP + 1]
        if not inside:
            joined.append(word)
    return frozenset((*joined, *zip(joined, joined[1:], strict=False)))


def rarest(features: Features, rank: Mapping[object, int]) -> list[object]:
    """The features of which a like answer has `shared` among its own rarest (prefix filter)."""
    ordered = sorted(features, key=rank.__getitem__)
    return ordered[: len(ordered) - math.ceil(NEAR * len(ordered)) + shared(features)]


def shared(features: Features) -> int:
    """How many of the rarest features have to be shared for a comparison to be worth it."""
    return 4 if len(features) > 12 else 1
