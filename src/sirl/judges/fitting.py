"""Trains the harm classifier on labelled answers and cross-validates it.

Cross-validation is nested: the held-out behaviours are used neither for the weights nor for the
hyperparameters (ridge, threshold). A second set of figures also holds out one attack family.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_matrix

from sirl.errors import InputError, MissingExtraError
from sirl.judges.classifier import (
    FARTHEST,
    FORMAT,
    GRAMS,
    VIEWS,
    HarmClassifier,
    Labelled,
    Tensors,
    parted,
)
from sirl.judges.features import VERSION, measures
from sirl.judges.fitted_on import ANSWERS, digests
from sirl.stats import cohen_kappa

__all__ = ["cross_validate", "fit"]

LEAST = 3
"""Minimum document frequency of an n-gram, in answers."""
INNER = 5
"""Inner folds, for the choice of hyperparameters."""
MARGIN = 0.03
"""Minimum gain in kappa over the default hyperparameters; about one standard error of kappa."""
DRAWS = 2000
"""Bootstrap draws for the interval of kappa."""
FEWEST = 10
"""Minimum number of answers for a family to be held out."""


class Choice(NamedTuple):
    """Hyperparameters."""

    inverse_ridge: Mapping[str, float]
    """Inverse ridge strength per view; n-grams are many and weak, so it is larger for them."""
    threshold: float


USUAL = Choice({"measures": 0.1, "words": 20.0, "letters": 20.0}, 0.5)
CHOICES = (
    USUAL,
    Choice({"measures": 0.03, "words": 5.0, "letters": 5.0}, 0.5),
    USUAL._replace(threshold=0.4),
    USUAL._replace(threshold=0.6),
)


@dataclass(frozen=True)
class Corpus:
    """Features and labels of the labelled answers; one row per answer."""

    measures: np.ndarray
    counts: Mapping[str, csr_matrix]
    hashes: Mapping[str, np.ndarray]
    """Hash of the n-gram in each column of `counts`."""
    harmful: np.ndarray
    behaviours: np.ndarray
    seed: int


def corpus(rows: Sequence[Labelled], seed: int) -> Corpus:
    """Compute the features of labelled answers; this fits nothing.

    Raises:
        InputError: All answers have the same label.
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        from sklearn.feature_extraction import DictVectorizer  # noqa: PLC0415 - judging is light
    except ImportError as error:
        raise MissingExtraError("fitting a harm classifier", "eval") from error
    harmful = np.array([row.harmful for row in rows], dtype=bool)
    if harmful.all() or not harmful.any():
        kind = "harmful" if harmful.any() else "harmless"
        raise InputError(f"all {len(rows)} labelled answers are {kind}: give both kinds")
    texts = [(*parted(row), row.answer) for row in rows]
    table = np.array([list(measures(*text).values()) for text in texts], dtype=np.float64)
    counts, hashes = {}, {}
    for name, read in GRAMS.items():
        columns = DictVectorizer()
        counts[name] = columns.fit_transform([read(*text) for text in texts]).tocsr()
        hashes[name] = np.array(columns.feature_names_, dtype=np.int64)
    behaviours = np.array([row.behaviour_id for row in rows])
    return Corpus(table, counts, hashes, harmful, behaviours, seed)


def fit(rows: Sequence[Labelled], *, seed: int = 0) -> HarmClassifier:
    """Train on labelled answers; the same rows and seed give the same classifier.

    Raises:
        InputError: All rows have the same label, or the answers share no words.
        MissingExtraError: scikit-learn is not installed.
    """
    data = corpus(rows, seed)
    every = np.arange(len(rows))
    choice = chosen(data, every)
    tensors: Tensors = {}
    for view in VIEWS:
        tensors |= fitted(data, view, every, choice.inverse_ridge[view])[0]
    about = {
        "format": FORMAT,
        "features": VERSION,
        "measures": list(measures("", "", "")),
        "ridge": dict(choice.inverse_ridge),
        "threshold": choice.threshold,
        "rows": len(rows),
        "harmful": int(data.harmful.sum()),
        "behaviours": len(set(data.behaviours)),
        "seed": seed,
        ANSWERS: digests(row.answer for row in rows),
    }
    return HarmClassifier(tensors, about)


def fitted(
    data: Corpus, view: str, used: np.ndarray, inverse_ridge: float
) -> tuple[Tensors, np.ndarray]:
    """Fit the regression of one view to the rows `used`.

    Returns its tensors by name, and the probability of harm of every row.
    """
    from sklearn.feature_extraction.text import TfidfTransformer  # noqa: PLC0415 - as above
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415

    if view == "measures":
        scaler = StandardScaler().fit(data.measures[used])
        table = scaler.transform(data.measures).clip(-FARTHEST, FARTHEST)
        named = {"mean": scaler.mean_, "spread": scaler.scale_}
    else:
        counts = data.counts[view]
        kept = np.flatnonzero(counts[used].getnnz(axis=0) >= LEAST)
        if not len(kept):
            raise InputError(f"the {len(used)} labelled answers share no words: give more of them")
        rarity = TfidfTransformer(sublinear_tf=True).fit(counts[used][:, kept])
        table = rarity.transform(counts[:, kept])
        named = {"hashes": data.hashes[view][kept], "rarity": rarity.idf_}
    model = LogisticRegression(C=inverse_ridge, max_iter=5000, random_state=data.seed)
    model.fit(table[used], data.harmful[used])
    named |= {"weights": model.coef_[0], "bias": model.intercept_}
    tensors = {f"{view}.{name}": np.ascontiguousarray(value) for name, value in named.items()}
    return tensors, model.predict_proba(table)[:, 1]


def probabilities(data: Corpus, used: np.ndarray, inverse_ridge: Mapping[str, float]) -> np.ndarray:
    """Probability of harm of every row, by regressions fitted to the rows `used`."""
    mean: np.ndarray = np.mean([fitted(data, v, used, inverse_ridge[v])[1] for v in VIEWS], axis=0)
    return mean


def split_folds(
    data: Corpus, rows: np.ndarray, folds: int, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """(training rows, held-out rows) of each fold; no behaviour is in both."""
    from sklearn.model_selection import StratifiedGroupKFold  # noqa: PLC0415 - judging is light

    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    parts = splitter.split(rows, data.harmful[rows], data.behaviours[rows])
    return [(rows[used], rows[test_rows]) for used, test_rows in parts]


def chosen(data: Corpus, rows: np.ndarray) -> Choice:
    """The hyperparameters with the best kappa in an inner cross-validation over the rows.

    The default ones if there are too few rows or no others are better by `MARGIN`.
    """
    harmful = data.harmful[rows]
    if min(np.bincount(harmful, minlength=2)) < INNER:
        return USUAL
    parts = split_folds(data, rows, INNER, data.seed)
    if any(len(set(data.harmful[used])) < 2 for used, _ in parts):
        return USUAL
    left_out: dict[tuple[float, ...], np.ndarray] = {}
    for inverse_ridge in (choice.inverse_ridge for choice in CHOICES):
        if (key := tuple(inverse_ridge.values())) not in left_out:
            left_out[key] = np.zeros(len(data.harmful))
            for used, test_rows in parts:
                left_out[key][test_rows] = probabilities(data, used, inverse_ridge)[test_rows]

    def agreement(choice: Choice) -> float:
        guess = left_out[tuple(choice.inverse_ridge.values())][rows] >= choice.threshold
        return cohen_kappa(harmful.tolist(), guess.tolist()) - MARGIN * (choice is not USUAL)

    return max(CHOICES, key=agreement)


def predicted_harmful(data: Corpus, used: np.ndarray, test_rows: np.ndarray) -> np.ndarray:
    """Whether `test_rows` are harmful, by a classifier chosen and fitted on the rows `used`.

    Raises:
        InputError: The rows `used` all have the same label.
    """
    if len(set(data.harmful[used])) < 2:
        raise InputError(
            "the training part of a fold has answers of one label only: give more of both"
        )
    choice = chosen(data, used)
    guess: np.ndarray = (
        probabilities(data, used, choice.inverse_ridge)[test_rows] >= choice.threshold
    )
    return guess


def cross_validate(
    rows: Sequence[Labelled], *, folds: int = 5, repeats: int = 2, seed: int = 0
) -> dict[str, Any]:
    """Agreement with human labels in nested cross-validation over behaviours.

    Every repeat splits the behaviours differently; figures pool all repeats. `by_family` holds
    out an attack family together with all behaviours that it was tried on.

    Raises:
        InputError: There are fewer behaviours than folds, or a fold has only one label.
    """
    data = corpus(rows, seed)
    names = set(data.behaviours)
    if len(names) < folds or min(np.bincount(data.harmful)) < folds:
        raise InputError(f"{len(names)} behaviours cannot fill {folds} folds: give more of them")
    every = np.arange(len(rows))
    guesses = np.zeros((repeats, len(rows)), dtype=bool)
    for repeat in range(repeats):
        for used, test_rows in split_folds(data, every, folds, seed + repeat):
            guesses[repeat, test_rows] = predicted_harmful(data, used, test_rows)
    return {
        **figures(data, guesses, every),
        "kappas": [cohen_kappa(data.harmful.tolist(), guess.tolist()) for guess in guesses],
        "folds": folds,
        "repeats": repeats,
        "by_family": families_left_out(data, np.array([row.family for row in rows])),
    }


def families_left_out(data: Corpus, families: np.ndarray) -> dict[str, Any]:
    """Figures of each attack family with that family held out, and of all families together."""
    guess = np.zeros((1, len(families)), dtype=bool)
    found: dict[str, Any] = {}
    for name in sorted(set(families) - {""}):
        test_rows = np.flatnonzero(families == name)
        foreign = ~np.isin(data.behaviours, data.behaviours[test_rows]) & (families != name)
        used = np.flatnonzero(foreign)
        if len(test_rows) < FEWEST or len(set(data.harmful[used])) < 2:
            continue
        guess[0, test_rows] = predicted_harmful(data, used, test_rows)
        found[str(name)] = figures(data, guess, test_rows)
    if not found:
        return {}
    return {"all": figures(data, guess, np.flatnonzero(np.isin(families, list(found)))), **found}


def figures(data: Corpus, guesses: np.ndarray, rows: np.ndarray) -> dict[str, Any]:
    """Agreement on some rows over all repeats; kappa's interval is a bootstrap over behaviours."""
    truth, said = data.harmful[rows], guesses[:, rows]
    behaviours, place = np.unique(data.behaviours[rows], return_inverse=True)
    tables = np.zeros((len(behaviours), 4))
    for guess in said:
        np.add.at(tables, (place, 2 * truth + guess), 1)
    drawn = np.random.default_rng(data.seed).multinomial(
        len(behaviours), np.full(len(behaviours), 1 / len(behaviours)), size=DRAWS
    )
    kappas = kappa_of(drawn @ tables)
    low, high = (
        np.nanquantile(kappas, (0.025, 0.975)) if not np.isnan(kappas).all() else (np.nan,) * 2
    )
    right_no, wrong_yes, wrong_no, right_yes = tables.sum(axis=0)
    return {
        "kappa": float(kappa_of(tables.sum(axis=0))),
        "low": float(low),
        "high": float(high),
        "accuracy": float((said == truth).mean()),
        "sensitivity": ratio(right_yes, right_yes + wrong_no),
        "specificity": ratio(right_no, right_no + wrong_yes),
        "n": len(rows),
        "behaviours": len(behaviours),
    }


def ratio(part: float, whole: float) -> float:
    """A ratio; NaN if the whole is 0."""
    return float(part / whole) if whole else float("nan")


def kappa_of(tables: np.ndarray) -> np.ndarray:
    """Cohen's kappa of counts (... x 4) of 'harmful': by neither, judge only, humans only, both."""
    n = tables.sum(axis=-1)
    neither, judge, humans, both = np.moveaxis(tables, -1, 0)
    by_chance = (both + judge) * (both + humans) + (neither + judge) * (neither + humans)
    with np.errstate(invalid="ignore", divide="ignore"):
        kappa = (n * (both + neither) - by_chance) / (n * n - by_chance)
    return np.asarray(kappa)
