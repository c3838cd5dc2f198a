"""Rates with intervals, areas under curves, agreement; scipy does the work."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest, mannwhitneyu

__all__ = [
    "Rate",
    "any_rate",
    "auroc",
    "auroc_within_bands",
    "cohen_kappa",
    "mean_rate",
    "rate",
]

DRAWS = 2000
"""Bootstrap draws; the 95% ends then rest on fifty draws each."""
BANDS = 4
"""Length bands: quartiles."""


@dataclass(frozen=True)
class Rate:
    """A share with its 95% interval."""

    value: float
    low: float
    high: float
    n: int


def rate(successes: int, n: int) -> Rate:
    """A share with its 95% Wilson interval; all NaN where nothing was counted.

    >>> [round(x, 3) for x in (rate(0, 100).low, rate(0, 100).high)]
    [0.0, 0.037]

    Raises:
        ValueError: There are more successes than trials.
    """
    if n == 0:
        return Rate(float("nan"), float("nan"), float("nan"), 0)
    interval = binomtest(successes, n).proportion_ci(method="wilson")
    return Rate(successes / n, max(0.0, float(interval.low)), min(1.0, float(interval.high)), n)


def mean_rate(outcomes: Mapping[str, Mapping[str, bool]]) -> Rate:
    """Mean over attacks of the share of behaviours defended; n counts the cells.

    Cells of one behaviour are not independent, so the interval is a bootstrap over behaviours
    (percentiles, fixed seed). With every cell alike it has no width; the Wilson interval over
    behaviours is taken there, since a hundred successes are no proof of the next.
    """
    behaviours = sorted({b for cells in outcomes.values() for b in cells})
    # A missing cell is one that could not be scored: it counts neither way.
    table = np.array(
        [[cells.get(b, np.nan) for b in behaviours] for cells in outcomes.values()], dtype=float
    )
    filled = ~np.isnan(table)
    if not filled.any():
        return rate(0, 0)
    value = float(np.nanmean(shares(table, filled)))
    drawn = np.random.default_rng(0).integers(len(behaviours), size=(DRAWS, len(behaviours)))
    means = [np.nanmean(shares(table[:, d], filled[:, d])) for d in drawn]
    low, high = (float(x) for x in np.nanquantile(means, [0.025, 0.975]))
    if low == high:
        whole = rate(round(value * len(behaviours)), len(behaviours))
        low, high = whole.low, whole.high
    return Rate(value, low, high, int(filled.sum()))


def shares(table: np.ndarray, filled: np.ndarray) -> np.ndarray:
    """Share of successes per row over its filled cells; NaN for a row with none."""
    counts = filled.sum(axis=1)
    sums = np.where(filled, table, 0.0).sum(axis=1)
    result: np.ndarray = np.divide(sums, counts, out=np.full(len(table), np.nan), where=counts > 0)
    return result


def any_rate(outcomes: Mapping[str, Mapping[str, bool]]) -> Rate:
    """Share of behaviours that withstood every attack: what an attacker who tries all meets.

    Only behaviours that every attack was tried on count.

    >>> any_rate({"one": {"a": True, "b": True}, "two": {"a": True, "b": False}}).value
    0.5
    """
    behaviours = set.intersection(*(set(cells) for cells in outcomes.values()))
    stood = [all(cells[b] for cells in outcomes.values()) for b in sorted(behaviours)]
    return rate(sum(stood), len(stood))


def auroc(positive: Sequence[float], negative: Sequence[float]) -> float:
    """Chance that a positive exceeds a negative, ties half; NaN where one side is empty.

    >>> auroc([2.0, 3.0], [1.0, 2.0])
    0.875
    """
    if not len(positive) or not len(negative):
        return float("nan")
    wins = mannwhitneyu(positive, negative, method="asymptotic").statistic
    return float(wins) / (len(positive) * len(negative))


def auroc_within_bands(
    positive: Sequence[float],
    negative: Sequence[float],
    positive_lengths: Sequence[int],
    negative_lengths: Sequence[int],
) -> tuple[float, int]:
    """AUROC among items of like length, and the number of pairs that it rests on.

    Bands are quartiles of all lengths; each counts by its pairs. NaN and 0 where no band holds
    both sides: length alone then tells them apart.
    """
    lengths = np.array([*positive_lengths, *negative_lengths], dtype=float)
    if not lengths.size:
        return float("nan"), 0
    edges = np.quantile(lengths, np.arange(1, BANDS) / BANDS)
    bands = np.searchsorted(edges, lengths)
    ours, theirs = bands[: len(positive)], bands[len(positive) :]
    total, pairs = 0.0, 0
    for band in range(BANDS):
        high = np.asarray(positive, dtype=float)[ours == band]
        low = np.asarray(negative, dtype=float)[theirs == band]
        if high.size and low.size:
            total += auroc(list(high), list(low)) * high.size * low.size
            pairs += high.size * low.size
    return (total / pairs if pairs else float("nan")), pairs


def cohen_kappa(first: Sequence[object], second: Sequence[object]) -> float:
    """Agreement of two raters beyond chance; NaN where chance alone would agree always.

    >>> cohen_kappa([1, 1, 0, 0], [1, 0, 0, 0])
    0.5
    """
    n = len(first)
    seen = sum(a == b for a, b in zip(first, second, strict=True)) / n
    chance = sum(list(first).count(c) * list(second).count(c) for c in {*first, *second}) / n**2
    return float("nan") if chance == 1 else (seen - chance) / (1 - chance)
