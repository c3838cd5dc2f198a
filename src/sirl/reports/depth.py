"""The plot of prefills: share refused after the first tokens of a compliant answer."""

from collections.abc import Mapping
from typing import Any

from sirl.reports.figures import BEGUN
from sirl.reports.figures import figure as value
from sirl.reports.plots import DASHES, INK, MARKS, MODELS, WIDE, figure, legend_of_all, short, style
from sirl.reports.plots import svg as drawn_as

__all__ = ["prefill_curves"]


def prefill_curves(models: Mapping[str, Mapping[str, Any]], width: float = WIDE) -> str:
    """Share refused over the number of tokens, a line with intervals per model and curve."""
    drawn = figure(width, 3.8)
    axes = drawn.subplots()
    depths: set[int] = set()
    for n, (name, model) in enumerate(models.items()):
        for m, (curve, found) in enumerate((value(model, "prefill") or {}).items()):
            known = {int(depth): rate for depth, rate in found.items() if rate["n"]}
            depths |= known.keys()
            low, middle, high = (
                [100 * rate[key] for rate in known.values()] for key in ("low", "value", "high")
            )
            down = [max(0.0, a - b) for a, b in zip(middle, low, strict=True)]
            up = [max(0.0, a - b) for a, b in zip(high, middle, strict=True)]
            axes.errorbar(
                list(known), middle, [down, up], color=MODELS[n % 3], linestyle=DASHES[m % 4],
                marker=MARKS[m % len(MARKS)], markersize=4, elinewidth=1, capsize=2,
                label=f"{short(name)}, {BEGUN[curve]}",
            )  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.set_xticks(sorted(depths), [str(depth) for depth in sorted(depths)])
    axes.minorticks_off()
    axes.set_ylim(-3, 103)
    axes.set_xlabel("tokens of help that begin the answer", fontsize=9)
    axes.set_ylabel("refused, %", fontsize=9, color=INK)
    style(axes)
    legend_of_all(drawn, axes, width)
    return drawn_as(drawn, "Refused behind the first tokens of a compliant answer, 95% intervals")
