"""Mini-evaluations of a training run: defence and over-refusal by step."""

from collections.abc import Mapping, Sequence
from typing import Any

from sirl.reports.figures import cell, defence_name, figure
from sirl.reports.tables import Table
from sirl.reports.text import visible

__all__ = ["step_table"]

NOTE = (
    "Rates with 95% intervals. They do not choose the step, so that it is not tuned on what it is "
    "evaluated with; evaluate the step that you mean to deploy with sirl evaluate on other requests"
)


def step_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """One row per mini-evaluation; `rows` is `mini_evaluations` of a summary."""
    paths = {
        defence_name(rows): ("dsr", "mean"),
        "Ordinary refused": ("over_refusal", "ordinary"),
        "Look-alikes refused": ("over_refusal", "lookalike"),
    }
    disguised = {
        "Ordinary in disguises": ("over_refusal", "ordinary_disguised"),
        "Look-alikes in disguises": ("over_refusal", "lookalike_disguised"),
    }
    if any(figure(row, *path) for path in disguised.values() for row in rows):
        paths |= disguised
    cells = [
        (f"step {row['step']}", [*(cell(as_model(row), p) for p in paths.values()), place(row)])
        for row in rows
    ]
    note = f"{NOTE}{of_attacks(rows)}{of_pairs(rows)}{alarms(rows)}"
    return Table("Mini-evaluations by step", [*paths, "model"], cells, note)


def as_model(row: Mapping[str, Any]) -> dict[str, Any]:
    """A mini-evaluation in the format of a model's figures."""
    return {**row, "dsr": {"mean": row.get("dsr")}}


def place(row: Mapping[str, Any]) -> str:
    """The name of a row's checkpoint in the run's folder of checkpoints, or 'not saved'."""
    return visible(row["model"].rpartition("/checkpoints/")[2]) if row.get("model") else "not saved"


def of_attacks(rows: Sequence[Mapping[str, Any]]) -> str:
    """A note of the attacks, which may be fewer than those of the run's evaluations."""
    names = dict.fromkeys(name for row in rows for name in row.get("attacks", ()))
    if not names:
        return ""
    few = visible(", ".join(names))
    return f". Attacks here: {few}; the evaluations before and after training may use others"


def of_pairs(rows: Sequence[Mapping[str, Any]]) -> str:
    """A note that n counts (request, attack) pairs, if there are several attacks."""
    last = rows[-1] if rows else {}
    n, behaviours = (last.get("dsr") or {}).get("n", 0), last.get("behaviours", 0)
    if not behaviours or n <= behaviours:
        return ""
    return f". For the defence, n counts attacks on {behaviours} requests"


def alarms(rows: Sequence[Mapping[str, Any]]) -> str:
    """The steps whose answers a judge may mislabel; these answers are not kept."""
    doubted = [str(row["step"]) for row in rows if row.get("doubts")]
    if not doubted:
        return ""
    return (
        f". In doubt: the judge may mislabel some answers of step {', '.join(doubted)}, which are "
        "not kept; evaluate the step with sirl evaluate to read them"
    )
