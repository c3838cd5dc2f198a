"""Rates with intervals, paired tests, areas under curves, agreement; scipy does the work."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.stats import beta, binomtest, mannwhitneyu, norm

__all__ = [
    "Paired",
    "Rate",
    "any_rate",
    "auroc",
    "auroc_interval",
    "auroc_within_bands",
    "clustered_difference",
    "cohen_kappa",
    "corrected_mean_rate",
    "corrected_rate",
    "holm",
    "krippendorff_alpha",
    "length_bands",
    "mcnemar",
    "mean",
    "mean_rate",
    "minimum_detectable_change",
    "power_hint",
    "rate",
]

Outcomes = Mapping[str, Mapping[str, bool]]
"""Successes by attack and behaviour; a missing cell is one that could not be scored."""

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


def mean(values: Sequence[float]) -> float:
    """The mean, NaN for none."""
    return sum(values) / len(values) if values else float("nan")


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


class Paired(NamedTuple):
    """The same items before and after."""

    lost: int
    """Success before, none after."""
    gained: int
    p: float
    """Two-sided; 1 where nothing changed."""


def mean_rate(outcomes: Mapping[str, Mapping[str, bool | float]]) -> Rate:
    """Mean over attacks of the share of behaviours defended; n counts the cells.

    A cell may count in part, from 0 to 1, as a tie does.

    Cells of one behaviour are not independent, so the interval is a bootstrap over behaviours
    (percentiles, fixed seed). With every cell alike it has no width; the Wilson interval over
    behaviours is taken there, since a hundred successes are no proof of the next.
    """
    table = table_of(outcomes)
    value = table_mean(table)
    if math.isnan(value):
        return rate(0, 0)
    low, high = ends(redrawn(table))
    if low == high:
        behaviours = table.shape[1]
        whole = rate(round(value * behaviours), behaviours)
        low, high = whole.low, whole.high
    return Rate(value, low, high, int(np.isfinite(table).sum()))


def table_of(outcomes: Mapping[str, Mapping[str, bool | float]]) -> np.ndarray:
    """One row an attack, one column a behaviour; a missing cell is NaN and counts neither way."""
    behaviours = sorted({b for cells in outcomes.values() for b in cells})
    rows = [[cells.get(b, np.nan) for b in behaviours] for cells in outcomes.values()]
    return np.array(rows, dtype=float).reshape(len(rows), len(behaviours))


def table_mean(table: np.ndarray) -> float:
    """Mean over the rows of the mean of their filled cells; NaN for an empty table."""
    means = shares(table, ~np.isnan(table))
    return float(np.nanmean(means)) if np.isfinite(means).any() else float("nan")


def redrawn(table: np.ndarray) -> np.ndarray:
    """Means of the table with its columns drawn anew, with replacement."""
    columns = table.shape[1]
    drawn = np.random.default_rng(0).integers(columns, size=(DRAWS, columns))
    return np.array([table_mean(table[:, d]) for d in drawn])


def ends(draws: np.ndarray) -> tuple[float, float]:
    """The middle 95% of draws."""
    low, high = (float(x) for x in np.nanquantile(draws, [0.025, 0.975]))
    return low, high


def shares(table: np.ndarray, filled: np.ndarray) -> np.ndarray:
    """Share of successes per row over its filled cells; NaN for a row with none."""
    counts = filled.sum(axis=1)
    sums = np.where(filled, table, 0.0).sum(axis=1)
    result: np.ndarray = np.divide(sums, counts, out=np.full(len(table), np.nan), where=counts > 0)
    return result


def any_rate(outcomes: Outcomes) -> Rate:
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
    """The band of each item, by quartiles of all lengths."""
    lengths = np.array([*positive_lengths, *negative_lengths], dtype=float)
    if not lengths.size:
        return lengths, lengths
    edges = np.quantile(lengths, np.arange(1, BANDS) / BANDS)
    bands = np.searchsorted(edges, lengths)
    return bands[: len(positive_lengths)], bands[len(positive_lengths) :]


def auroc_interval(value: float, positive: int, negative: int) -> tuple[float, float]:
    """The 95% interval of an AUROC of so many independent positives and negatives.

    It holds every AUROC from which the one found is no further than 1.96 of its own standard
    errors (Newcombe, Statistics in Medicine 25 (2006) 559, method 5), so that it has a width at 0
    and 1 too. NaN where a side is empty.

    >>> [round(x, 3) for x in auroc_interval(0.5, 10, 10)]
    [0.274, 0.726]
    """
    if math.isnan(value) or not (positive and negative):
        return float("nan"), float("nan")
    extra = (positive + negative) / 2 - 1

    def apart(true: float) -> float:
        spread = 1 + extra * ((1 - true) / (2 - true) + true / (1 + true))
        variance = true * (1 - true) * spread / (positive * negative)
        return (true - value) ** 2 - float(norm.ppf(0.975)) ** 2 * variance

    inside = min(max(value, 1e-9), 1 - 1e-9)  # the value itself is no end where it is 0 or 1
    low = 0.0 if apart(0.0) <= 0 else float(brentq(apart, 0.0, inside))
    high = 1.0 if apart(1.0) <= 0 else float(brentq(apart, inside, 1.0))
    return low, high


def cohen_kappa(first: Sequence[object], second: Sequence[object]) -> float:
    """Agreement of two raters beyond chance; NaN where chance alone would agree always.

    >>> cohen_kappa([1, 1, 0, 0], [1, 0, 0, 0])
    0.5
    """
    n = len(first)
    seen = sum(a == b for a, b in zip(first, second, strict=True)) / n
    chance = sum(list(first).count(c) * list(second).count(c) for c in {*first, *second}) / n**2
    return float("nan") if chance == 1 else (seen - chance) / (1 - chance)


def krippendorff_alpha(ratings: Sequence[Sequence[object]]) -> float:
    """Agreement of any number of raters beyond chance, for names without order.

    One row per rater, one column per item, None where a rater said nothing; an item with fewer
    than two ratings tells nothing. NaN where nothing was said twice, or only one thing was said.
    From Krippendorff, Computing Krippendorff's Alpha-Reliability (2011).

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


def mcnemar(before: Sequence[bool], after: Sequence[bool]) -> Paired:
    """Whether a change of paired outcomes is more than luck; exact, two-sided.

    >>> mcnemar([False] * 6, [True] * 6)
    Paired(lost=0, gained=6, p=0.03125)
    """
    pairs = list(zip(before, after, strict=True))
    lost, gained = pairs.count((True, False)), pairs.count((False, True))
    changed = lost + gained
    p = float(binomtest(lost, changed).pvalue) if changed else 1.0
    return Paired(lost, gained, p)


def holm(pvalues: Sequence[float]) -> list[float]:
    """P-values made fit for so many tests at once, in their order; Holm's step-down.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted = [0.0] * len(pvalues)
    highest = 0.0
    for step, i in enumerate(sorted(range(len(pvalues)), key=pvalues.__getitem__)):
        highest = max(highest, min(1.0, (len(pvalues) - step) * pvalues[i]))
        adjusted[i] = highest
    return adjusted


def minimum_detectable_change(n: int, *, attacks: int = 1, alpha: float = 0.05) -> float:
    """The least change of a share that exact McNemar can call significant in n pairs.

    It supposes the kindest case, that every pair that changed did so in one direction, and, with
    several attacks, the first step of Holm. NaN where even a change of all pairs would not do.

    >>> minimum_detectable_change(100), minimum_detectable_change(100, attacks=20)
    (0.06, 0.1)
    """
    changed = math.ceil(round(1 + math.log2(attacks / alpha), 9))
    return changed / n if changed <= n else float("nan")


def power_hint(change: float, *, discordant: float | None = None) -> int:
    """Pairs needed to find a change of a share at 5% with 80% power, by McNemar's test.

    `discordant` is the share of pairs that change in either direction, at least the change itself,
    which is what it is taken for where nothing is said. From Connor, Biometrics 43 (1987) 207; the
    formula is approximate, and an exact test needs a few pairs more.

    >>> power_hint(0.1, discordant=0.2), power_hint(0.1)
    (155, 77)

    Raises:
        ValueError: The change is zero, or more than the pairs that change.
    """
    psi = abs(change) if discordant is None else discordant
    if not 0 < abs(change) <= psi <= 1:
        raise ValueError(f"a change of {change} cannot come of a share of {psi} pairs that change")
    z_alpha, z_power = float(norm.ppf(0.975)), float(norm.ppf(0.8))
    root = z_alpha * math.sqrt(psi) + z_power * math.sqrt(psi - change**2)
    return math.ceil((root / change) ** 2)


def corrected_rate(successes: int, n: int, sensitivity: Rate, specificity: Rate) -> Rate:
    """The true share of positives behind a judge's count of them (Rogan and Gladen, 1978).

    The interval is the middle 95% of draws from Jeffreys posteriors of the count and of the
    judge's two rates, so that few labels make it wide. NaN where the judge is no better than a
    coin; a draw in which it is no better tells nothing, and may be any share.

    >>> perfect = rate(1000, 1000)
    >>> round(corrected_rate(30, 100, perfect, perfect).value, 3)
    0.3
    """
    observed = posterior(successes, n, np.random.default_rng(0)) if n else np.full(DRAWS, np.nan)
    value = successes / n if n else float("nan")
    return truth(value, observed, (sensitivity, specificity), n)


def corrected_mean_rate(outcomes: Outcomes, sensitivity: Rate, specificity: Rate) -> Rate:
    """As `corrected_rate`, for the mean over attacks of the share of positive behaviours.

    Its draws are those of `mean_rate`, over behaviours; n counts the cells.
    """
    table = table_of(outcomes)
    value, cells = table_mean(table), int(np.isfinite(table).sum())
    draws = redrawn(table) if cells else np.full(DRAWS, np.nan)
    if cells and np.nanmin(draws) == np.nanmax(draws):  # all alike: as many as behaviours
        behaviours = table.shape[1]
        draws = posterior(round(value * behaviours), behaviours, np.random.default_rng(0))
    return truth(value, draws, (sensitivity, specificity), cells)


def posterior(successes: int, n: int, random: np.random.Generator) -> np.ndarray:
    """Draws of a share after so many successes, from Jeffreys' prior."""
    drawn: np.ndarray = beta.rvs(
        successes + 0.5, n - successes + 0.5, size=DRAWS, random_state=random
    )
    return drawn


def truth(observed: float, draws: np.ndarray, judge: tuple[Rate, Rate], n: int) -> Rate:
    """What an observed share means, given the judge's sensitivity and specificity."""
    sensitivity, specificity = judge
    skill = sensitivity.value + specificity.value - 1
    if not (skill > 0 and n):  # NaN of an empty side included
        return Rate(float("nan"), float("nan"), float("nan"), n)
    random = np.random.default_rng(1)
    hits, passes = (posterior(round(r.value * r.n), r.n, random) for r in judge)
    skilled = hits + passes > 1
    found = np.divide(
        draws + passes - 1, hits + passes - 1, out=random.random(DRAWS), where=skilled
    )
    low, high = ends(np.clip(found, 0.0, 1.0))
    value = min(1.0, max(0.0, (observed + specificity.value - 1) / skill))
    return Rate(value, min(low, value), max(high, value), n)


def clustered_difference(before: Outcomes, after: Outcomes) -> Rate:
    """Change of the mean over attacks, from -1 to 1, on the cells that both have; n counts those.

    The interval is a bootstrap over behaviours. Where every cell changed alike it is as wide as
    a share of none among so many behaviours.
    """
    changes = {
        attack: {b: float(cells[b]) - before[attack][b] for b in cells if b in before[attack]}
        for attack, cells in after.items()
        if attack in before
    }
    table = table_of(changes)
    value, cells_there = table_mean(table), int(np.isfinite(table).sum())
    if not cells_there:
        return rate(0, 0)
    low, high = ends(redrawn(table))
    if low == high:
        room = rate(0, table.shape[1]).high
        low, high = max(-1.0, value - room), min(1.0, value + room)
    return Rate(value, low, high, cells_there)
