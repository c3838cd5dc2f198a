"""Pictures as SVG text: bars per attack, entropy histograms, training curves.

Colours are CSS variables of the page that holds the picture, so that it follows light and dark
mode; the pairs are from Okabe and Ito's palette, told apart by most colour-blind readers and by
their lightness. The same numbers give the same bytes.
"""

import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sirl.reports.figures import defence_name
from sirl.reports.figures import figure as value

__all__ = [
    "attack_bars",
    "budget_curves",
    "checkup_curves",
    "entropy_histograms",
    "training_curves",
]

INK, SOFT, BEFORE, AFTER, THIRD = "#010101", "#020202", "#030303", "#040404", "#050505"
VARIABLES = {
    INK: "var(--ink)",
    SOFT: "var(--soft)",
    BEFORE: "var(--before)",
    AFTER: "var(--after)",
    THIRD: "var(--third)",
}
"""Stand-ins that matplotlib can draw with, and the variables that they become."""
CURVES = (
    ("reward/mean", "reward (nats)"),
    ("entropy/mean", "mean token entropy (nats)"),
    ("kl/reference", "KL to the start (nats)"),
    ("completion/length", "length (tokens)"),
)


def figure(width: float, height: float) -> Figure:
    """An empty figure in inches."""
    return Figure(figsize=(width, height), layout="constrained")


def style(axes: Axes) -> None:
    """Quiet axes."""
    axes.set_facecolor("none")
    axes.tick_params(colors=INK, labelsize=9)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(SOFT)
    axes.xaxis.label.set_color(INK)


def svg(drawn: Figure, label: str) -> str:
    """The figure as an SVG element that follows the page's colours and says what it shows."""
    file = io.StringIO()
    drawn.patch.set_alpha(0)
    with matplotlib.rc_context({"svg.hashsalt": "sirl", "svg.fonttype": "none"}):
        drawn.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    # Styles of the picture's own would need a hole in the page's security policy.
    text = re.sub(r"<(metadata|style)\b.*?</\1>", "", text, flags=re.DOTALL)
    text = re.sub(r'style="([^"]*)"', lambda found: attributes(found[1]), text)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, variable)
    return text.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)


def attributes(style: str) -> str:
    """The declarations of a style as attributes; letters take the font of the page.

    >>> attributes("fill: none; stroke: var(--ink); font-family: Arial")
    'fill="none" stroke="var(--ink)"'
    """
    pairs = (declaration.split(":", 1) for declaration in style.split(";"))
    return " ".join(f'{k.strip()}="{v.strip()}"' for k, v in pairs if k.strip() != "font-family")


def attack_bars(models: Mapping[str, Mapping[str, Any]], unseen: frozenset[str]) -> str:
    """Defence success per attack with 95% intervals, in the order of the summary."""
    rates = {name: m["dsr"]["by_attack"] for name, m in models.items()}
    attacks = list(next(iter(rates.values())))
    drawn = figure(8.2, 0.9 + 0.30 * len(attacks))
    axes = drawn.subplots()
    thick = 0.8 / len(rates)
    for n, (name, by_attack) in enumerate(rates.items()):
        for place, attack in enumerate(attacks):
            rate = by_attack.get(attack)
            if rate and rate["n"]:
                bar(axes, place + (n - (len(rates) - 1) / 2) * thick, thick, rate, n)
        axes.barh([-9], [0], color=(BEFORE, AFTER, THIRD)[n % 3], label=name)
    axes.set_yticks(range(len(attacks)))
    axes.set_yticklabels([f"{a} *" if a in unseen else a for a in attacks])
    axes.set_ylim(len(attacks) - 0.4, -0.6)
    axes.set_xlim(0, 100)
    axes.set_xlabel("defence success, %" + ("   (* never seen in alignment)" if unseen else ""))
    style(axes)
    legend(axes)
    return svg(drawn, "Defence success per attack with 95% intervals")


def bar(axes: Axes, place: float, thick: float, rate: Mapping[str, Any], n: int) -> None:
    """One bar with its interval."""
    value, low, high = (100 * rate[key] for key in ("value", "low", "high"))
    axes.barh([place], [value], thick * 0.92, color=(BEFORE, AFTER, THIRD)[n % 3])
    axes.plot([low, high], [place, place], color=INK, linewidth=1)


def legend(axes: Axes, columns: int = 3) -> None:
    """A legend above the axes."""
    shown = axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, frameon=False, fontsize=9
    )
    for text in shown.get_texts():
        text.set_color(INK)


def entropy_histograms(entropies: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """Mean token entropy of refusals, compliance and ordinary answers, a panel per model."""
    finite = {
        model: {kind: [x for x in xs if math.isfinite(x)] for kind, xs in kinds.items()}
        for model, kinds in entropies.items()
    }
    everything = [x for kinds in finite.values() for xs in kinds.values() for x in xs]
    high = max(everything, default=1.0) * 1.02 or 1.0
    bins = [high * i / 36 for i in range(37)]
    drawn = figure(8.2, 1.2 + 1.7 * len(finite))
    panels = drawn.subplots(len(finite), 1, sharex=True, squeeze=False)[:, 0]
    colours = {"refusal": AFTER, "compliance": BEFORE, "ordinary": THIRD}
    for axes, (model, kinds) in zip(panels, finite.items(), strict=True):
        for kind, values in kinds.items():
            if values:
                weights = [100 / len(values)] * len(values)
                label = f"{kind} (n = {len(values)})"
                axes.hist(
                    values, bins, weights=weights, color=colours[kind], alpha=0.75, label=label
                )
        axes.set_title(model, fontsize=10, loc="right", color=INK)
        axes.set_ylabel("% of answers", fontsize=9, color=INK)
        style(axes)
        if any(kinds.values()):
            legend(axes)
    panels[-1].set_xlabel("mean token entropy of an answer, nats")
    return svg(drawn, "Histograms of mean token entropy by kind of answer")


def training_curves(rows: Sequence[Mapping[str, Any]]) -> str:
    """Reward, entropy, KL and length over the steps."""
    steps = [row["step"] for row in rows]
    drawn = figure(8.2, 4.4)
    for axes, (key, label) in zip(drawn.subplots(2, 2).flat, CURVES, strict=True):
        values = [math.nan if row.get(key) is None else row[key] for row in rows]
        axes.plot(steps, values, color=AFTER, linewidth=1.8)
        axes.set_title(label, fontsize=10, loc="left", color=INK)
        axes.set_xlabel("step", fontsize=9)
        style(axes)
    return svg(drawn, "Training curves: reward, entropy, KL and length by step")


def budget_curves(models: Mapping[str, Mapping[str, Any]]) -> str:
    """Share of requests on which each search has broken the defence, by calls of the target."""
    by_model = {name: m.get("dsr", {}).get("budgets", {}) for name, m in models.items()}
    searches = list(dict.fromkeys(search for found in by_model.values() for search in found))
    columns = 3
    lines = math.ceil(len(searches) / columns)
    drawn = figure(8.2, 0.6 + 1.9 * lines)
    panels = list(drawn.subplots(lines, columns, squeeze=False).flat)
    for axes, search in zip(panels, searches, strict=False):
        for n, (name, found) in enumerate(by_model.items()):
            if curve := found.get(search):
                places = [[0, 0.0], *curve["broken"]]
                places.append([curve["longest"], places[-1][1]])
                xs, ys = [at for at, _ in places], [100 * share for _, share in places]
                colour = (BEFORE, AFTER, THIRD)[n % 3]
                axes.step(xs, ys, where="post", color=colour, linewidth=1.8, label=name)
        axes.set_title(search, fontsize=9, loc="left", color=INK)
        axes.set_ylim(-3, 103)
        style(axes)
    for axes in panels[len(searches) :]:
        axes.set_visible(False)
    if len(models) > 1:
        shown = drawn.legend(
            *panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=3, frameon=False
        )
        for text in shown.get_texts():
            text.set_color(INK)
    drawn.supxlabel("calls of the target", fontsize=9, color=INK)
    drawn.supylabel("% of requests broken", fontsize=9, color=INK)
    return svg(drawn, "Share of requests broken against calls of the target, per search")


def checkup_curves(rows: Sequence[Mapping[str, Any]]) -> str:
    """Defence, over-refusal and skill by step, with 95% intervals and the number of answers."""
    drawn = figure(8.2, 3.8)
    left, right = drawn.subplots(1, 2)
    rates = (
        (defence_name(rows).lower(), ("dsr",), AFTER),
        ("ordinary refused", ("over_refusal", "ordinary"), BEFORE),
        ("look-alikes refused", ("over_refusal", "lookalike"), THIRD),
    )
    rate_lines(left, rows, rates)
    left.set_ylabel("%", fontsize=9, color=INK)
    tasks = sorted({name for row in rows for name in row.get("capability", {})})
    if tasks:
        colours = (AFTER, BEFORE, THIRD)
        paths = [(t, ("capability", t), colours[n % 3]) for n, t in enumerate(tasks)]
        rate_lines(right, rows, paths)
        right.set_ylabel("solved, %", fontsize=9, color=INK)
    else:
        entropy_lines(right, rows)
    for axes in (left, right):
        axes.set_xlabel("step", fontsize=9)
        style(axes)
        if axes.get_legend_handles_labels()[0]:
            legend(axes, columns=1)
    return svg(drawn, "Mini-evaluations: defence, over-refusal and skill by step, 95% intervals")


def rate_lines(
    axes: Axes,
    rows: Sequence[Mapping[str, Any]],
    paths: Sequence[tuple[str, Sequence[str], str]],
) -> None:
    """One line with intervals per rate, by label, path in a row, and colour; n in the legend."""
    gap = (max(row["step"] for row in rows) or 1) / 120
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
            [step + gap * (number - 1) for step, _ in asked],  # so that intervals stand apart
            values,
            [
                [max(0.0, v - low) for v, low in zip(values, lows, strict=True)],
                [max(0.0, high - v) for v, high in zip(values, highs, strict=True)],
            ],
            color=colour,
            marker="o",
            markersize=3,
            elinewidth=1,
            capsize=2,
            label=f"{label} (n = {n})",
        )
    axes.set_ylim(-3, 103)


def entropy_lines(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    """Mean entropy of answers to attacks and to ordinary prompts."""
    for kind, colour in (("attack", BEFORE), ("ordinary", THIRD)):
        found = [(row["step"], value(row, "entropy", kind)) for row in rows]
        told = [(step, mean) for step, mean in found if mean is not None]
        if told:
            steps, means = zip(*told, strict=True)
            axes.plot(steps, means, color=colour, marker="o", markersize=3, label=kind)
    axes.set_ylabel("mean entropy of answers, nats", fontsize=9, color=INK)
