"""Finds answers from one template: equal except for words repeated from the request.

No list of phrases is used. A word of the request counts as an echo if answers to other requests
rarely contain it. Echoes are masked before answers are compared, so refusals that repeat the
request still match each other, while answers that share only an opener do not.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from sirl.text import jaccard, words

__all__ = ["NEAR", "clusters", "medoid", "near"]

NEAR = 0.6
"""Minimum Jaccard similarity of unigrams and bigrams of two answers from one template."""
COMMON = 0.05
"""Share of answers to other requests above which a word is common, not an echo."""
STEM = 4
"""Length of the prefix that identifies forms of one word: steal, stealing."""
GAP = 2
"""Maximum number of words between two echoes that are merged into one."""
READ = 100
"""Words at the beginning of an answer that are compared."""
ECHO = "_"
Features = frozenset[object]


def near(first: Features, second: Features) -> bool:
    """Whether two answers are nearly equal."""
    return jaccard(first, second) >= NEAR


def clusters(answers: Sequence[tuple[str, str]]) -> list[list[int]]:
    """Indices of (request, answer) pairs with nearly equal answers, the largest cluster first.

    An answer joins the first cluster whose first answer it is near. Only answers that share some of
    their rarest features are compared, so ten thousand answers take half a minute.
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
    """The member with the most frequent answer; the first one if there is a tie."""
    texts = [" ".join(words(answers[at][1])) for at in members]
    return members[texts.index(Counter(texts).most_common(1)[0][0])]


def masked(answers: Sequence[tuple[str, str]]) -> list[Features]:
    """Unigrams and bigrams of each answer, with echoes of its request masked."""
    asked = [frozenset(map(stem, words(request))) for request, _ in answers]
    said = [words(answer)[:READ] for _, answer in answers]
    common = common_stems(asked, [frozenset(map(stem, text)) for text in said])
    return [
        features([ECHO if stem(w) in request - common else w for w in text])
        for request, text in zip(asked, said, strict=True)
    ]


def common_stems(asked: Sequence[frozenset[str]], said: Sequence[frozenset[str]]) -> frozenset[str]:
    """Stems that occur in answers whether or not the request contains them."""
    unasked = Counter(s for request, text in zip(asked, said, strict=True) for s in text - request)
    of = Counter(s for request in asked for s in request)
    return frozenset(
        s for s, count in unasked.items() if count > COMMON * max(1, len(asked) - of[s])
    )


def stem(word: str) -> str:
    """The prefix that forms of a word have in common."""
    return word[:STEM]


def features(text: Sequence[str]) -> Features:
    """Unigrams and bigrams, with each run of echoes merged into one."""
    joined: list[str] = []
    for at, word in enumerate(text):
        inside = joined and joined[-1] == ECHO and ECHO in text[at : at + GAP + 1]
        if not inside:
            joined.append(word)
    return frozenset((*joined, *zip(joined, joined[1:], strict=False)))


def rarest(features: Features, rank: Mapping[object, int]) -> list[object]:
    """The prefix: rarest features, `shared` of which any near answer has in its own prefix."""
    ordered = sorted(features, key=rank.__getitem__)
    return ordered[: len(ordered) - math.ceil(NEAR * len(ordered)) + shared(features)]


def shared(features: Features) -> int:
    """Minimum number of rarest features that two answers must share to be compared."""
    return 4 if len(features) > 12 else 1
