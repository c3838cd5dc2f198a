"""A linear probe of the model's own opinion: would it refuse what it is saying?

The probe is a logistic regression on the states that checks read. It is fitted without labels: its
positives come from prompts that the model itself refuses when they are bare, its negatives from
prompts that it answers. scikit-learn fits it, numpy scores it, and its weights are JSON.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sirl.errors import InputError, MissingExtraError
from sirl.guard.documents import ProbeShape, check_shape

__all__ = ["LinearProbe", "States", "fit_control", "fit_probe", "folds_of", "held_out_scores"]

FOLDS = 5
INVERSE_RIDGES = (0.001, 0.01, 0.1)
"""Inverse strengths of the ridge that cross-validation chooses from."""


@dataclass(frozen=True)
class States:
    """States to fit a probe on."""

    states: np.ndarray
    """rows x layers x width."""
    refuses: np.ndarray
    """rows: whether the model refuses the bare prompt."""
    prompts: np.ndarray
    """rows: number of the prompt; rows of a prompt stay in one fold."""


@dataclass(frozen=True)
class LinearProbe:
    """Scores a state: the log-odds that the model would refuse."""

    layer: int
    """Hidden layer; 0 is the embedding."""
    weights: np.ndarray
    """width, float64."""
    bias: float
    about: Mapping[str, Any] = field(default_factory=dict)
    """How it was fitted: rows, prompts, cross-validated log loss and AUROC by layer."""

    def score(self, states: np.ndarray) -> np.ndarray:
        """Log-odds (rows) of states (rows x width) of its layer."""
        scores: np.ndarray = states.astype(np.float64) @ self.weights + self.bias
        return scores

    def fault(self, layers: int, width: int) -> str:
        """Why it cannot read a model of that many layers and that hidden size; empty if it can."""
        if len(self.weights) != width:
            return f"has {len(self.weights)} weights for states of {width} numbers"
        return f"reads layer {self.layer} of {layers}" if self.layer > layers else ""

    def document(self) -> dict[str, Any]:
        """The probe as JSON."""
        return {
            "layer": self.layer,
            "weights": self.weights.tolist(),
            "bias": self.bias,
            "about": dict(self.about),
        }

    @classmethod
    def revived(cls, document: Mapping[str, Any], where: str) -> "LinearProbe":
        """The probe from its JSON.

        Raises:
            InputError: The document is damaged.
        """
        check_shape(ProbeShape, document, where)
        weights = np.array(document["weights"], dtype=np.float64)
        return cls(document["layer"], weights, float(document["bias"]), document["about"])


def fit_probe(
    rows: States,
    layers: Sequence[int],
    *,
    seed: int,
    inverse_ridges: Sequence[float] = INVERSE_RIDGES,
) -> LinearProbe:
    """Fit a probe; layer and ridge are chosen by cross-validation over prompts.

    Args:
        rows: States of the layers.
        layers: Their numbers, in the order of the states.
        seed: Seed of the folds.
        inverse_ridges: Inverse strengths of the ridge to choose from.

    Raises:
        InputError: The prompts of one kind do not fill the folds.
        MissingExtraError: scikit-learn is not installed.
    """
    for kind in (True, False):
        if (given := len({*rows.prompts[rows.refuses == kind].tolist()})) < FOLDS:
            what = "refuses" if kind else "answers"
            raise InputError(
                f"the model {what} {given} prompts, and a probe needs {FOLDS}: give more --prompts"
            )
    losses = {
        (place, ridge): cross_validated(rows, place, ridge, seed)
        for place in range(len(layers))
        for ridge in inverse_ridges
    }
    place, ridge = min(losses, key=lambda choice: losses[choice])
    weights, bias = fitted(rows.states[:, place], rows.refuses, ridge)
    about = {
        "rows": len(rows.refuses),
        "rows_refused": int(rows.refuses.sum()),
        "prompts": len({*rows.prompts.tolist()}),
        "inverse_ridge": ridge,
        "log_loss": {
            str(layer): min(losses[n, r] for r in inverse_ridges) for n, layer in enumerate(layers)
        },
    }
    return LinearProbe(layers[place], weights, bias, about)


def cross_validated(rows: States, place: int, ridge: float, seed: int) -> float:
    """Log loss (nats) on prompts that were left out, balanced over both kinds."""
    odds = held_out_scores(rows, place, ridge, seed)
    losses = np.logaddexp(0.0, np.where(rows.refuses, -odds, odds))
    return float((losses[rows.refuses].mean() + losses[~rows.refuses].mean()) / 2)


def held_out_scores(rows: States, place: int, ridge: float, seed: int) -> np.ndarray:
    """The score of each row by a probe that was fitted without its fold."""
    folds, scores = folds_of(rows, seed), np.zeros(len(rows.refuses))
    for fold in range(FOLDS):
        out = folds == fold
        weights, bias = fitted(rows.states[~out, place], rows.refuses[~out], ridge)
        scores[out] = rows.states[out, place].astype(np.float64) @ weights + bias
    return scores


def folds_of(rows: States, seed: int) -> np.ndarray:
    """The fold of each row; rows of one prompt share it, and no fold has all rows of a kind."""
    known, place = np.unique(rows.prompts, return_inverse=True)
    random = np.random.default_rng(seed)
    while True:
        found: np.ndarray = random.permutation(len(known))[place] % FOLDS
        if all(len({*found[rows.refuses == kind].tolist()}) > 1 for kind in (True, False)):
            return found


def fitted(states: np.ndarray, refuses: np.ndarray, ridge: float) -> tuple[np.ndarray, float]:
    """Weights and bias for unscaled states; both kinds weigh the same."""
    try:
        from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - scoring is light
    except ImportError as error:
        raise MissingExtraError("fitting a guard", "eval") from error
    wide = states.astype(np.float64)
    centre, scale = wide.mean(axis=0), wide.std(axis=0) + 1e-6
    model = LogisticRegression(C=ridge, class_weight="balanced", max_iter=2000)
    model.fit((wide - centre) / scale, refuses)
    weights: np.ndarray = model.coef_[0] / scale
    return weights, float(model.intercept_[0] - weights @ centre)


def fit_control(
    rows: States, layers: Sequence[int], probe: LinearProbe, *, seed: int
) -> LinearProbe:
    """A probe on the same states, with the kinds of whole prompts exchanged at random."""
    known, first, place = np.unique(rows.prompts, return_index=True, return_inverse=True)
    drawn = rows.refuses[first][np.random.default_rng(seed).permutation(len(known))]
    states = rows.states[:, list(layers).index(probe.layer)]
    return LinearProbe(probe.layer, *fitted(states, drawn[place], probe.about["inverse_ridge"]))
