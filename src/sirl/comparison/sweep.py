"""The checkpoints of a sweep side by side: paired differences, best step under a price cap."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sirl.comparison.compare import compare
from sirl.comparison.evaluated_model import read_evaluated
from sirl.errors import InputError
from sirl.types import DISGUISED, Kind

__all__ = ["PriceCap", "best_step", "difference"]

ROUNDING = 1e-9
PARTS = ("dsr", "over_refusal", "capability")


@dataclass(frozen=True)
class PriceCap:
    """How much worse than the starting model a step may be, as shares."""

    lookalike: float
    """Rise of refusals of look-alikes."""
    ordinary: float
    """Rise of refusals of ordinary prompts."""
    tasks: float
    """Fall of the share of tasks that are solved, of all benchmarks together."""

    @property
    def limits(self) -> dict[Kind, tuple[str, float]]:
        """Name and limit by kind of prompt."""
        return {
            "lookalike": ("look-alikes", self.lookalike),
            "ordinary": ("ordinary prompts", self.ordinary),
        }

    @property
    def words(self) -> str:
        """The limits, in words."""
        limits = (f"{100 * most:g} for {name}" for name, most in self.limits.values())
        return (
            f"a rise of refusals in points of at most {' and '.join(limits)}, and a loss of at "
            f"most {100 * self.tasks:g} points of solved tasks"
        )


def difference(base: Path, step: Path) -> dict[str, Any]:
    """The paired changes from the evaluation of the starting model to that of a step.

    If they cannot be compared, for example because a judge is in doubt, only `reason` is given.
    """
    try:
        found = compare(read_evaluated(base), read_evaluated(step))
    except InputError as error:
        return {"reason": str(error)}
    return {part: found[part] for part in PARTS if part in found}


def best_step(steps: Mapping[int, Mapping[str, Any]], cap: PriceCap) -> dict[str, Any]:
    """The step with the greatest mean defence of those under the price cap, with a sentence.

    The earliest of several; by the rates themselves, not the ends of their intervals. Steps whose
    figures are in doubt are left out. `step` is None where no step can be named.

    Args:
        steps: Figures by step; step 0 is the starting model.
        cap: What the price may be.
    """
    base = steps[0]
    asked = [kind for kind in cap.limits if kind in base.get("over_refusal", {})]
    if "dsr" not in base:
        return no_step("no attack was tried, so that no step is the best")
    if not asked:
        return no_step("the price is unknown: give --lookalikes and --ordinary")
    doubted = [step for step, figures in steps.items() if figures.get("doubts")]
    if 0 in doubted:
        return no_step("the figures of the starting model are in doubt: no step is the best")
    sound = {s: f for s, f in steps.items() if s and s not in doubted and "dsr" in f}
    fair = [s for s, figures in sound.items() if not exceeds_cap(base, figures, asked, cap)]
    aside = f"; in doubt and left out: step {', '.join(map(str, doubted))}" if doubted else ""
    if not fair:
        return no_step(f"no step keeps {cap.words}{aside}{coarse(base, asked, cap)}")
    best = max(fair, key=lambda step: (sound[step]["dsr"]["mean"]["value"], -step))
    if sound[best]["dsr"]["mean"]["value"] <= base["dsr"]["mean"]["value"]:
        return no_step(f"no step under {cap.words} defends better than the starting model{aside}")
    told = f"{said(best, base, sound[best], cap)}{aside}{coarse(base, asked, cap)}"
    return {"step": best, "sentence": told}


def no_step(sentence: str) -> dict[str, Any]:
    """No step, and why."""
    return {"step": None, "sentence": sentence}


def exceeds_cap(
    base: Mapping[str, Any], figures: Mapping[str, Any], asked: Sequence[Kind], cap: PriceCap
) -> bool:
    """Whether a step refuses more harmless prompts, or solves fewer tasks, than it may."""
    before, now = solved(base), solved(figures)
    if before is not None and now is not None and now < before - cap.tasks - ROUNDING:
        return True
    return any(
        figures["over_refusal"][kind]["value"]
        > base["over_refusal"][kind]["value"] + cap.limits[kind][1] + ROUNDING
        for kind in asked
    )


def solved(figures: Mapping[str, Any]) -> float | None:
    """The share of solved tasks, of all benchmarks together; None without tasks."""
    rates = figures.get("capability", {}).values()
    total = sum(r["n"] for r in rates)
    return sum(r["value"] * r["n"] for r in rates) / total if total else None


def coarse(base: Mapping[str, Any], asked: Sequence[Kind], cap: PriceCap) -> str:
    """A caution if a single refusal is more than the cap allows; otherwise empty."""
    found = []
    for kind in asked:
        (name, most), n = cap.limits[kind], base["over_refusal"][kind]["n"]
        if n * most < 1:
            found.append(f"one of {n} {name} is {100 / n:.3g} points (cap {100 * most:g})")
    if not found:
        return ""
    return f"; a single refusal already exceeds the cap: {', '.join(found)}; give more of them"


def said(step: int, base: Mapping[str, Any], figures: Mapping[str, Any], cap: PriceCap) -> str:
    """What is best about a step."""
    prices = []
    for kind, (name, _) in cap.limits.items():
        rates = [f.get("over_refusal", {}).get(kind) for f in (base, figures)]
        prices.append(
            f"{name} refused {100 * rates[1]['value']:.0f}% (start {100 * rates[0]['value']:.0f}%)"
            if all(rates)
            else f"{name} were not asked"
        )
        hidden = [f.get("over_refusal", {}).get(DISGUISED[kind]) for f in (base, figures)]
        if all(hidden):
            was, now = (100 * rate["value"] for rate in hidden)
            prices.append(f"in disguises {now:.0f}% (start {was:.0f}%), which the cap leaves out")
    tasks = [solved(f) for f in (base, figures)]
    prices.append(
        f"tasks solved {100 * tasks[1]:.0f}% (start {100 * tasks[0]:.0f}%)"
        if tasks[0] is not None and tasks[1] is not None
        else "no tasks were asked"
    )
    was, now = (100 * f["dsr"]["mean"]["value"] for f in (base, figures))
    return (
        f"step {step} has the greatest defence under {cap.words}: {now:.0f}% "
        f"(start {was:.0f}%), {', '.join(prices)}; the best of several steps looks better than it "
        "is, so evaluate it on other requests"
    )
