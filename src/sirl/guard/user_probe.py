"""A linear probe on the states of what the user wrote; the score of a prompt is its highest window.

The kind of a prompt is known, that of its windows is not. So the probe starts from the last window
of bare prompts, and is then fitted on the highest window of each prompt that the model refuses and
the highest few of each that it answers, several times over.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sirl.guard.probe import FOLDS, INVERSE_RIDGES, LinearProbe, fitted, folds_of

__all__ = ["Windows", "fit_user_probe", "highest"]

ROUNDS = 3
HARDEST = 3
"""Windows of a harmless prompt that a round learns from."""
QUANTILE = 0.99


@dataclass(frozen=True)
class Windows:
    """Windows of the prompts to fit on."""

    states: np.ndarray
    """windows x layers x width, of one prompt after the other."""
    counts: np.ndarray
    """prompts: number of windows."""
    refuses: np.ndarray
    """prompts: whether the model refuses the bare prompt."""
    bare: np.ndarray
    """prompts: whether it stands bare."""
    prompts: np.ndarray
    """prompts: number of the bare prompt; its disguises stay in one fold."""

    @property
    def starts(self) -> np.ndarray:
        """The first window of each prompt, and the end."""
        return np.concatenate([[0], np.cumsum(self.counts)])


class Line(NamedTuple):
    """Weights and bias."""

    weights: np.ndarray
    bias: float


def highest(probe: LinearProbe, windows: Sequence[np.ndarray]) -> list[float]:
    """The score of each prompt from its windows (windows x width): the highest."""
    return [float(probe.score(own).max()) for own in windows]


def fit_user_probe(
    rows: Windows, layers: Sequence[int], usual: np.ndarray, *, seed: int
) -> LinearProbe:
    """Fit a probe; cross-validation over prompts chooses layer and ridge by AUROC.

    Args:
        rows: Windows of the layers.
        layers: Their numbers, in the order of the states.
        usual: Scores of the header probe for harmless prompts. The bias is set so that both
            probes exceed the same value in equally many of these, so that their scores compare.
        seed: Seed of the folds.
    """
    found = {
        (place, ridge): cross_validated(rows, place, ridge, seed)
        for place in range(len(layers))
        for ridge in INVERSE_RIDGES
    }
    place, ridge = max(found, key=lambda choice: found[choice])
    weights, bias = fit(rows, np.full(len(rows.counts), True), place, ridge)
    scores = pooled(rows, rows.states[:, place].astype(np.float64) @ weights + bias)
    shift = np.quantile(usual, QUANTILE) - np.quantile(scores[~rows.refuses], QUANTILE)
    about = {
        "inverse_ridge": ridge,
        "prompts": len(rows.counts),
        "auroc": {
            str(layer): max(found[n, r] for r in INVERSE_RIDGES) for n, layer in enumerate(layers)
        },
    }
    return LinearProbe(layers[place], weights, bias + float(shift), about)


def cross_validated(rows: Windows, place: int, ridge: float, seed: int) -> float:
    """AUROC on prompts that were left out, each fold by itself."""
    folds, values = folds_of(rows.prompts, seed), []
    for fold in range(FOLDS):
        out = folds == fold
        weights, bias = fit(rows, ~out, place, ridge)
        scores = pooled(rows, rows.states[:, place].astype(np.float64) @ weights + bias)
        values.append(ranked(scores[out & rows.refuses], scores[out & ~rows.refuses]))
    return float(np.mean(values))


def ranked(positive: np.ndarray, negative: np.ndarray) -> float:
    """AUROC: the share of pairs in order.

    >>> ranked(np.array([2.0, 0.5]), np.array([1.0, 0.0]))
    0.75
    """
    return float((positive[:, None] > negative[None]).mean())


def fit(rows: Windows, taught: np.ndarray, place: int, ridge: float) -> Line:
    """Fit on the prompts `taught` (prompts: bool)."""
    states, starts = rows.states[:, place], rows.starts
    first = np.flatnonzero(taught & rows.bare)
    line = Line(*fitted(states[starts[first + 1] - 1], rows.refuses[first], ridge))
    for _ in range(ROUNDS):
        scores = states.astype(np.float64) @ line.weights + line.bias
        chosen = [
            starts[i] + np.argsort(-scores[starts[i] : starts[i + 1]])[: most(bool(refuses))]
            for i, refuses in zip(np.flatnonzero(taught), rows.refuses[taught], strict=True)
        ]
        sizes = [len(c) for c in chosen]
        line = Line(
            *fitted(states[np.concatenate(chosen)], np.repeat(rows.refuses[taught], sizes), ridge)
        )
    return line


def most(refuses: bool) -> int:  # noqa: FBT001 - the kind of a prompt
    """Windows of a prompt that a round learns from."""
    return 1 if refuses else HARDEST


def pooled(rows: Windows, scores: np.ndarray) -> np.ndarray:
    """The highest score of each prompt."""
    found: np.ndarray = np.maximum.reduceat(scores, rows.starts[:-1])
    return found
