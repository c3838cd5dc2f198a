"""AUROC between two groups of answers, overall and within bands of similar length."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import ndtri

__all__ = ["auroc", "auroc_interval", "auroc_within_bands", "length_bands"]

Z = float(ndtri(0.975))
"""Half-width of a 95% interval, in standard errors."""
BANDS = 4
"""Number of length bands: quartiles."""


def auroc(positive: Sequence[float], negative: Sequence[float]) -> float:
    """Chance that a positive exceeds a negative, ties half; NaN where a side is empty or holds NaN.

    Counted here, since scipy.stats takes a second to import.

    >>> auroc([2.0, 3.0], [1.0, 2.0])
    0.875
    """
    pairs = len(positive) * len(negative)
    if not pairs or np.isnan([*positive, *negative]).any():
        return float("nan")
    others = np.sort(negative)
    below = np.searchsorted(others, positive, "left").sum()
    not_above = np.searchsorted(others, positive, "right").sum()
    return float(below + not_above) / 2 / pairs


def auroc_within_bands(
    positive: Sequence[float],
    negative: Sequence[float],
    positive_lengths: Sequence[int],
    negative_lengths: Sequence[int],
) -> tuple[float, int]:
    """AUROC among items of similar length, and the number of pairs compared.

    Bands are quartiles of all lengths, weighted by their number of pairs. Returns NaN and 0 if no
    band contains both sides; length alone then separates them.
    """
    ours, theirs = length_bands(positive_lengths, negative_lengths)
    total, pairs = 0.0, 0
    for band in range(BANDS):
        high = np.asarray(positive, dtype=float)[ours == band]
        low = np.asarray(negative, dtype=float)[theirs == band]
        if high.size and low.size:
            total += auroc(list(high), list(low)) * high.size * low.size
            pairs += high.size * low.size
    return (total / pairs if pairs else float("nan")), pairs


def length_bands(
    positive_lengths: Sequence[int], negative_lengths: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Band index (0 to 3) of each positive and each negative, by quartiles of all lengths."""
    lengths = np.array([*positive_lengths, *negative_lengths], dtype=float)
    if not lengths.size:
        return lengths, lengths
    edges = np.quantile(lengths, np.arange(1, BANDS) / BANDS)
    bands = np.searchsorted(edges, lengths)
    return bands[: len(positive_lengths)], bands[len(positive_lengths) :]


def auroc_interval(value: float, positive: int, negative: int) -> tuple[float, float]:
    """95% interval of an AUROC, given the numbers of independent positives and negatives.

    A score interval: it contains every true AUROC within 1.96 standard errors of the observed
    one, where the standard error is that of the true AUROC (Newcombe, Statistics in Medicine 25
    (2006) 559, method 5). It therefore has a width at 0 and 1 too. NaN if a side is empty.

    >>> [round(x, 3) for x in auroc_interval(0.5, 10, 10)]
    [0.274, 0.726]
    """
    if math.isnan(value) or not (positive and negative):
        return float("nan"), float("nan")
    from scipy.optimize import brentq

    extra = (positive + negative) / 2 - 1

    def excess(true: float) -> float:
        spread = 1 + extra * ((1 - true) / (2 - true) + true / (1 + true))
        variance = true * (1 - true) * spread / (positive * negative)
        return (true - value) ** 2 - Z**2 * variance

    inside = min(max(value, 1e-9), 1 - 1e-9)  # brentq needs a bracket of non-zero width
    low = 0.0 if excess(0.0) <= 0 else float(brentq(excess, 0.0, inside))
    high = 1.0 if excess(1.0) <= 0 else float(brentq(excess, inside, 1.0))
    return low, high
