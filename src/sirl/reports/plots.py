"""Plots as SVG text: bars per attack, entropy histograms, training curves.

Each plot is drawn at two widths in inches, for desktops and for phones, so that text keeps its
size. Models, kinds of answers and benchmarks have the same colours in all plots. Colours
are CSS variables of the page, so plots follow light and dark mode; they are Okabe and Ito's
colour-blind-safe palette. The same data gives the same bytes.
"""

import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sirl.reports.figures import defence_name
from sirl.reports.figures import figure as value

__all__ = [
    "NARROW",
    "WIDE",
    "attack_bars",
    "budget_curves",
    "entropy_histograms",
    "measured_curves",
    "mini_eval_curves",
    "training_curves",
]

WIDE, NARROW = 8.2, 4.0
"""Widths of a plot in inches, for desktops and for phones."""
INK, SOFT, BEFORE, AFTER, THIRD = "#010101", "#020202", "#030303", "#040404", "#050505"
PAPER = "#0a0a0a"
MODELS = (BEFORE, AFTER, THIRD)
KINDS = {
    "refusal": "#060606",
    "compliance": "#070707",
    "ordinary": "#080808",
    "lookalike": "#090909",
}
"""Kinds of answers."""
TASKS = ("#0b0b0b", "#0c0c0c", "#0d0d0d")
"""Benchmarks."""
MARKS = ("o", "s", "^", "D", "v")
"""With three colours and four dashes, 60 lines differ from each other."""
VARIABLES = {
    INK: "var(--ink)",
    SOFT: "var(--soft)",
    PAPER: "var(--paper)",
    **{colour: f"var(--task{n})" for n, colour in enumerate(TASKS)},
    BEFORE: "var(--before)",
    AFTER: "var(--after)",
    THIRD: "var(--third)",
    **{colour: f"var(--{kind})" for kind, colour in KINDS.items()},
}
"""Placeholder colours for matplotlib and the CSS variables that replace them."""
LONGEST_NAME = 36
"""Maximum characters of a model's name in a plot."""
ROOM = 1.6
"""Height of a panel relative to its highest bar; the rest is for the legend."""
DASHES = ("-", "--", ":", "-.")
CURVES = (
    ("reward/mean", "reward"),
    ("entropy/mean", "mean token entropy (nats)"),
    ("kl/reference", "KL to the starting model (nats)"),
    ("completion/length", "length (tokens)"),
    ("points/mass_refused", "refusal mass where the start refuses"),
    ("points/mass_answered", "refusal mass where the start answers"),
    ("sentinel/gain", "sentinel: own refusals kept in disguises"),
    ("sentinel/price", "sentinel: own answers refused in disguises"),
    ("sentinel/drift", "sentinel: drift on general tasks (nats per token)"),
    ("sentinel/information", "sentinel: prompt-answer information (nats)"),
)
"""Metrics of a training run that are drawn where they were measured, each in a panel."""
SHARES = ("points/", "sentinel/gain", "sentinel/price")
"""Beginnings of the names of those from 0 to 1."""


def figure(width: float, height: float) -> Figure:
    """An empty figure in inches."""
    return Figure(figsize=(width, height), layout="constrained")


def style(axes: Axes) -> None:
    """Apply the style of all plots."""
    axes.set_facecolor("none")
    axes.tick_params(colors=INK, labelsize=9)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(SOFT)
    axes.xaxis.label.set_color(INK)


def svg(drawn: Figure, label: str) -> str:
    """The figure as an SVG element with CSS colours and an aria-label."""
    file = io.StringIO()
    drawn.patch.set_alpha(0)
    with matplotlib.rc_context({"svg.hashsalt": "sirl", "svg.fonttype": "none"}):
        place_once(drawn)
        drawn.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    # Inline styles would violate the page's content security policy.
    text = re.sub(r"<(metadata|style)\b.*?</\1>", "", text, flags=re.DOTALL)
    text = re.sub(r'style="([^"]*)"', lambda found: attributes(found[1]), text)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, variable)
    return text.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)


def place_once(drawn: Figure) -> None:
    """Lay the panels out now; `savefig` would draw all of a figure once more for its layout."""
    FigureCanvasSVG(drawn)  # texts are measured as SVG writes them
    for axis in (axis for axes in drawn.axes for axis in (axes.xaxis, axes.yaxis)):
        if not axis.label.get_text():  # all ticks would be measured to place nothing
            axis.set_label_coords(0, 0)
    engine = drawn.get_layout_engine()
    if engine:
        engine.execute(drawn)
    drawn.set_layout_engine(None)


def attributes(style: str) -> str:
    """The declarations of a style as attributes, without the font family.

    >>> attributes("fill: none; stroke: var(--ink); font-family: Arial")
    'fill="none" stroke="var(--ink)"'
    """
    pairs = (declaration.split(":", 1) for declaration in style.split(";"))
    return " ".join(f'{k.strip()}="{v.strip()}"' for k, v in pairs if k.strip() != "font-family")


def attack_bars(
    models: Mapping[str, Mapping[str, Any]], unseen: frozenset[str], width: float = WIDE
) -> str:
    """Defence success per attack with 95% intervals, in the order of the summary."""
    rates = {name: m["dsr"]["by_attack"] for name, m in models.items()}
    attacks = list(next(iter(rates.values())))
    drawn = figure(width, 0.9 + 0.30 * len(attacks) + 0.2 * (len(rates) if width < WIDE else 1))
    axes = drawn.subplots()
    thick = 0.8 / len(rates)
    for n, (name, by_attack) in enumerate(rates.items()):
        for place, attack in enumerate(attacks):
            rate = by_attack.get(attack)
            if rate and rate["n"]:
                bar(axes, place + (n - (len(rates) - 1) / 2) * thick, thick, rate, n)
        axes.barh([-9], [0], color=MODELS[n % 3], label=short(name))
    axes.set_yticks(range(len(attacks)))
    axes.set_yticklabels([f"{a} *" if a in unseen else a for a in attacks])
    axes.set_ylim(len(attacks) - 0.4, -0.6)
    axes.set_xlim(0, 100)
    star = "\n* never seen in alignment" if unseen.intersection(attacks) else ""
    axes.set_xlabel(f"{defence_name(models.values())}, %{star}", fontsize=9)
    style(axes)
    legend_of_all(drawn, axes, width)
    return svg(drawn, "Defence success per attack with 95% intervals")


def bar(axes: Axes, place: float, thick: float, rate: Mapping[str, Any], n: int) -> None:
    """One bar with its interval."""
    value, low, high = (100 * rate[key] for key in ("value", "low", "high"))
    axes.barh([place], [value], thick * 0.92, color=MODELS[n % 3])
    for colour, wide in ((PAPER, 3.2), (INK, 1.2)):  # the outline keeps it visible on the bar
        axes.plot([low, high], [place, place], color=colour, linewidth=wide)


def legend(axes: Axes, columns: int = 3, *, inside: bool = False) -> None:
    """A legend above the axes, or inside them where they are mostly empty."""
    place = {"loc": "upper right"} if inside else {"loc": "lower left", "bbox_to_anchor": (0, 1)}
    shown = axes.legend(**place, ncols=columns, frameon=False, fontsize=9)
    for text in shown.get_texts():
        text.set_color(INK)


def legend_of_all(drawn: Figure, axes: Axes, width: float) -> None:
    """A legend above all panels, as wide as the figure."""
    shown = drawn.legend(
        *axes.get_legend_handles_labels(),
        loc="outside upper left",
        ncols=2 if width == WIDE else 1,
        frameon=False,
        fontsize=9,
    )
    for text in shown.get_texts():
        text.set_color(INK)


def short(name: str) -> str:
    """The end of a name that is too long for a plot; the end identifies a checkpoint.

    >>> short("runs/a-long-name-of-a-run/checkpoints/step-000030")
    '…me-of-a-run/checkpoints/step-000030'
    """
    return name if len(name) <= LONGEST_NAME else f"…{name[1 - LONGEST_NAME :]}"


def entropy_histograms(
    entropies: Mapping[str, Mapping[str, Sequence[float]]], width: float = WIDE
) -> str:
    """Mean token entropy of refusals, compliance and ordinary answers, a panel per model."""
    finite = {
        model: {kind: [x for x in xs if math.isfinite(x)] for kind, xs in kinds.items()}
        for model, kinds in entropies.items()
    }
    everything = [x for kinds in finite.values() for xs in kinds.values() for x in xs]
    high = max(everything, default=1.0) * 1.02 or 1.0
    bins = [high * i / 36 for i in range(37)]
    drawn = figure(width, 1.0 + 1.9 * len(finite))
    panels = drawn.subplots(len(finite), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (model, kinds) in zip(panels, finite.items(), strict=True):
        for kind, values in kinds.items():
            if values:
                shares = 100 * np.histogram(values, bins)[0] / len(values)
                label = f"{kind} (n = {len(values)})"
                # One shape for all bins: `hist` would lay out and write a rectangle for each.
                axes.stairs(shares, bins, fill=True, color=KINDS[kind], alpha=0.75, label=label)
        axes.set_title(short(model), fontsize=10, loc="left", color=INK)
        axes.set_ylabel("% of answers", fontsize=9, color=INK)
        style(axes)
        if any(kinds.values()):
            top = min(100.0, axes.get_ylim()[1])
            gap = next(s for s in (1, 2, 5, 10, 20, 25) if top / s <= 5 or s == 25)
            axes.set_yticks(range(0, int(top) + 1, gap))
            axes.set_ylim(0, ROOM * top)
            legend(axes, 1, inside=True)
    panels[-1].set_xlabel("mean token entropy of an answer, nats")
    return svg(drawn, "Histograms of mean token entropy by kind of answer")


def measured_curves(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Those of `CURVES` that have a value at some step."""
    return [c for c in CURVES if any(row.get(c[0]) is not None for row in rows)]


def training_curves(rows: Sequence[Mapping[str, Any]], width: float = WIDE) -> str:
    """What was measured of training over the steps; a metric without a value has no panel."""
    there = measured_curves(rows)
    across = 2 if width == WIDE else 1
    lines = math.ceil(len(there) / across)
    drawn = figure(width, 2.2 * lines)
    panels = list(drawn.subplots(lines, across, squeeze=False).flat)
    for axes, (key, label) in zip(panels, there, strict=False):
        known = [(row["step"], row[key]) for row in rows if row.get(key) is not None]
        dots = "o" if len(known) < len(rows) else None
        axes.plot(*zip(*known, strict=True), color=AFTER, linewidth=1.8, marker=dots, markersize=4)
        if key.startswith(SHARES):
            axes.set_ylim(-0.03, 1.03)
        axes.set_title(label, fontsize=10, loc="left", color=INK)
        axes.set_xlabel("step", fontsize=9)
        axes.set_xlim(rows[0]["step"] - 0.5, rows[-1]["step"] + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        style(axes)
    for axes in panels[len(there) :]:
        axes.set_visible(False)
    return svg(drawn, f"Training curves by step: {', '.join(label for _, label in there)}")


def budget_curves(models: Mapping[str, Mapping[str, Any]], width: float = WIDE) -> str:
    """Percentage of requests broken by each search, against target calls."""
    by_model = {name: m.get("dsr", {}).get("budgets", {}) for name, m in models.items()}
    searches = list(dict.fromkeys(search for found in by_model.values() for search in found))
    columns = 3 if width == WIDE else 2
    lines = math.ceil(len(searches) / columns)
    drawn = figure(width, 0.6 + 1.9 * lines)
    panels = list(drawn.subplots(lines, columns, squeeze=False).flat)
    for axes, search in zip(panels, searches, strict=False):
        for n, (name, found) in enumerate(by_model.items()):
            if curve := found.get(search):
                places = [[0, 0.0], *curve["broken"]]
                places.append([curve["longest"], places[-1][1]])
                xs, ys = [at for at, _ in places], [100 * share for _, share in places]
                colour = MODELS[n % 3]
                axes.step(xs, ys, where="post", color=colour, linewidth=1.8, label=short(name))
        axes.set_title(search, fontsize=9, loc="left", color=INK)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.set_ylim(-3, 103)
        style(axes)
    for axes in panels[len(searches) :]:
        axes.set_visible(False)
    if len(models) > 1:
        legend_of_all(drawn, panels[0], width)
    drawn.supxlabel("target calls", fontsize=9, color=INK)
    drawn.supylabel("% of requests broken", fontsize=9, color=INK)
    return svg(drawn, "Share of requests broken against calls of the target, per search")


def mini_eval_curves(rows: Sequence[Mapping[str, Any]], width: float = WIDE) -> str:
    """Defence, over-refusal and capability by step, with 95% intervals and number of answers."""
    wide = width == WIDE
    drawn = figure(width, 3.8 if wide else 7.0)
    tasks = sorted({name for row in rows for name in row.get("capability", {})})
    kinds = ("attack", "ordinary")
    entropies = any(value(row, "entropy", k) is not None for row in rows for k in kinds)
    parts = 2 if tasks or entropies else 1
    every = drawn.subplots(*((1, parts) if wide else (parts, 1)), squeeze=False).flatten()
    left, right = every[0], every[-1]
    rates = (
        (defence_name(rows).lower(), ("dsr",), KINDS["refusal"]),
        ("ordinary refused", ("over_refusal", "ordinary"), KINDS["ordinary"]),
        ("look-alikes refused", ("over_refusal", "lookalike"), KINDS["lookalike"]),
        ("ordinary in disguises", ("over_refusal", "ordinary_disguised"), KINDS["ordinary"]),
        ("look-alikes in disguises", ("over_refusal", "lookalike_disguised"), KINDS["lookalike"]),
    )
    rate_lines(left, rows, rates)
    left.set_ylabel("%", fontsize=9, color=INK)
    if tasks:
        colours = [TASKS[n % len(TASKS)] for n in range(len(tasks))]
        rate_lines(
            right,
            rows,
            [(t, ("capability", t), c) for t, c in zip(tasks, colours, strict=True)],
        )
        right.set_ylabel("solved, %", fontsize=9, color=INK)
    elif parts > 1:
        entropy_lines(right, rows)
    for axes in every:
        axes.set_xlabel("step", fontsize=9)
        style(axes)
        if axes.get_legend_handles_labels()[0]:
            legend(axes, columns=1)
    return svg(drawn, "Mini-evaluations: defence, over-refusal, capability by step, 95% intervals")


def rate_lines(
    axes: Axes,
    rows: Sequence[Mapping[str, Any]],
    paths: Sequence[tuple[str, Sequence[str], str]],
) -> None:
    """One line with intervals per rate, by label, path in a row, and colour; n in the legend.

    Lines differ in dashes and markers as well as in colour.
    """
    gap = (max(row["step"] for row in rows) or 1) / 60
    for number, (label, path, colour) in enumerate(paths):
        found = [(row["step"], value(row, *path)) for row in rows]
        asked = [(step, rate) for step, rate in found if rate and rate["n"]]
        if not asked:
            continue
        counts = sorted({rate["n"] for _, rate in asked})
        n = "-".join(map(str, dict.fromkeys((counts[0], counts[-1]))))
        values, lows, highs = (
            [100 * rate[key] for _, rate in asked] for key in ("value", "low", "high")
        )
        axes.errorbar(
            [
                step + gap * (number - 1) for step, _ in asked
            ],  # offset so that intervals do not overlap
            values,
            [
                [max(0.0, v - low) for v, low in zip(values, lows, strict=True)],
                [max(0.0, high - v) for v, high in zip(values, highs, strict=True)],
            ],
            color=colour,
            linestyle=DASHES[number % len(DASHES)],
            marker=MARKS[number % len(MARKS)],
            markersize=4,
            elinewidth=1,
            capsize=2,
            label=f"{label} (n = {n})",
        )
    axes.set_ylim(-3, 103)


def entropy_lines(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    """Mean entropy of answers to attacks and to ordinary prompts."""
    kinds = (("unsafe", "attack", INK), ("ordinary", "ordinary", KINDS["ordinary"]))
    for number, (label, kind, colour) in enumerate(kinds):
        found = [(row["step"], value(row, "entropy", kind)) for row in rows]
        known = [(step, mean) for step, mean in found if mean is not None]
        if known:
            axes.plot(
                *zip(*known, strict=True),
                color=colour,
                linestyle=DASHES[number],
                marker="o",
                markersize=3,
                label=label,
            )
    axes.set_ylabel("mean entropy of answers, nats", fontsize=9, color=INK)
