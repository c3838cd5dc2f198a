"""The change of a mean over attacks, with an interval that counts behaviours."""

import math

import numpy as np

from sirl.stats.rates import Outcomes, Rate, behaviour_weights, rate, table_mean, table_of, wilson

__all__ = ["clustered_difference"]


def clustered_difference(before: Outcomes, after: Outcomes) -> Rate:
    """Change of the mean over attacks, from -1 to 1, over the cells in both; n counts these.

    Gains and losses are two means, each with Wilson's interval for an effective number of trials;
    their margins are combined as squares (Zou and Donner's MOVER), with the covariance of gains and
    losses over behaviours. How much the cells of a behaviour are alike is estimated for each side;
    a side that few behaviours are on borrows from the other. If no cell is missing, one loss less
    never lowers the lower end, and one gain less never raises the upper end. If nothing changed,
    the interval is as wide as that of a share of 0 of the behaviours.
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
    value = table_mean(up) - table_mean(down)
    low, high = lower_end(up, down), -lower_end(down, up)
    # Rounding may put an end beyond the value by a last bit.
    low, high = min(value, max(-1.0, low)), max(value, min(1.0, high))
    return Rate(value, low, high, cells_there)


def lower_end(gains: np.ndarray, losses: np.ndarray) -> float:
    """The lower end of the interval of the mean gains minus the mean losses.

    It is the lowest end over all losses and over fewer of them, in the least favourable order: with
    one loss less, the estimated similarity of losses may rise, but the end must not fall.
    """
    behaviours = float(1 / (behaviour_weights(gains) ** 2).sum())
    gained = parts_of_mean(gains).sum(axis=0)
    share = min(1.0, float(gained.sum()))
    alike = likeness(share, float((gained**2).sum()), behaviours, [1.0])
    below = share - wilson(share, behaviours / alike)[0]
    ends_of_all = []
    for lost, squares, together in fewer(parts_of_mean(losses), gained):
        own = likeness(lost, squares, behaviours, [1.0, alike])
        above = wilson(lost, behaviours / own)[1] - lost
        spread = share * (1 - share) * alike * lost * (1 - lost) * own
        covariance = together * behaviours - share * lost
        tied = min(1.0, max(-1.0, covariance / math.sqrt(spread))) if spread else 0.0
        # Without the 0, losses among the gains would make it surer than the gains are.
        room = below**2 + max(0.0, above**2 - 2 * tied * below * above)
        ends_of_all.append(share - lost - math.sqrt(room))
    return min(ends_of_all)


def likeness(share: float, squares: float, behaviours: float, assumed: list[float]) -> float:
    """The variance of a mean relative to that of all-or-nothing behaviours, from 0 to 1.

    `squares` is the sum of squares of the behaviours' parts of the mean `share`. The estimate is
    shrunk to the assumed values, a behaviour each. Its own weight is the number of behaviours that
    the successes, or the failures if these are fewer, are on (Kish's effective number).
    """
    rest = squares + (1 - 2 * share) / behaviours
    if share * (1 - share) <= 0 or rest <= 0:
        return max(assumed) if share else sum(assumed) / len(assumed)
    found = (squares * behaviours - share**2) / (share * (1 - share))
    found = min(1.0, max(0.0, found))
    weight = min(share**2 / squares, (1 - share) ** 2 / rest)
    return max(found, (weight * found + sum(assumed)) / (weight + len(assumed)))


def parts_of_mean(table: np.ndarray) -> np.ndarray:
    """What each cell of a table adds to the mean."""
    filled = ~np.isnan(table)
    rows = filled.any(axis=1)
    counts = filled[rows].sum(axis=1, keepdims=True)
    parts: np.ndarray = np.where(filled, table, 0.0)[rows] / counts / rows.sum()
    return parts


def fewer(losses: np.ndarray, gained: np.ndarray) -> list[tuple[float, float, float]]:
    """The moments of the losses as they are dropped cell by cell, from none to all.

    A moment is the mean, the largest sum of squares over behaviours that so many losses can have,
    and the smallest sum of products with the gains.
    """
    most = losses.T[np.argsort(-losses.sum(axis=0), kind="stable")]
    within = np.cumsum(most, axis=1)
    lost = most > 0
    shares = np.concatenate([[0.0], np.cumsum(most[lost])]).clip(max=1.0)
    squares = np.concatenate([[0.0], np.cumsum((within**2 - (within - most) ** 2)[lost])])
    order = np.argsort(gained, kind="stable")
    apart = losses.T[order]
    lost = apart > 0
    reached = np.concatenate([[0.0], np.cumsum(apart[lost])])
    products = np.concatenate([[0.0], np.cumsum((apart * gained[order, None])[lost])])
    together = np.interp(shares, reached, products)
    return list(zip(shares.tolist(), squares.tolist(), together.tolist(), strict=True))
