"""Paired outcomes: exact tests, their adjustment, and the number of pairs that they need."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from scipy.special import bdtr, ndtri  # importing scipy.stats would triple the startup time

__all__ = ["Paired", "holm", "mcnemar", "minimum_detectable_change", "power_hint"]


class Paired(NamedTuple):
    """Changes of paired outcomes, and their p-value."""

    lost: int
    """Success before, failure after."""
    gained: int
    p: float
    """Two-sided; 1 if nothing changed."""


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
