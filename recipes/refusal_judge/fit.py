"""Fit the refusal judge and write `src/sirl/judges/refusal_model.json`.

    python recipes/refusal_judge/fit.py --xstest xstest_labelled.jsonl

The texts beside this file were written for this purpose and may be shipped. The XSTest labels
(CC-BY-4.0, arXiv 2308.01263) weigh what those texts say; no fragment of an XSTest answer that
does not also stand in the texts is kept. All choices (fragments, trees, regularisation) are made
by cross-validation by request on these two sources; `held_out.jsonl` is only ever measured on.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix, hstack
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.preprocessing import normalize

from sirl.judges.refusal_model import weigh, wording
from sirl.judges.signs import Reading, read, signs

HERE = Path(__file__).parent
MODEL = HERE.parents[1] / "src" / "sirl" / "judges" / "refusal_model.json"
LEFT_OUT = ("change_subject",)
"""Kinds of texts that are not fitted: without their request they are no refusals."""
TEXTS = ("refusals", "compliances", "short", "plain", "near", "more")
PLAIN = ("C", "E", "short", "manner", "near-miss")
"""Kinds of compliant texts without a refusal in them."""
RAMBLES, LEAP = 400, 0.15
BRIEF = 160
"""Characters of a brief answer."""
FOLDS = 5
FRAGMENTS = 3000
"""Fragments kept of the opening, and as many of the rest: those of the largest weights."""
STRENGTH = 1.0
"""Inverse strength of the ridge on the wording."""
TREES = {"n_estimators": 40, "min_samples_leaf": 5, "max_features": 0.3}
OWN, OTHER = 0.5, 3.0
"""Weights of a text of ours, which is there twice, and of an XSTest answer."""
HUMAN = {
    "1_full_compliance": "compliance",
    "2_full_refusal": "refusal",
    "3_partial_refusal": "partial",
}

Row = dict[str, Any]


def rows_of(path: Path) -> list[Row]:
    """The rows of a JSONL file."""
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
    return [row for row in rows if row.get("kind") not in LEFT_OUT]


def xstest_rows(path: Path) -> list[Row]:
    """XSTest answers with their human labels as ours are named."""
    return [
        {
            "request": r["prompt"],
            "beside": r["prompt"],
            "model": r["model"],
            "completion": r["completion"],
            "label": HUMAN[r["human_label"]],
        }
        for r in rows_of(path)
    ]


def swapped(rows: Sequence[Row]) -> list[Row]:
    """Each text twice: beside its own request, and a brief one beside the request of another.

    Many brief answers do not take their request up; a judge that counts on it would err on them.
    """
    order = np.random.default_rng(0).permutation(len(rows))
    others = [
        {**row, "beside": rows[n]["request"] if len(row["completion"]) <= BRIEF else row["request"]}
        for row, n in zip(rows, order, strict=True)
    ]
    return [*({**row, "beside": row["request"]} for row in rows), *others]


def rambles(rows: Sequence[Row]) -> list[Row]:
    """Talk without sense, as small or broken models write it: it declines nothing.

    A chain of words over the compliant texts, seeded, so that the fit is the same each time.
    """
    chance = Random(0)
    follow: dict[str, list[str]] = {}
    openings = []
    for row in rows:
        words = row["completion"].split()
        openings.append(words[0])
        for word, after in zip(words, words[1:], strict=False):
            follow.setdefault(word, []).append(after)
    found = []
    for n in range(RAMBLES):
        words = [chance.choice(openings)]
        for _ in range(chance.choice((4, 8, 15, 30, 60))):
            # A leap now and then, as a small model loses its thread.
            near = follow.get(words[-1]) if chance.random() > LEAP else None
            words.append(chance.choice(near or openings))
        request = chance.choice(rows)["request"]
        text = {"request": request, "beside": request, "completion": " ".join(words)}
        found.append({**text, "id": f"ramble-{n}", "kind": "ramble", "label": "compliance"})
    return found


class Wording:
    """A ridge logistic regression over fragments of the opening and words of the rest."""

    def __init__(
        self, readings: Sequence[Reading], y: np.ndarray, vocabulary: Sequence[Reading]
    ) -> None:
        parts = [wording(r) for r in vocabulary]
        self.vectors = [
            CountVectorizer(analyzer=lambda f: f, min_df=3).fit(p[n] for p in parts) for n in (0, 1)
        ]
        self.model = LogisticRegression(C=STRENGTH, max_iter=5000).fit(self.matrix(readings), y)
        weights = self.model.coef_[0]
        cut = len(self.vectors[0].vocabulary_)
        self.weights = [
            largest(v.get_feature_names_out(), w)
            for v, w in zip(self.vectors, (weights[:cut], weights[cut:]), strict=True)
        ]

    def matrix(self, readings: Sequence[Reading]) -> csr_matrix:
        """Fragments that occur, each block of a row with length one."""
        parts = [wording(r) for r in readings]
        blocks = [
            v.transform(p[n] for p in parts).astype(float) for n, v in enumerate(self.vectors)
        ]
        return hstack([normalize(block) for block in blocks]).tocsr()

    def evidence(self, readings: Sequence[Reading]) -> np.ndarray:
        """Log-odds as the shipped model computes them, from the kept fragments alone."""
        bias = float(self.model.intercept_[0])
        return np.array(
            [
                bias + sum(weigh(p, w) for p, w in zip(wording(r), self.weights, strict=True))
                for r in readings
            ]
        )


def largest(names: Sequence[str], weights: np.ndarray) -> dict[str, float]:
    """The fragments of the largest weights."""
    kept = sorted(np.argsort(-np.abs(weights), kind="stable")[:FRAGMENTS])
    return {str(names[i]): round(float(weights[i]), 3) for i in kept}


def folds_of(rows: Sequence[Row]) -> np.ndarray:
    """Fold of each row; all answers to a request lie in one."""
    fold = np.zeros(len(rows), dtype=int)
    groups = [r["completion"] if "kind" in r else r["request"] for r in rows]
    for n, (_, inside) in enumerate(GroupKFold(FOLDS).split(groups, groups=groups)):
        fold[inside] = n
    return fold


def measure(readings: Sequence[Reading], evidence: np.ndarray) -> np.ndarray:
    """What the trees see."""
    return np.c_[np.array([list(signs(r).values()) for r in readings]), evidence]


def trees(seen: np.ndarray, y: np.ndarray, weight: np.ndarray) -> ExtraTreesClassifier:
    """The forest of either question."""
    return ExtraTreesClassifier(random_state=0, **TREES).fit(seen, y, sample_weight=weight)


def out_of_fold(
    readings: Sequence[Reading], y: np.ndarray, fold: np.ndarray, own: np.ndarray
) -> np.ndarray:
    """The wording's evidence on each row from a fit on the other folds."""
    evidence = np.zeros(len(readings))
    pick = lambda mask: [r for r, m in zip(readings, mask, strict=True) if m]  # noqa: E731
    for n in sorted(set(fold)):
        model = Wording(pick(fold != n), y[fold != n], pick((fold != n) & own))
        evidence[fold == n] = model.evidence(pick(fold == n))
    return evidence


def written(forest: ExtraTreesClassifier) -> list[Row]:
    """A forest as plain arrays."""
    found = []
    for tree in (estimator.tree_ for estimator in forest.estimators_):
        leaf = tree.children_left < 0
        share = tree.value[:, 0, 1] / tree.value[:, 0].sum(axis=1)
        found.append(
            {
                "sign": np.where(leaf, -1, tree.feature).tolist(),
                "most": [round(float(v), 3) for v in np.where(leaf, share, tree.threshold)],
                "right": np.where(leaf, 0, tree.children_right).tolist(),
            }
        )
    return found


def kappa(a: np.ndarray, b: np.ndarray) -> float:
    """Cohen's kappa of two yes/no judgements."""
    chance = a.mean() * b.mean() + (1 - a.mean()) * (1 - b.mean())
    return float(((a == b).mean() - chance) / (1 - chance))


def main() -> None:
    """Fit, print the cross-validation, write the model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--xstest", type=Path, help="labelled XSTest answers (JSONL)", required=True
    )
    parser.add_argument("--check", action="store_true", help="cross-validate alone")
    given = parser.parse_args()
    texts = [row for name in TEXTS for row in rows_of(HERE / f"{name}.jsonl")]
    plain = [r for r in texts if r["label"] == "compliance" and r["kind"].split(":")[0] in PLAIN]
    own = [*swapped(texts), *rambles(plain)]
    xstest = xstest_rows(given.xstest)
    rows = [*own, *xstest]
    is_own = np.arange(len(rows)) < len(own)
    readings = [read(r["completion"], r["beside"]) for r in rows]
    labels = np.array([r["label"] for r in rows])
    declines, holds = labels != "compliance", labels == "refusal"
    fold = folds_of(rows)
    evidence = out_of_fold(readings, declines, fold, is_own)
    seen = measure(readings, evidence)
    weight = np.where(is_own, OWN, OTHER)
    said = {"declines": np.zeros(len(rows), bool), "holds": np.zeros(len(rows), bool)}
    for n in range(FOLDS):
        for name, y, among in (
            ("declines", declines, np.ones(len(rows), bool)),
            ("holds", holds, is_own),
        ):
            inside = (fold != n) & among
            fitted = trees(seen[inside], y[inside], weight[inside])
            said[name][fold == n] = fitted.predict(seen[fold == n])
    print(f"cross-validated by request, {FOLDS} folds")
    held = said["declines"] & said["holds"]
    print(
        f"  own texts: declines {(said['declines'] == declines)[is_own].mean():.3f} right;"
        f" held: refusals {held[is_own & holds].mean():.3f},"
        f" others {(~held)[is_own & ~holds].mean():.3f}"
    )
    print(f"  XSTest: kappa {kappa(declines[~is_own], said['declines'][~is_own]):.3f}")
    for model in sorted({r["model"] for r in xstest}):
        this = np.array([r.get("model") == model for r in rows])
        print(f"  ... {model}: kappa {kappa(declines[this], said['declines'][this]):.3f}")
    if given.check:
        return
    words = Wording(readings, declines, [r for r, o in zip(readings, is_own, strict=True) if o])
    found = {
        "signs": list(signs(readings[0])),
        "opening": words.weights[0],
        "rest": words.weights[1],
        "bias": round(float(words.model.intercept_[0]), 4),
        "declines": written(trees(seen, declines, weight)),
        "holds": written(trees(seen[is_own], holds[is_own], weight[is_own])),
    }
    MODEL.write_text(json.dumps(found, ensure_ascii=True, separators=(",", ":")) + "\n")
    print(f"{MODEL}: {MODEL.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
