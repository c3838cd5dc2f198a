"""The plot of a sweep: defence against refusals of look-alikes, with a line through the steps."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from sirl.reports.figures import defence_name
from sirl.reports.figures import figure as value
from sirl.reports.plots import AFTER, BEFORE, INK, KINDS, WIDE, figure, legend_of_all, style, svg

__all__ = ["trade_curve"]

LINES = (("bare", "", "-", "o"), ("in disguises", "_disguised", "--", "s"))
"""Label, ending of the kind, dash and marker of each line."""
RINGS = (BEFORE, AFTER)


def trade_curve(
    rows: Sequence[Mapping[str, Any]], marks: Mapping[int, Sequence[str]], width: float = WIDE
) -> str:
    """Mean defence over refusals of look-alikes, with 95% intervals; a point per step.

    Args:
        rows: Figures by step, as `sirl.reports.sweep.step_rows` gives them.
        marks: The marks of a step.
        width: In inches.
    """
    kind = "lookalike" if any(value(r, "over_refusal", "lookalike") for r in rows) else "ordinary"
    drawn = figure(width, 4.4)
    axes = drawn.subplots()
    for label, ending, dash, marker in LINES:
        points = [(r, value(r, "over_refusal", kind + ending)) for r in rows]
        known = [(r["step"], r["dsr"], x) for r, x in points if x and x["n"] and r["dsr"]]
        if known:
            line(axes, known, (label, dash, marker, KINDS[kind]))
    ring(axes, rows, marks, kind)
    name = "look-alikes" if kind == "lookalike" else "ordinary prompts"
    axes.set_xlabel(f"{name} refused, %", fontsize=9)
    axes.set_ylabel(f"{defence_name(rows)}, %", fontsize=9, color=INK)
    axes.margins(0.08)
    style(axes)
    legend_of_all(drawn, axes, width)
    return svg(drawn, "Defence against refusals of harmless prompts, a line through the steps")


def line(
    axes: Axes,
    known: Sequence[tuple[int, Mapping[str, Any], Mapping[str, Any]]],
    look: tuple[str, str, str, str],
) -> None:
    """One line through the steps, each point with both intervals and its step."""
    label, dash, marker, colour = look
    across, up = [k[2] for k in known], [k[1] for k in known]
    xs, ys = ([100 * rate["value"] for rate in rates] for rates in (across, up))
    errors = [
        [
            [100 * max(0.0, r["value"] - r["low"]) for r in rates],
            [100 * max(0.0, r["high"] - r["value"]) for r in rates],
        ]
        for rates in (across, up)
    ]
    axes.errorbar(
        xs, ys, xerr=errors[0], yerr=errors[1], color=colour, linestyle=dash, marker=marker,
        markersize=5, linewidth=1.8, elinewidth=0.5, label=f"{label} (n = {known[0][2]['n']})",
    )  # fmt: skip
    for (step, _, _), x, y in zip(known, xs, ys, strict=True):
        axes.annotate(
            str(step), (x, y), xytext=(5, 5), textcoords="offset points", fontsize=9, color=INK
        )


def ring(
    axes: Axes, rows: Sequence[Mapping[str, Any]], marks: Mapping[int, Sequence[str]], kind: str
) -> None:
    """A ring around the bare point of each marked step."""
    for n, (step, said) in enumerate(marks.items()):
        row = next((r for r in rows if r["step"] == step), None)
        rate = value(row, "over_refusal", kind) if row else None
        if row and rate and row["dsr"]:
            axes.plot(
                [100 * rate["value"]], [100 * row["dsr"]["value"]], "o", markersize=14 + 4 * n,
                markerfacecolor="none", markeredgecolor=RINGS[n % 2], markeredgewidth=2,
                label=f"step {step}: {', '.join(said)}",
            )  # fmt: skip
