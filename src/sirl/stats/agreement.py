"""Agreement of raters beyond chance."""

from collections import Counter
from collections.abc import Sequence

__all__ = ["cohen_kappa", "krippendorff_alpha"]


def cohen_kappa(first: Sequence[object], second: Sequence[object]) -> float:
    """Agreement of two raters beyond chance (Cohen's kappa); NaN if chance agreement is 1.

    >>> cohen_kappa([1, 1, 0, 0], [1, 0, 0, 0])
    0.5
    """
    n = len(first)
    seen = sum(a == b for a, b in zip(first, second, strict=True)) / n
    chance = sum(list(first).count(c) * list(second).count(c) for c in {*first, *second}) / n**2
    return float("nan") if chance == 1 else (seen - chance) / (1 - chance)


def krippendorff_alpha(ratings: Sequence[Sequence[object]]) -> float:
    """Agreement of any number of raters beyond chance, for nominal labels.

    One row per rater, one column per item, None for a missing rating; items with fewer than two
    ratings are ignored. NaN if no item has two ratings, or all ratings are equal.
    Source: Krippendorff, Computing Krippendorff's Alpha-Reliability (2011).

    >>> round(krippendorff_alpha([[1, 2, 3, None], [1, 2, 2, 4], [None, 2, 3, 4]]), 3)
    0.75
    """
    items = [[r for r in item if r is not None] for item in zip(*ratings, strict=True)]
    counts = [Counter(item) for item in items if len(item) > 1]
    total = sum(counts, Counter[object]())
    n = total.total()
    expected = n * n - sum(m * m for m in total.values())
    if not expected:
        return float("nan")
    seen = sum((c.total() ** 2 - sum(m * m for m in c.values())) / (c.total() - 1) for c in counts)
    return 1 - (n - 1) * seen / expected
