"""Typed results of `import sirl`, which notebooks show as tables."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any
from weakref import finalize

from sirl.analysis.measured import in_words
from sirl.evaluation.records import read_records
from sirl.reports.figures import UNMEASURED, rate_rows
from sirl.reports.tables import change_rows
from sirl.reports.text import visible
from sirl.runs import RunReader
from sirl.stats import Rate
from sirl.types import Completion, Record
from sirl.workflows.report import advises_against, outcome

__all__ = ["Comparison", "Evaluation", "Home", "Model", "Training"]


@dataclass(unsafe_hash=True)
class Home:
    """The folder of a result."""

    path: Path
    removal: "finalize[..., Home] | None" = field(default=None, repr=False, compare=False)
    """Deletes a temporary folder when the object is collected."""

    @classmethod
    def temporary(cls, name: str = "") -> "Home":
        """A temporary folder, or a new path in one; deleted when the object is collected."""
        root = mkdtemp(prefix="sirl-")
        home = cls(Path(root, name))
        home.removal = finalize(home, rmtree, root, ignore_errors=True)
        return home

    def keep(self) -> None:
        """Leave a temporary folder on the disk."""
        if self.removal:
            self.removal.detach()


@dataclass(frozen=True)
class Model:
    """A chat model, identified by its checkpoint."""

    path: str
    """Folder, hub id, `embedded`, or the address of an endpoint."""
    home: Home | None = field(default=None, repr=False)

    def ask(self, *requests: str, new_tokens: int = 64, seed: int = 0) -> list[Completion]:
        """Sample an answer to each request at temperature 1, with entropies in nats.

        Raises:
            MissingExtraError: The packages that run models are not installed.
            ModelError: The model cannot be loaded, or its context cannot hold a request.
        """
        from sirl.workflows.notebook import sampled  # noqa: PLC0415 - it needs torch

        return sampled(self.path, requests, new_tokens=new_tokens, seed=seed)


@dataclass(frozen=True, repr=False)
class Result:
    """Figures of a run and its folder."""

    home: Home
    summary: Mapping[str, Any]
    """The content of `summary.json`."""

    def to_dict(self) -> dict[str, Any]:
        """All figures as JSON-compatible values, each with n and interval."""
        return dict(self.summary)

    @property
    def records(self) -> Sequence[Record]:
        """Every answer, with its verdict and its entropies."""
        return read_records(RunReader(self.home.path))

    @property
    def doubts(self) -> list[str]:
        """Reasons to doubt the figures, in sentences; empty if there are none."""
        models = self.summary["models"].values()
        said = (alarm["says"] for model in models for alarm in model.get("doubts", ()))
        return list(dict.fromkeys([*self.summary.get("judge_faults", ()), *said]))

    @property
    def sentences(self) -> list[str]:
        """Findings in sentences; none by default."""
        return []

    def __repr__(self) -> str:
        """The headline figures, one per line, with a column per model, and findings."""
        what, models = self.summary["measured"], self.summary["models"]
        names = [visible(what["names"][role]) for role in models] or [visible(what["model"])]
        rows = [f"{label}: {' -> '.join(cells)}" for label, cells in rate_rows(models)]
        said = [f"  {line}" for line in (*rows, *self.sentences)]
        return "\n".join([f"{type(self).__name__} of {' -> '.join(names)}", *said])

    def _repr_html_(self) -> str:
        """The headline table, with a caption that says what was measured."""
        models, what = self.summary["models"], self.summary["measured"]
        said = [f"{heading}: {words}" for heading, words in in_words(what).items()]
        head = ["", *(what["names"][role] for role in models)]
        rows = [(label, *cells) for label, cells in rate_rows(models)]
        return table([*self.sentences, *self.doubts, *said], head, rows)


@dataclass(frozen=True, repr=False)
class Evaluation(Result):
    """The figures of one model."""

    @property
    def figures(self) -> Mapping[str, Any]:
        """All figures of the model, by part."""
        found: Mapping[str, Any] = self.summary["models"]["target"]
        return found

    @property
    def sentences(self) -> list[str]:
        """What the entropy gap says, and how the model's own refusals tell unsafe from harmless."""
        found = (self.figures.get(part, {}) for part in ("entropy", "own_refusals"))
        return [figures["sentence"] for figures in found if "sentence" in figures]

    @property
    def defence(self) -> Rate | None:
        """Defence success rate, mean over attacks; None if no attack was tried."""
        found = self.figures.get("dsr", {}).get("mean")
        return rate_of(found) if found else None

    @property
    def over_refusal(self) -> dict[str, Rate]:
        """Share of harmless prompts refused, by kind; only kinds that were asked."""
        return {kind: rate_of(r) for kind, r in self.figures.get("over_refusal", {}).items()}

    @property
    def capability(self) -> dict[str, Rate]:
        """Share of tasks solved, by benchmark."""
        return {name: rate_of(r) for name, r in self.figures.get("capability", {}).items()}

    @property
    def entropy(self) -> Mapping[str, Any]:
        """Mean entropies (nats) of refusals and compliance, and the gap between them."""
        found: Mapping[str, Any] = self.figures.get("entropy", {})
        return found


@dataclass(frozen=True, repr=False)
class Training(Result):
    """A hardened model, with the figures before and after training."""

    metrics: Sequence[Mapping[str, Any]] = ()
    """A row per step: reward, entropy, KL, loss, seconds."""

    @property
    def sentences(self) -> list[str]:
        """What the sentinel recommends, why training ended early, and what was not measured."""
        said = outcome(self.summary)
        return said if self.summary["models"] else [*said, UNMEASURED]

    @property
    def model(self) -> Model:
        """The model after the chosen step, which `summary.json` names.

        Warns if the sentinel advises to keep the starting model.
        """
        if advises_against(self.summary):
            warnings.warn(self.summary["sentinel"]["sentence"], stacklevel=2)
        return Model(str(self.summary["checkpoint"]), self.home)


@dataclass(frozen=True, repr=False)
class Comparison:
    """Paired differences between two models, with tests."""

    changes: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """All changes, with intervals and tests."""
        return dict(self.changes)

    def __repr__(self) -> str:
        return "\n".join(change_rows(self.changes))

    def _repr_html_(self) -> str:
        """The changes as a table."""
        said, *rows = [line.strip().partition(": ") for line in change_rows(self.changes)]
        return table([said[0]], (), [(name, by) for name, _, by in rows])


def rate_of(figures: Mapping[str, Any]) -> Rate:
    """A rate from its figures."""
    return Rate(figures["value"], figures["low"], figures["high"], figures["n"])


def shown(text: str) -> str:
    """Escape a text that may come from a model."""
    return escape(visible(text))


def table(said: Iterable[str], head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in HTML; its caption has a line per sentence, a row begins with its label."""
    heads = "".join(f"<th>{shown(name)}</th>" for name in head)
    above = f"<thead><tr>{heads}</tr></thead>" if head else ""
    body = "".join(
        f"<tr><th>{shown(label)}</th>{''.join(f'<td>{shown(cell)}</td>' for cell in cells)}</tr>"
        for label, *cells in rows
    )
    caption = "<br>".join(map(shown, said))
    return f"<table><caption>{caption}</caption>{above}<tbody>{body}</tbody></table>"
