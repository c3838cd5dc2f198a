"""The table of `sirl sweep`: one row per step, with marks and paired differences."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from sirl.reports.figures import cell, defence_name, figure, second_judge_rates
from sirl.reports.tables import Table
from sirl.reports.text import visible

__all__ = ["difference_table", "marks_of", "step_rows", "sweep_lines", "sweep_tables"]

NONE = "–"
Columns: TypeAlias = list[tuple[str, Sequence[str]]]
"""Name and path of each rate."""
MASS = ("First-token refusal mass", ("refusal_mass", "mean"))
DEFENCE = (("Worst attack", ("dsr", "worst")), ("Held under all attacks", ("dsr", "any")))
PRICES = (
    ("Look-alikes refused", ("over_refusal", "lookalike")),
    ("… in disguises", ("over_refusal", "lookalike_disguised")),
    ("Ordinary refused", ("over_refusal", "ordinary")),
    ("… in disguises", ("over_refusal", "ordinary_disguised")),
)
DIFFERENCES = (
    ("defence", ("dsr", "mean", "difference")),
    ("look-alikes refused", ("over_refusal", "lookalike", "difference")),
    ("look-alikes in disguises refused", ("over_refusal", "lookalike_disguised", "difference")),
    ("ordinary prompts refused", ("over_refusal", "ordinary", "difference")),
    ("ordinary prompts in disguises refused", ("over_refusal", "ordinary_disguised", "difference")),
)
NO_PAIRS = {"n": 0}
NOTE = (
    "Rates with 95% intervals over the same prompts at every step; differences to the starting "
    "model are paired by prompt and not corrected for the number of steps"
)


def models_of(summary: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Each step and its figures."""
    return [(row, summary["models"][row["name"]]) for row in summary["steps"]]


def marks_of(summary: Mapping[str, Any]) -> dict[int, list[str]]:
    """The marks of a step, by step."""
    named = {"recommended": "sentinel", "best": "best"}
    marks: dict[int, list[str]] = {}
    for key, words in named.items():
        if (step := figure(summary, key, "step")) is not None:
            marks.setdefault(step, []).append(words)
    return marks


def sweep_tables(summary: Mapping[str, Any]) -> list[Table]:
    """One row per step: defence with its paired change since the start, then price and tasks."""
    models = summary["models"]
    tasks = sorted({name for m in models.values() for name in m.get("capability", {})})
    defence: Columns = [
        (defence_name(models.values()), ("dsr", "mean")),
        *((label.partition(",")[0], path) for label, path in second_judge_rates(models)),
        MASS,
        *DEFENCE,
    ]
    price: Columns = [*PRICES, *((f"Solved: {name}", ("capability", name)) for name in tasks)]
    tables = [
        by_step(summary, "Defence by step", defence),
        by_step(summary, "Price and capability by step", price),
    ]
    changes = [change(row) for row in summary["steps"]]
    if set(changes) != {NONE}:
        first = tables[0]
        rows = [(n, [*c, more]) for (n, c), more in zip(first.rows, changes, strict=True)]
        header = [*first.header, "Mean, points from start"]
        tables[0] = Table(first.title, header, rows, NOTE)
    return [table for table in tables if table.header]


def by_step(summary: Mapping[str, Any], title: str, columns: Columns) -> Table:
    """A table of the rates that were measured."""
    found = models_of(summary)
    marks = marks_of(summary)
    asked = [(n, p) for n, p in columns if any(figure(m, *p) for _, m in found)]
    rows = [
        (
            ", ".join([f"step {row['step']}", *marks.get(row["step"], ())]),
            [rate(model, path) for _, path in asked],
        )
        for row, model in found
    ]
    header = [f"{name}, %{counted([m for _, m in found], path)}" for name, path in asked]
    return Table(title, header, rows)


def counted(models: Sequence[Mapping[str, Any]], path: Sequence[str]) -> str:
    """The number of trials of a rate, or their range over the steps."""
    ns = {rate["n"] for m in models if (rate := figure(m, *path))}
    return f" (n = {' to '.join(map(str, sorted({min(ns), max(ns)})))})"


def rate(model: Mapping[str, Any], path: Sequence[str]) -> str:
    """A rate in percent with its interval, marked as `cell` marks it; of the worst attack its name.

    >>> rate({"dsr": {"mean": {"value": 0.97, "low": 0.9, "high": 1.0, "n": 30}}}, ("dsr", "mean"))
    '97 (90 to 100)'
    """
    shown = re.sub(r"%|, n = \d+", "", cell(model, tuple(path)))
    attack = figure(model, *path, "attack")
    return f"{shown} {attack}" if attack else shown


def change(row: Mapping[str, Any]) -> str:
    """The paired change of the mean defence since the start; a dash without one."""
    found = figure(row, "difference", "dsr", "mean", "difference")
    return points(found) if found and found["n"] else NONE


def points(found: Mapping[str, Any]) -> str:
    """A difference in points with its interval.

    >>> points({"value": 0.31, "low": 0.2, "high": 0.4})
    '+31 (+20 to +40)'
    """
    value, low, high = (100 * found[key] for key in ("value", "low", "high"))
    return f"{value:+.0f} ({low:+.0f} to {high:+.0f})"


def difference_table(summary: Mapping[str, Any]) -> Table:
    """Paired differences of each step to the starting model, or why there are none.

    One column per quantity that a step has, in points with its interval.
    """
    steps = summary["steps"][1:]
    tasks = dict.fromkeys(n for row in steps for n in figure(row, "difference", "capability") or {})
    quantities: Columns = [
        *DIFFERENCES,
        *((f"{name} solved", ("capability", name, "difference")) for name in tasks),
    ]
    found = [
        {name: by for name, path in quantities if (by := figure(row, "difference", *path))}
        for row in steps
    ]
    header = [name for name, _ in quantities if any(by.get(name, NO_PAIRS)["n"] for by in found)]
    cells = [[points(by[name]) if name in by else NONE for name in header] for by in found]
    reasons = [visible(figure(row, "difference", "reason") or NONE) for row in steps]
    if set(reasons) - {NONE}:
        header = [*header, "not compared, since"]
        cells = [[*own, reason] for own, reason in zip(cells, reasons, strict=True)]
    rows = [(f"step {row['step']}", own) for row, own in zip(steps, cells, strict=True)]
    title = "Differences to the starting model, in points, paired by prompt"
    return Table(title, header, rows)


def step_rows(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The figures of each step in the form of mini-evaluations, for plots."""
    return [
        {
            **model,
            "step": row["step"],
            "dsr": figure(model, "dsr", "mean"),
            "entropy": {"ordinary": figure(model, "entropy", "ordinary")},
        }
        for row, model in models_of(summary)
    ]


def sweep_lines(summary: Mapping[str, Any]) -> list[str]:
    """The lines of `sweep.md`."""
    lines = [f"# Sweep of {visible(summary['source'])}", "", *summary["sentences"], ""]
    for table in (*sweep_tables(summary), difference_table(summary)):
        head = ["", *table.header]
        rows = [head, ["---"] * len(head), *([label, *cells] for label, cells in table.rows)]
        lines += [f"## {table.title}", "", *(f"{table.note}." for _ in [0] if table.note), ""]
        lines += [f"| {' | '.join(c.replace('|', '/') for c in row)} |" for row in rows]
        lines.append("")
    return [*lines, *(f"- step {row['step']}: {row['run']}" for row in summary["steps"])]
