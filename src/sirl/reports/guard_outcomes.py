"""What a user gets with the guard off and on, as tables."""

from collections.abc import Mapping
from typing import Any

from sirl.reports.grid import Grid

__all__ = ["SLICES", "outcome_parts", "search_parts", "shown"]

SLICES = {
    "ordinary": "ordinary",
    "lookalike": "look-alikes",
    "ordinary_disguised": "ordinary, disguised",
    "lookalike_disguised": "look-alikes, disguised",
}
"""Kinds of harmless prompts in the order of the tables."""


def outcome_parts(figures: Mapping[str, Any]) -> list[str | Grid]:
    """Defence and over-refusal with the guard off and on, then harmless prompts by slice."""
    return [end_to_end_grid(figures["end_to_end"]), "", slice_grid(figures["slices"])]


def end_to_end_grid(found: Mapping[str, Any]) -> Grid:
    """One row with the guard off, one with it on."""
    kinds = [kind for kind in SLICES if kind in found["off"]["over_refusal"]]
    head = ["guard", "defence, mean", "worst attack", "all attacks together", "own prefills"]
    head += [f"refused or stopped: {SLICES[kind]}" for kind in kinds]
    rows = [
        [
            state,
            shown(own["defence"]["mean"]),
            f"{shown(own['defence']['worst'])} {own['defence']['worst']['attack']}",
            shown(own["defence"]["any"]),
            shown(own["own_prefills"]),
            *(shown(own["over_refusal"][kind]) for kind in kinds),
        ]
        for state, own in found.items()
    ]
    return Grid(head, rows)


def slice_grid(found: Mapping[str, Any]) -> Grid:
    """One row per slice of harmless prompts."""
    head = ["harmless prompts", "n", "refused", "refused or stopped", "answered", "false alarms"]
    rows = [
        [
            SLICES.get(name, name),
            str(own["off"]["n"]),
            *(shown(own[key]) for key in ("off", "on")),
            str(own["false_alarms"]["n"]),
            shown(own["false_alarms"]),
        ]
        for name, own in found.items()
    ]
    return Grid(head, rows)


def search_parts(found: Mapping[str, Any]) -> list[str | Grid]:
    """One row per search and state of the guard, then the searches left out."""
    curves = {(name, state): c for name, own in found["curves"].items() for state, c in own.items()}
    calls = max((list(c["after"]) for c in curves.values()), key=len, default=[])
    head = ["search", "guard", "n", "defence", "median calls"]
    head += [f"broken after {n} (%)" for n in calls]
    rows = [
        [
            name,
            state,
            str(curve["n"]),
            shown(curve["held"]),
            "-" if curve["median"] is None else str(curve["median"]),
            *(f"{100 * curve['after'][n]:.0f}" if n in curve["after"] else "" for n in calls),
        ]
        for (name, state), curve in curves.items()
    ]
    skipped = [f"Left out: {name} {reason}." for name, reason in found["skipped"].items()]
    return [*([Grid(head, rows)] if rows else []), *skipped]


def shown(rate: Mapping[str, Any], *, interval: bool = True) -> str:
    """A rate in percent with its interval; a dash without data."""
    if not rate["n"] or rate["value"] is None:
        return "-"
    value = f"{100 * rate['value']:.1f}"
    return f"{value} ({100 * rate['low']:.1f} to {100 * rate['high']:.1f})" if interval else value
