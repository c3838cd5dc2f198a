"""Shares and means over attacks, with their 95% intervals."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri  # importing scipy.stats would triple the startup time

__all__ = [
    "Outcomes",
    "Rate",
    "any_rate",
    "behaviour_weights",
    "corrected_mean_rate",
    "mean",
    "mean_rate",
    "otsu",
    "rate",
    "table_mean",
    "table_of",
    "wilson",
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
