"""The functions of `sirl.guard`, for notebooks and scripts.

As in `sirl.workflows.notebook`, they take the settings of the command line as keywords and lists of
requests for files, and without `out` write to a temporary folder that is deleted with the result.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sirl.config import GuardCalibrateConfig, GuardEvaluateConfig
from sirl.reports.guard import guard_headline
from sirl.runs import Existing
from sirl.workflows.arguments import by_own_name
from sirl.workflows.guard import verbs
from sirl.workflows.notebook import AnyModel, Prompts, configured
from sirl.workflows.notebook_console import NotebookConsole
from sirl.workflows.results import Home, table

__all__ = ["CalibratedGuard", "Detection", "calibrate", "evaluate"]


@dataclass(frozen=True, repr=False)
class GuardResult:
    """Figures of a guard and its folder."""

    home: Home
    summary: Mapping[str, Any]
    """The content of `summary.json`."""

    def to_dict(self) -> dict[str, Any]:
        """All figures as JSON-compatible values, rates with n and interval."""
        return dict(self.summary)


@dataclass(frozen=True, repr=False)
class CalibratedGuard(GuardResult):
    """A guard of one model: what its probe was fitted on, its threshold, and what that means."""

    new_tokens: int
    """Tokens of an answer at most, of which the false-alarm rate holds."""

    @property
    def path(self) -> str:
        """The folder, as `sirl guard serve --guard` takes it; temporary unless `out` was given."""
        return str(self.home.path)

    def __repr__(self) -> str:
        """The threshold and the false-alarm rate."""
        return f"CalibratedGuard: {self.summary['sentence']}"

    def _repr_html_(self) -> str:
        """Threshold, openers and harmless answers as a table."""
        found = self.summary
        rows = [
            ("threshold", f"{found['threshold']:.2f}"),
            ("refusal openers", ", ".join(map(repr, found["openers"])) or "none"),
            *((f"{group} answers", str(n)) for group, n in found["n"].items()),
        ]
        return table([repr(self), f"folder: {self.path}"], (), rows)


@dataclass(frozen=True, repr=False)
class Detection(GuardResult):
    """What a guard detects, and its false alarms."""

    def __repr__(self) -> str:
        """Threshold and detection, and each rate with the guard off and on; all is in guard.md."""
        said, (_, rows) = guard_headline(self.summary)
        rates = [f"  {label}: {' -> '.join(cells)}" for label, *cells in rows]
        return "\n".join([f"Detection: {said[0]}", *(f"  {line}" for line in said[1:]), *rates])

    def _repr_html_(self) -> str:
        """The same as a table."""
        said, (head, rows) = guard_headline(self.summary)
        return table([*said, f"all tables: {self.home.path / 'guard.md'}"], head, rows)


def calibrate(
    model: AnyModel,
    *,
    prompts: Prompts | None = None,
    ordinary: Prompts | None = None,
    lookalikes: Prompts | None = None,
    out: str | Path | None = None,
    existing: Existing = "ask",
    **settings: Any,  # noqa: ANN401 - any setting of the verb
) -> CalibratedGuard:
    """Fit a guard to a model without labels and calibrate it; see `sirl guard calibrate`.

    Raises:
        SirlError: The caller can correct it.
    """
    asked = {"prompts": prompts, "ordinary": ordinary, "lookalikes": lookalikes}
    with configured(GuardCalibrateConfig, model, out, existing, {**settings, **asked}) as made:
        config, home = made
        summary = verbs.calibrate(config, existing, NotebookConsole())
        return CalibratedGuard(home, summary, config.new_tokens)


def evaluate(
    model: AnyModel,
    guard: CalibratedGuard | str | Path,
    *,
    behaviours: Prompts | None = None,
    ordinary: Prompts | None = None,
    lookalikes: Prompts | None = None,
    out: str | Path | None = None,
    existing: Existing = "ask",
    **settings: Any,  # noqa: ANN401 - any setting of the verb
) -> Detection:
    """Measure what a guard detects of attacks, and its false alarms; see `sirl guard evaluate`.

    Raises:
        SirlError: The caller can correct it.
    """
    asked = {"behaviours": behaviours, "ordinary": ordinary, "lookalikes": lookalikes}
    path = guard.path if isinstance(guard, CalibratedGuard) else str(guard)
    given = by_own_name({**settings, **asked, "guard": path})
    if isinstance(guard, CalibratedGuard) and given.get("new_tokens") is None:
        given["new_tokens"] = guard.new_tokens
    with configured(GuardEvaluateConfig, model, out, existing, given) as made:
        config, home = made
        return Detection(home, verbs.evaluate(config, existing, NotebookConsole()))
