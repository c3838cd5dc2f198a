"""Rates with intervals, paired tests and agreement.

The few formulas are written out, since scikit-learn, statsmodels and krippendorff would be three
more dependencies of the bare install; scipy gives the distributions.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import bdtr, ndtri  # importing scipy.stats would triple the startup time

__all__ = [
    "Paired",
    "Rate",
    "any_rate",
    "clustered_difference",
    "cohen_kappa",
    "corrected_mean_rate",
    "holm",
    "krippendorff_alpha",
    "mcnemar",
    "mean",
    "mean_rate",
    "minimum_detectable_change",
    "otsu",
    "power_hint",
    "rate",
]

Outcomes = Mapping[str, Mapping[str, bool]]
"""Successes by attack and behaviour; unscored cells are missing."""

DRAWS = 2000
"""Draws of a posterior; each end of a 95% interval then rests on fifty draws."""
Z = float(ndtri(0.975))
TINY = 1e-12
"""Smaller changes of a mean are rounding errors."""


@dataclass(frozen=True)
class Rate:
    """A share with its 95% interval."""

    value: float
    low: float
    high: float
    n: int


def mean(values: Sequence[float]) -> float:
    """The mean; NaN for an empty sequence."""
    return sum(values) / len(values) if values else float("nan")


def otsu(values: Sequence[float]) -> tuple[float, float]:
    """The cut between two modes with the least variance on its sides, and the share it explains.

    The cut is midway between two neighbouring values (Otsu, 1979). One normal mode is explained by
    0.64, a uniform distribution by 0.75, so the share alone does not show that there are two modes.

    >>> [round(x, 3) for x in otsu([0.1, 0.2, 0.2, 3.0, 3.1])]
    [1.6, 0.999]

    Raises:
        ValueError: All values are equal, or there are none.
    """
    ordered = sorted(values)
    n, total = len(ordered), math.fsum(ordered)
    if not n or ordered[0] == ordered[-1]:
        raise ValueError(f"{n} equal values have no two modes")
    spread = math.fsum((v - total / n) ** 2 for v in ordered)
    best, cut, below = 0.0, ordered[0], 0.0
    for k in range(1, n):
        below += ordered[k - 1]
        between = k * (n - k) / n * (below / k - (total - below) / (n - k)) ** 2
        if between > best:
            best, cut = between, (ordered[k - 1] + ordered[k]) / 2
    return cut, best / spread


def rate(successes: int, n: int) -> Rate:
    """A share with its 95% Wilson interval; all NaN if n is 0.

    >>> [round(x, 3) for x in (rate(0, 100).low, rate(0, 100).high)]
    [0.0, 0.037]

    Raises:
        ValueError: There are more successes than trials.
    """
    if n == 0:
        return Rate(float("nan"), float("nan"), float("nan"), 0)
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} trials")
    return Rate(successes / n, *wilson(successes / n, n), n)


def wilson(share: float, n: int | float) -> tuple[float, float]:
    """The 95% score interval of a share of n independent trials; n may be fractional."""
    middle, room = share + Z**2 / (2 * n), share * (1 - share) / n + (Z / (2 * n)) ** 2
    half, scale = Z * math.sqrt(max(0.0, room)), 1 + Z**2 / n
    low = 0.0 if share == 0 else (middle - half) / scale
    return low, 1.0 if share == 1 else (middle + half) / scale


class Paired(NamedTuple):
    """Changes of paired outcomes, and their p-value."""

    lost: int
    """Success before, failure after."""
    gained: int
    p: float
    """Two-sided; 1 if nothing changed."""


def mean_rate(outcomes: Mapping[str, Mapping[str, bool | float]]) -> Rate:
    """Mean over attacks of the share of behaviours defended; n counts the cells.

    A cell may be a fraction from 0 to 1, such as 0.5 for a tie.

    Cells of one behaviour are not independent, so the interval is Wilson's for an effective number
    of independent trials (`independent_trials`). With one attack, or if all cells are equal, this
    is the interval of `rate` over the behaviours.
    """
    return table_rate(table_of(outcomes))


def table_rate(table: np.ndarray) -> Rate:
    """The mean of a table with its interval; all NaN for an empty one."""
    value = table_mean(table)
    if math.isnan(value):
        return rate(0, 0)
    ends_of_mean = wilson(value, independent_trials(table))
    return Rate(value, *ends_of_mean, int(np.isfinite(table).sum()))


def table_of(outcomes: Mapping[str, Mapping[str, bool | float]]) -> np.ndarray:
    """A table of attacks x behaviours; missing cells are NaN and do not count."""
    behaviours = sorted({b for cells in outcomes.values() for b in cells})
    rows = [[cells.get(b, np.nan) for b in behaviours] for cells in outcomes.values()]
    return np.array(rows, dtype=float).reshape(len(rows), len(behaviours))


def table_mean(table: np.ndarray) -> float:
    """Mean over the rows of the mean of their filled cells; NaN for an empty table."""
    means = shares(table, ~np.isnan(table))
    return float(np.nanmean(means)) if np.isfinite(means).any() else float("nan")


def independent_trials(table: np.ndarray) -> float:
    """The effective sample size: independent trials with the same variance as the table's mean.

    It is at least the number of behaviours, each an all-or-nothing trial, and grows with the
    variation among a behaviour's cells. This variation is estimated from the spread between
    behaviours, which is imprecise if few behaviours failed (or held). So the estimate is shrunk
    by one pseudo-behaviour whose cells are all equal. The weight of the data is the least of: the
    behaviours that failed anywhere, those that held anywhere, and twice (sum of squares)^2 / sum
    of fourth powers of their influences on the mean.
    """
    weights, pulls = behaviour_weights(table), behaviour_pulls(table)
    behaviours = float(1 / (weights**2).sum())
    value, squares = table_mean(table), pulls**2
    if not squares.any():
        return behaviours
    alike = min(1.0, float(squares.sum()) * behaviours / (value * (1 - value)))
    failed, held = (int((table < 1).any(axis=0).sum()), int((table > 0).any(axis=0).sum()))
    known = min(2 * float(squares.sum() ** 2 / (squares**2).sum()), failed, held)
    return behaviours * (known + 1) / (known * alike + 1)


def behaviour_weights(table: np.ndarray) -> np.ndarray:
    """Share of each behaviour (column) in the mean; they sum to 1."""
    filled = ~np.isnan(table)
    rows = filled[filled.any(axis=1)]
    weights: np.ndarray = (rows / rows.sum(axis=1, keepdims=True)).mean(axis=0)
    return weights


def behaviour_pulls(table: np.ndarray) -> np.ndarray:
    """The influence of each behaviour (column) on the mean: its deviation from the row means."""
    filled = ~np.isnan(table)
    rows, there = table[filled.any(axis=1)], filled[filled.any(axis=1)]
    apart = np.where(there, rows - shares(rows, there)[:, None], 0.0)
    pulls: np.ndarray = (apart / there.sum(axis=1, keepdims=True)).mean(axis=0)
    return np.where(abs(pulls) < TINY, 0.0, pulls)


def shares(table: np.ndarray, filled: np.ndarray) -> np.ndarray:
    """Share of successes per row over its filled cells; NaN for an empty row."""
    counts = filled.sum(axis=1)
    sums = np.where(filled, table, 0.0).sum(axis=1)
    result: np.ndarray = np.divide(sums, counts, out=np.full(len(table), np.nan), where=counts > 0)
    return result


def any_rate(outcomes: Outcomes) -> Rate:
    """Share of behaviours that withstood every attack, as for an attacker who tries all of them.

    Counts only behaviours with a cell for every attack.

    >>> any_rate({"one": {"a": True, "b": True}, "two": {"a": True, "b": False}}).value
    0.5
    """
    behaviours = set.intersection(*(set(cells) for cells in outcomes.values()))
    stood = [all(cells[b] for cells in outcomes.values()) for b in sorted(behaviours)]
    return rate(sum(stood), len(stood))


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


def mcnemar(before: Sequence[bool], after: Sequence[bool]) -> Paired:
    """Exact two-sided McNemar test of paired outcomes.

    >>> mcnemar([False] * 6, [True] * 6)
    Paired(lost=0, gained=6, p=0.03125)
    """
    pairs = list(zip(before, after, strict=True))
    lost, gained = pairs.count((True, False)), pairs.count((False, True))
    changed = lost + gained
    # Under the null hypothesis both directions are equally likely, so the tails are equal.
    p = min(1.0, 2 * float(bdtr(min(lost, gained), changed, 0.5))) if changed else 1.0
    return Paired(lost, gained, p)


def holm(pvalues: Sequence[float]) -> list[float]:
    """P-values adjusted for multiple tests, in the given order, by Holm's step-down procedure.

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
    """The smallest change of a share that the exact McNemar test can detect in n pairs.

    Assumes the best case: all changed pairs changed in one direction and, with several attacks,
    the first step of Holm. NaN if even a change of all pairs would not be significant.

    >>> minimum_detectable_change(100), minimum_detectable_change(100, attacks=20)
    (0.06, 0.1)
    """
    changed = math.ceil(round(1 + math.log2(attacks / alpha), 9))
    return changed / n if changed <= n else float("nan")


def power_hint(change: float, *, discordant: float | None = None) -> int:
    """Pairs needed to detect a change of a share at 5% with 80% power, by McNemar's test.

    `discordant` is the share of pairs that change in either direction; default: the change itself,
    its minimum. Source: Connor, Biometrics 43 (1987) 207. The formula is approximate; an exact
    test needs a few more pairs.

    >>> power_hint(0.1, discordant=0.2), power_hint(0.1)
    (155, 77)

    Raises:
        ValueError: The change is zero or exceeds `discordant`.
    """
    psi = abs(change) if discordant is None else discordant
    if not 0 < abs(change) <= psi <= 1:
        raise ValueError(f"a change of {change} is impossible if a share of {psi} of pairs change")
    z_alpha, z_power = float(ndtri(0.975)), float(ndtri(0.8))
    root = z_alpha * math.sqrt(psi) + z_power * math.sqrt(psi - change**2)
    return math.ceil((root / change) ** 2)


def corrected_mean_rate(outcomes: Outcomes, sensitivity: Rate, specificity: Rate) -> Rate:
    """The mean share of positives, corrected for a judge's errors (Rogan and Gladen, 1978).

    The interval is the central 95% of draws from Jeffreys posteriors of the mean, with its
    effective number of trials, and of the judge's two rates, so that few labels make it wide. NaN
    if the judge is not better than chance; in draws where it is not, the share is uniform. n
    counts the cells.

    >>> perfect = rate(1000, 1000)
    >>> outcomes = {"attack": {str(i): i < 30 for i in range(100)}}
    >>> round(corrected_mean_rate(outcomes, perfect, perfect).value, 3)
    0.3
    """
    table = table_of(outcomes)
    value, cells = table_mean(table), int(np.isfinite(table).sum())
    draws = np.full(DRAWS, np.nan)
    if cells:
        trials = independent_trials(table)
        draws = posterior(value * trials, trials, np.random.default_rng(0))
    return truth(value, draws, (sensitivity, specificity), cells)


def posterior(successes: int | float, n: int | float, random: np.random.Generator) -> np.ndarray:
    """Posterior draws of a share with Jeffreys' prior."""
    drawn: np.ndarray = random.beta(successes + 0.5, n - successes + 0.5, size=DRAWS)
    return drawn


def truth(observed: float, draws: np.ndarray, judge: tuple[Rate, Rate], n: int) -> Rate:
    """The true share behind an observed one, given the judge's sensitivity and specificity."""
    sensitivity, specificity = judge
    skill = sensitivity.value + specificity.value - 1
    if not (skill > 0 and n):  # also if a side is empty: NaN
        return Rate(float("nan"), float("nan"), float("nan"), n)
    random = np.random.default_rng(1)
    hits, passes = (posterior(round(r.value * r.n), r.n, random) for r in judge)
    skilled = hits + passes > 1
    found = np.divide(
        draws + passes - 1, hits + passes - 1, out=random.random(DRAWS), where=skilled
    )
    low, high = (float(x) for x in np.nanquantile(np.clip(found, 0.0, 1.0), [0.025, 0.975]))
    value = min(1.0, max(0.0, (observed + specificity.value - 1) / skill))
    return Rate(value, min(low, value), max(high, value), n)


def clustered_difference(before: Outcomes, after: Outcomes) -> Rate:
    """Change of the mean over attacks, from -1 to 1, over the cells in both; n counts these.

    Gains and losses are two means, each with the interval of `mean_rate`; the margins are combined
    as squares (Zou and Donner's MOVER), with the correlation of gains and losses over behaviours.
    If nothing changed, the interval is as wide as that of a share of 0.
    """
    changes = {
        attack: {b: float(cells[b]) - before[attack][b] for b in cells if b in before[attack]}
        for attack, cells in after.items()
        if attack in before
    }
    table = table_of(changes)
    cells_there = int(np.isfinite(table).sum())
    if not cells_there:
        return rate(0, 0)
    up, down = np.maximum(table, 0.0), np.maximum(-table, 0.0)
    gained, lost = table_rate(up), table_rate(down)
    value, together = gained.value - lost.value, correlation(up, down)
    low = value - joined(gained.value - gained.low, lost.high - lost.value, together)
    high = value + joined(gained.high - gained.value, lost.value - lost.low, together)
    return Rate(value, max(-1.0, low), min(1.0, high), cells_there)


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Correlation of the behaviours' influences on two means; 0 if one has no spread."""
    a, b = behaviour_pulls(first), behaviour_pulls(second)
    scale = math.sqrt(float((a**2).sum() * (b**2).sum()))
    return float((a * b).sum()) / scale if scale else 0.0


def joined(first: float, second: float, together: float) -> float:
    """The margin of a difference of two estimates with these margins and this correlation."""
    return math.sqrt(max(0.0, first**2 + second**2 - 2 * together * first * second))
