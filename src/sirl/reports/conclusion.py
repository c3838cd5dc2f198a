"""What a comparison of two models shows, in a sentence."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sirl.reports.text import visible
from sirl.types import HARMLESS

__all__ = ["conclusion"]


def conclusion(found: Mapping[str, Any]) -> str:
    """In what the second model differs from the first, by 95% intervals, each for itself."""
    before, after = (
        f"{visible(found[s]['name'])} of {found[s]['run']}" for s in ("before", "after")
    )
    parts = list(measured(found))
    if not parts:
        return f"No answer was scored for both {before} and {after}: nothing is compared."
    better, worse = (
        [f"{what} ({by})" for what, by, sign in parts if sign == wanted] for wanted in (1, -1)
    )
    said = [
        f"{name} {listed(those)}"
        for name, those in (("better in", better), ("worse in", worse))
        if those
    ]
    open_ = [f"{what} ({by})" for what, by, sign in parts if not sign]
    shown = f"{after} is {' and '.join(said)} than {before}" if said else ""
    if not open_:
        return f"{shown}: every 95% interval excludes zero."
    no_difference = f"no difference is shown in {listed(open_)}, whose 95% interval includes zero"
    return f"{shown}; {no_difference}." if said else f"From {before} to {after} {no_difference}."


def measured(found: Mapping[str, Any]) -> Iterator[tuple[str, str, int]]:
    """What was scored on both sides, its change, and 1 if it is better, -1 if worse, else 0."""
    dsr, over, tasks = (found.get(part, {}) for part in ("dsr", "over_refusal", "capability"))
    rows = [
        ("defence", dsr.get("mean"), 1),
        *((f"refusals of {HARMLESS[kind]}", change, -1) for kind, change in over.items()),
        *((f"solving {name}", change, 1) for name, change in tasks.items()),
    ]
    for what, change, good in rows:
        by = (change or {}).get("difference") or {}
        if by.get("n") and by["value"] is not None:
            sign = 0 if by["low"] <= 0 <= by["high"] else good if by["value"] > 0 else -good
            yield what, f"{100 * by['value']:+.1f} points", sign


def listed(parts: Sequence[str]) -> str:
    """Parts of a sentence."""
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))
