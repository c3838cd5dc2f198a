"""The tables of `sirl guard evaluate`."""

from collections.abc import Mapping, Sequence
from typing import Any

from sirl.reports.grid import Grid, markdown
from sirl.reports.guard_outcomes import (
    SLICES,
    end_to_end_grid,
    outcome_parts,
    search_parts,
    shown,
)
from sirl.text import many

__all__ = ["NO_UNSAFE", "guard_closing", "guard_headline", "guard_table"]

CLASSES = {
    "unsafe compliance": "unsafe help to attacked requests",
    "refusal": "attacked requests without unsafe help",
    "ordinary compliance": "harmless prompts answered",
    "over-refusal": "harmless prompts refused",
    "unsafe but not asked for": "harmless prompts answered with unsafe help",
    "unread": "no judge can score the answer",
}
"""Classes of answers in the order of the table, in words."""

NAMES = {
    "both_probes": "both probes (the guard)",
    "probe": "probe (header, stream)",
    "probe_prompt": "probe (prompt only)",
    "cuts": "probe (cuts of the prompt)",
    "refusal_mass": "refusal mass (header, stream)",
    "prompt_perplexity": "prompt perplexity",
    "windowed_perplexity": "windowed perplexity",
    "first_token_confidence": "first-token confidence",
    "prompt_cusum": "entropy CUSUM of the prompt",
}
"""Detectors in the order of the table."""
EQUAL = "true positives if each slice of these answers has as many false alarms"
UNASKED = "unsafe help to harmless prompts stopped"
NO_UNSAFE = (
    "No answer to an attacked request is judged unsafe help, so true positives are not measured: "
    "ask other --attacks or more --behaviours."
)


def guard_table(figures: Mapping[str, Any]) -> list[str]:
    """The lines of guard.md: outcomes, detectors, families, tokens before the alarm, overhead."""
    names = [name for name in NAMES if name in figures["detectors"]]
    parts: list[str | Grid] = [class_grid(figures["classes"]), "", figures["sentence"], ""]
    parts += [
        "Rates in percent with 95% intervals, with the guard off and on:",
        "",
        *outcome_parts(figures),
        "",
    ]
    for alpha in next(iter(figures["detectors"].values()))["true_positives"]:
        parts += [detector_grid(figures, names, alpha), ""]
    if figures["unsupported"]:
        parts += [figures["unsupported"], ""]
    unsafe = figures["leak"]["of"]
    parts += [family_grid(figures, names) if unsafe else NO_UNSAFE, ""]
    if "searches" in figures:
        parts += [*search_parts(figures["searches"]), ""]
    return markdown([*parts, *ending(figures)])


def guard_headline(figures: Mapping[str, Any]) -> tuple[list[str], Grid]:
    """Threshold and detection in sentences, and the rates with the guard off and on."""
    guard = next(name for name in NAMES if name in figures["detectors"])
    caught = figures["detectors"][guard]["true_positives"][figures["alpha"]]
    said = [
        figures["sentence"],
        f"True positives (%) of {NAMES[guard]}: {shown(caught)}, "
        f"of {many(caught['n'], 'unsafe answer')}."
        if caught["n"]
        else NO_UNSAFE,
        *figures.get("judge_faults", ()),
    ]
    return said, end_to_end_grid(figures["end_to_end"]).turned


def guard_closing(figures: Mapping[str, Any]) -> list[str | Grid]:
    """What a terminal shows: the headline, the slice with most false alarms, searches, overhead."""
    said, rates = guard_headline(figures)
    few = [figures["unsupported"]] if figures["unsupported"] else []
    parts: list[str | Grid] = [*said, *most_alarms(figures["slices"]), *few, "", rates, ""]
    if "searches" in figures:
        parts += [*search_parts(figures["searches"]), ""]
    return [*parts, *ending(figures)]


def most_alarms(slices: Mapping[str, Any]) -> list[str]:
    """The slice whose interval of false alarms begins highest, in a sentence; empty without any."""
    found = {
        name: own["false_alarms"] for name, own in slices.items() if own["false_alarms"]["value"]
    }
    if not found:
        return []
    name = max(found, key=lambda name: found[name]["low"])
    answers = many(found[name]["n"], "answer")
    rates = f"{SLICES.get(name, name)}, {shown(found[name])} of {answers}"
    return [f"Most false alarms (%), by the lower end of the interval: {rates}."]


def class_grid(found: Mapping[str, int]) -> Grid:
    """The number of answers of each class."""
    return Grid(["answers", "n"], [[CLASSES[kind], str(found.get(kind, 0))] for kind in CLASSES])


def detector_grid(figures: Mapping[str, Any], names: Sequence[str], alpha: str) -> Grid:
    """One row per detector: true positives and false alarms by slice."""
    found = figures["detectors"]
    slices = [s for s in SLICES if s in found[names[0]]["false_alarms"][alpha]]
    head = [f"at {float(alpha):.1%} false alarms", "true positives"]
    head += [f"false alarms: {SLICES[s]}" for s in slices] + [
        "refusals stopped",
        UNASKED,
        EQUAL,
        "AUROC",
    ]
    rows = [
        [
            NAMES[name],
            shown(found[name]["true_positives"][alpha]),
            *(shown(found[name]["false_alarms"][alpha][s]) for s in slices),
            *(
                shown(found[name][part]) if alpha == figures["alpha"] else ""
                for part in ("refusals", "not_asked_for", "at_equal_false_alarms")
            ),
            "-" if found[name]["auroc"] is None else f"{found[name]['auroc']:.3f}",
        ]
        for name in names
    ]
    undefined = figures.get("undefined", {})
    rows += [
        [f"{NAMES.get(n, n)}: {why}", *["-"] * (len(head) - 1)] for n, why in undefined.items()
    ]
    return Grid(head, rows)


def family_grid(figures: Mapping[str, Any], names: Sequence[str]) -> Grid:
    """One row per attack family: true positives of each detector."""
    head = ["unsafe compliance under", "n", *(NAMES[name] for name in names)]
    rows = [
        [
            family,
            str(own[names[0]]["n"]),
            *(shown(own[name], interval=n == 0) for n, name in enumerate(names)),
        ]
        for family, own in figures["families"].items()
    ]
    return Grid(head, rows)


def ending(figures: Mapping[str, Any]) -> list[str]:
    """Tokens before the alarm and overhead, in sentences."""
    leak, cost, controls = figures["leak"], figures.get("overhead"), figures["controls"]
    price = overhead(cost) if cost else paid(figures["requests"])
    if not leak["of"]:
        return [price]
    control = (
        f"Control: {len(controls)} probes on random labels have true positives of "
        f"{', '.join(f'{100 * value:.1f}' for value in controls)}%."
    )
    return [
        *([control] if controls else []),
        f"Tokens generated before the alarm of the guard: {spread(leak['generated'])}; tokens "
        f"sent before it if {figures['every']} are held back: {spread(leak['left'])} "
        f"({leak['caught']} of {leak['of']} unsafe answers caught; {shown(leak['soon'])}% of all "
        f"within {leak['soon_tokens']} tokens).",
        price,
    ]


def overhead(cost: Mapping[str, Any]) -> str:
    """What checks of a local model cost, in a sentence; those that nothing could time are named."""
    if not cost["tokens"]:
        return "Overhead: not timed, since no harmless prompt was answered."
    cuts = f"{cost['prompt_ms']:.1f} ms the cuts of a prompt"
    if not cost["checks"]:
        return (
            f"Overhead: {cuts}; answers are too short for a check before their end "
            f"({cost['token_ms']:.1f} ms a token)."
        )
    return (
        f"Overhead: checks take {cost['ratio']:.1%} of the decoding time of one stream "
        f"({cost['checks']} checks in {cost['tokens']} tokens; {cost['check_ms']:.1f} ms a check, "
        f"{cost['token_ms']:.1f} ms a token, {cuts})."
    )


def paid(sent: Mapping[str, int]) -> str:
    """What an evaluation of an endpoint sent, and which answers are in no figure."""
    lost = sent["lost_answers"] + sent["lost_checks"]
    return (
        f"Requests: {sent['answers']} for answers, {sent['checks']} for checks; {lost} answers are "
        f"in no figure ({sent['lost_answers']} that failed, were empty or were filtered by the "
        f"endpoint, {sent['lost_checks']} of which a check failed)."
    )


def spread(found: Mapping[str, Any]) -> str:
    """Median and 90% quantile of token counts; a dash without data."""
    if found["median"] is None:
        return "-"
    return f"median {found['median']:.0f}, 90% within {found['p90']:.0f}"
