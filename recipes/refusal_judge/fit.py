"""Fit the refusal judge and write `src/sirl/judges/refusal_model.json`.

    python recipes/refusal_judge/fit.py --xstest xstest_labelled.jsonl

The texts in this folder were written for this purpose and may be distributed. The XSTest labels
(CC-BY-4.0, arXiv 2308.01263) are used to fit the weights of fragments of those texts; fragments
that occur only in XSTest answers are dropped. All choices (fragments, trees, regularisation) were
made by cross-validation by request on these two sources; the held-out files are only for
testing.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from derived import Row, is_turned, rambles, shortened, spliced, swapped
from scipy.sparse import csr_matrix, hstack
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.preprocessing import StandardScaler, normalize
from sklearn.tree._tree import Tree

from sirl.judges.refusal_model import leanings, model_of, sentence_words, wording
from sirl.judges.rules import label_of
from sirl.judges.signs import Reading, read, signs

HERE = Path(__file__).parent
MODEL = HERE.parents[1] / "src" / "sirl" / "judges" / "refusal_model.json"
LEFT_OUT = ("change_subject",)
"""Kinds of texts left out of the fit: they are refusals only together with their request."""
TEXTS = (
    "refusals",
    "compliances",
    "short",
    "plain",
    "near",
    "more",
    "unusual",
    "indirect",
    "voices",
    "offers",
    "long",
)
NATURAL = ("natural", "bare")
"""Answers of a small model to ordinary prompts, and brief answers of our own."""
PLAIN = ("C", "E", "short", "manner", "near-miss")
"""Kinds of compliant texts without a refusal in them."""
FOLDS = 5
KEPT = (3000, 3000)
"""Fragments kept per block: those with the largest weights."""
STRENGTH, SENTENCES = 1.0, 3.0
"""Inverse regularisation strength for wording and for sentences."""
UNSURE = 0.8
"""Sentences of mixed answers with lower absolute log-odds are left out of the fit."""
TREES = {
    "n_estimators": 300,
    "learning_rate": 0.06,
    "max_depth": 3,
    "subsample": 0.5,
    "max_features": 0.2,
    "min_samples_leaf": 15,
}
SPOT, CLOSE = 20, 0.05
"""Interval of rows, and tolerance, for comparing the written model with the fitted one."""
XSTEST = {"declines": 6.0, "holds": 1.0}
"""Weight of an answer of XSTest, by question."""
BARE, OWN = 1.0, 0.5
"""Weights of the texts of `bare.jsonl` and of the others, which all occur twice."""
HUMAN = {
    "1_full_compliance": "compliance",
    "2_full_refusal": "refusal",
    "3_partial_refusal": "partial",
}

Words = Sequence[Sequence[str]]
"""The fragments of a text in each block."""


def rows_of(path: Path) -> list[Row]:
    """The rows of a JSONL file."""
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
    return [{**row, "file": path.stem} for row in rows if row.get("kind") not in LEFT_OUT]


def xstest_rows(path: Path) -> list[Row]:
    """XSTest answers with their human labels, renamed to ours."""
    return [
        {
            "request": r["prompt"],
            "beside": r["prompt"],
            "model": r["model"],
            "file": "xstest",
            "completion": r["completion"],
            "label": HUMAN[r["human_label"]],
        }
        for r in rows_of(path)
    ]


class Ridge:
    """L2-regularised logistic regression over the fragments with the largest weights.

    It is fitted twice: on all fragments to choose, and on the chosen ones. Each block of a row is
    normalised to length 1, as in `refusal_model.weigh`.
    """

    def __init__(self, found: Sequence[Words], known: np.ndarray, kept: Sequence[int]) -> None:
        """`known` marks the texts whose fragments may be distributed."""
        self.blocks = []
        for n in range(len(kept)):
            vector = CountVectorizer(analyzer=lambda f: f, min_df=3)
            vector.fit(f[n] for f, k in zip(found, known, strict=True) if k)
            self.blocks.append((vector.transform(f[n] for f in found), vector))
        self.kept = kept

    def fit(self, rows: np.ndarray, y: np.ndarray, weight: np.ndarray, strength: float) -> None:
        """Choose the fragments and fit their weights on some of the rows."""
        whole = hstack([normalize(block.astype(float)) for block, _ in self.blocks]).tocsr()
        model = LogisticRegression(C=strength, max_iter=1000)
        weights = model.fit(whole[rows], y[rows], sample_weight=weight[rows]).coef_[0]
        self.columns, start = [], 0
        for (block, _), kept in zip(self.blocks, self.kept, strict=True):
            size = np.abs(weights[start : start + block.shape[1]])
            self.columns.append(np.sort(np.argsort(-size, kind="stable")[:kept]))
            start += block.shape[1]
        self.model = LogisticRegression(C=strength, max_iter=1000)
        self.model.fit(self.matrix()[rows], y[rows], sample_weight=weight[rows])

    def matrix(self) -> csr_matrix:
        """The kept fragments of all rows."""
        parts = zip(self.blocks, self.columns, strict=True)
        found = hstack([normalize(block.astype(float)[:, c]) for (block, _), c in parts])
        return csr_matrix(found)

    def evidence(self) -> np.ndarray:
        """Log-odds of all rows."""
        return np.asarray(self.model.decision_function(self.matrix()))

    def written(self) -> Row:
        """The weights as a JSON document."""
        weights, start, blocks = self.model.coef_[0], 0, []
        for (_, vector), columns in zip(self.blocks, self.columns, strict=True):
            names = vector.get_feature_names_out()
            blocks.append(
                {str(names[c]): round(float(weights[start + n]), 3) for n, c in enumerate(columns)}
            )
            start += len(columns)
        return {"bias": round(float(self.model.intercept_[0]), 4), "blocks": blocks}


class Sentences:
    """Classifies sentences as part of a refusal or of an answer.

    Sentences have no labels. Those of a refusal are labelled as refusal, those of an ordinary
    answer as answer; those of mixed answers (turned or partial) get the confident predictions of
    the fit on the others.
    """

    def __init__(self, rows: Sequence[Row], readings: Sequence[Reading], own: np.ndarray) -> None:
        first = {row["completion"]: n for n, row in reversed(list(enumerate(rows)))}
        self.place = np.array([first[row["completion"]] for row in rows])
        texts = sorted(set(self.place))
        self.of = np.array([n for n in texts for _ in readings[n].sentences])
        self.readings = readings
        self.ridge = Ridge(
            [words for n in texts for words in sentence_words(readings[n])],
            own[self.of],
            (2 * KEPT[0], 100),
        )
        self.mixed = np.array([r["label"] == "partial" or is_turned(r) for r in rows])[self.of]
        self.y = np.array([r["label"] == "refusal" for r in rows])[self.of]
        self.weight = np.array([len(readings[n].sentences) ** -0.5 for n in self.of])

    def fit(self, rows: np.ndarray) -> None:
        """Fit on the sentences of some of the rows."""
        inside, y = rows[self.of], self.y.copy()
        chosen = inside & ~self.mixed
        for last in (False, False, True):
            self.ridge.fit(chosen, y, self.weight, SENTENCES)
            if not last:
                said = self.ridge.evidence()
                sure = inside & self.mixed & (np.abs(said) > UNSURE)
                y = np.where(sure, said > 0, y)
                chosen = inside & (~self.mixed | sure)

    def leanings(self) -> np.ndarray:
        """The sentence features (`leanings`) of all rows."""
        said, found = self.ridge.evidence(), {}
        for n in set(self.place):
            found[n] = leanings(self.readings[n], said[self.of == n].tolist())
        return np.array([found[n] for n in self.place])


def folds_of(rows: Sequence[Row]) -> np.ndarray:
    """Fold of each row; all answers to a request are in the same fold."""
    fold = np.zeros(len(rows), dtype=int)
    groups = [r["request"] for r in rows]
    for n, (_, inside) in enumerate(GroupKFold(FOLDS).split(groups, groups=groups)):
        fold[inside] = n
    return fold


class Fit:
    """All rows with their features, and the models of their wording."""

    def __init__(self, rows: Sequence[Row], own: np.ndarray) -> None:
        self.readings = [read(r["completion"], r["beside"]) for r in rows]
        labels = np.array([r["label"] for r in rows])
        self.y = {"declines": labels != "compliance", "holds": labels == "refusal"}
        weights = {name: {"bare": BARE, "xstest": XSTEST[name]} for name in self.y}
        self.weight = {
            name: np.array([of.get(r["file"], OWN) for r in rows]) for name, of in weights.items()
        }
        self.signs = np.array([list(signs(r).values()) for r in self.readings])
        words = [wording(r) for r in self.readings]
        self.wording = {name: Ridge(words, own, KEPT) for name in self.y}
        self.sentences = Sentences(rows, self.readings, own)

    def evidence(self, rows: np.ndarray) -> np.ndarray:
        """Wording and sentence features of all rows, from models fitted on some of them."""
        equal = np.ones(len(rows))
        for name, ridge in self.wording.items():
            ridge.fit(rows, self.y[name], equal, STRENGTH)
        self.sentences.fit(rows)
        said = [ridge.evidence() for ridge in self.wording.values()]
        return np.asarray(np.c_[np.array(said).T, self.sentences.leanings()])

    def numbers(self, fold: np.ndarray) -> np.ndarray:
        """Signs, wording and sentence features of each row, from fits on the other folds."""
        found = [(fold == n, self.evidence(fold != n)) for n in sorted(set(fold))]
        parts = [np.where(this[:, None], evidence, 0.0) for this, evidence in found]
        return np.asarray(np.c_[self.signs, np.sum(parts, axis=0)])

    def weighing(self, numbers: np.ndarray, name: str, rows: np.ndarray) -> "Weighed":
        """The trees and weights of one question, fitted on some of the rows."""
        return Weighed(numbers[rows], self.y[name][rows], self.weight[name][rows])

    def called(self, declines: np.ndarray, holds: np.ndarray) -> np.ndarray:
        """The judge's labels."""
        asked = zip(self.readings, declines, holds, strict=True)
        return np.array([label_of(r, float(share), float(whole)) for r, share, whole in asked])


class Weighed:
    """Boosted trees and a linear model on the same features."""

    def __init__(self, seen: np.ndarray, y: np.ndarray, weight: np.ndarray) -> None:
        self.trees = GradientBoostingClassifier(init="zero", random_state=0, **TREES)
        self.trees.fit(seen, y, sample_weight=weight)
        self.scale = StandardScaler().fit(seen)
        self.linear = LogisticRegression(C=0.1, max_iter=1000)
        self.linear.fit(self.scale.transform(seen), y, sample_weight=weight)

    def __call__(self, seen: np.ndarray) -> np.ndarray:
        """Probabilities."""
        linear = self.linear.decision_function(self.scale.transform(seen))
        both = (self.trees.decision_function(seen) + linear) / 2
        return np.asarray(1 / (1 + np.exp(-both)))

    def written(self) -> Row:
        """The trees as plain arrays, and the linear weights of unscaled features."""
        weights = self.linear.coef_[0] / self.scale.scale_
        bias = float(self.linear.intercept_[0] - weights @ self.scale.mean_)
        return {
            "trees": [written(e.tree_) for e in self.trees.estimators_[:, 0]],
            "weights": [round(float(w), 4) for w in weights],
            "bias": round(bias, 4),
        }


def written(tree: Tree) -> Row:
    """A tree as plain arrays in preorder, as the judge reads it."""
    leaf = tree.children_left < 0
    value = tree.value[:, 0, 0] * TREES["learning_rate"]
    return {
        "sign": np.where(leaf, -1, tree.feature).tolist(),
        "most": [round(float(v), 3) for v in np.where(leaf, value, tree.threshold)],
        "right": np.where(leaf, 0, tree.children_right).tolist(),
    }


def kappa(a: np.ndarray, b: np.ndarray) -> float:
    """Cohen's kappa of two yes/no judgements."""
    chance = a.mean() * b.mean() + (1 - a.mean()) * (1 - b.mean())
    return float(((a == b).mean() - chance) / (1 - chance))


def show(rows: Sequence[Row], called: np.ndarray) -> None:
    """Print cross-validated results by kind, and on XSTest.

    "all" are the texts of `TEXTS`; of `NATURAL`, the share that is called compliance, too.
    """
    right: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for row, said in zip(rows, called, strict=True):
        if row["file"] not in (*TEXTS, *NATURAL, "spliced") or row["again"]:
            continue
        label, turned = row["label"], is_turned(row)
        refused = label == "refusal"
        right[row["file"], "turned" if turned else label].append((said == "refusal") == refused)
        if row["file"] in NATURAL:
            right[f"{row['file']} as labelled", label].append(said == label)
            continue
        right["all", "turned" if turned else label].append((said == "refusal") == refused)
        right["all", "refusals" if refused else "others"].append((said == "refusal") == refused)
        if row["file"] in ("unusual", "indirect"):
            right[f"{row['file']}: {row['kind'].split()[0]}", label].append(
                (said == "refusal") == refused
            )
    for (file, kind), found in sorted(right.items()):
        print(f"  {file:20} {kind:11} {np.mean(found):.3f} of {len(found)}")
    for model in sorted({r["model"] for r in rows if "model" in r}) + [""]:
        pick = [n for n, r in enumerate(rows) if "model" in r and model in ("", r["model"])]
        human = np.array([rows[n]["label"] != "compliance" for n in pick])
        print(f"  XSTest {model or 'all'}: kappa {kappa(human, called[pick] != 'compliance'):.3f}")


def whole(fit: Fit, seen: np.ndarray) -> Row:
    """The model fitted on all rows; exits if its written form predicts otherwise."""
    everything = np.ones(len(seen), bool)
    numbers = np.c_[fit.signs, fit.evidence(everything)]
    weighed = {name: fit.weighing(seen, name, everything) for name in fit.y}
    found = {
        "signs": list(signs(fit.readings[0])),
        "linear": [r.written() for r in (*fit.wording.values(), fit.sentences.ridge)],
        **{name: this.written() for name, this in weighed.items()},
    }
    model = model_of(found)
    for n in range(0, len(seen), SPOT):
        fitted = [float(this(numbers[n : n + 1])[0]) for this in weighed.values()]
        if not np.allclose(model.shares(fit.readings[n]), fitted, atol=CLOSE):
            raise SystemExit(f"row {n}: the written model differs from the fitted one")
    return found


def main() -> None:
    """Fit, print the cross-validation, write the model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--xstest", type=Path, help="labelled XSTest answers (JSONL)", required=True
    )
    parser.add_argument("--check", action="store_true", help="only cross-validate")
    given = parser.parse_args()
    texts, natural, bare = (
        [row for name in names for row in rows_of(HERE / f"{name}.jsonl")]
        for names in (TEXTS, NATURAL[:1], NATURAL[1:])
    )
    plain = [r for r in texts if r["label"] == "compliance" and r["kind"].split(":")[0] in PLAIN]
    own = [*swapped(texts), *spliced([*texts, *natural]), *rambles(plain), *shortened(natural)]
    own += swapped(bare)
    rows = [*own, *xstest_rows(given.xstest)]
    fit = Fit(rows, np.arange(len(rows)) < len(own))
    fold = folds_of(rows)
    seen = fit.numbers(fold)
    shares = {name: np.zeros(len(rows)) for name in fit.y}
    for n in range(FOLDS):
        for name in fit.y:
            shares[name][fold == n] = fit.weighing(seen, name, fold != n)(seen[fold == n])
    print(f"cross-validated by request, {FOLDS} folds: share of refusals and of others right")
    show(rows, fit.called(**shares))
    if given.check:
        return
    found = whole(fit, seen)
    MODEL.write_text(json.dumps(found, ensure_ascii=True, separators=(",", ":")) + "\n")
    print(f"{MODEL}: {MODEL.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
