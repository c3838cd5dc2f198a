"""Headline rates and their names, for the terminal and the page."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from sirl.analysis.held import quantity
from sirl.types import HARMLESS

__all__ = [
    "BEGUN",
    "UNMEASURED",
    "Figure",
    "defence_name",
    "figure",
    "headline",
    "rate_rows",
    "second_judge_rates",
    "span",
]

UNMEASURED = "Nothing was measured before or after."
UNSCORED_SAFE = "… if unscored answers were safe"
RATES = (
    ("mean over attacks", ("dsr", "mean")),
    (UNSCORED_SAFE, ("dsr", "if_unscored_are_safe")),
    ("… first try of each attack only", ("dsr", "first_try")),
    ("… over attacks unseen in alignment", ("dsr", "unseen")),
    ("… under the worst attack", ("dsr", "worst")),
    ("… held under all attacks together", ("dsr", "any")),
)
PRICES = tuple(
    (f"{name.capitalize()} refused", ("over_refusal", kind)) for kind, name in HARMLESS.items()
)
MASS = "First-token refusal mass, mean over attacks"
HARMLESS_MASS = tuple(
    (f"{name.capitalize()}, first-token refusal mass", ("refusal_mass", "over_refusal", kind))
    for kind, name in HARMLESS.items()
)
BEGUN = {"own_prefill": "own help", "target_prefill": "its target prefix"}
"""Curve of prefills -> what the answers are begun with."""
MANY = 2
OVER_SEVERAL = (("dsr", "worst"), ("dsr", "any"))
"""Rates that equal the mean when there is one attack."""
AGGREGATES = ("mean", "unseen", "worst", "any")
WIDTH = 2 * 1.959964
"""Standard errors in a 95% interval."""


class Figure(NamedTuple):
    """A rate with the task and metric names of other tools."""

    task: str
    metric: str
    higher_is_better: bool
    value: float
    error: float
    """Width of the 95% interval over 3.92. The intervals are Wilson's, so this is positive even
    if all behaviours have the same outcome."""
    n: int


def headline(model: Mapping[str, Any]) -> list[Figure]:
    """Defence, over-refusal and capability of a model, without unmeasured figures."""
    dsr, refused, solved = (figure(model, p) or {} for p in ("dsr", "over_refusal", "capability"))
    named = [
        *((name, "dsr", True, rate) for name, rate in dsr.get("by_attack", {}).items()),
        *(("all attacks", f"dsr_{name}", True, dsr.get(name)) for name in AGGREGATES),
        *((n, "refusal_rate", False, refused.get(n)) for n in HARMLESS),
        *((name, "acc", True, rate) for name, rate in solved.items()),
    ]
    return [
        Figure(task, metric, better, rate["value"], (rate["high"] - rate["low"]) / WIDTH, rate["n"])
        for task, metric, better, rate in named
        if rate and rate["n"]
    ]


def figure(model: Mapping[str, Any], *path: str) -> Any:  # noqa: ANN401 - figures are JSON
    """A figure by path; None if it was not measured."""
    value: Any = model
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def span(rate: Mapping[str, Any] | None) -> str:
    """A rate with interval and n; a dash for none.

    >>> span({"value": 0.97, "low": 0.94, "high": 0.99, "n": 240})
    '97% (94 to 99, n = 240)'
    """
    if not rate or not rate["n"]:
        return "–"
    value, low, high = (100 * rate[key] for key in ("value", "low", "high"))
    return f"{value:.0f}% ({low:.0f} to {high:.0f}, n = {rate['n']})"


def rate_rows(models: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """Label and one cell per model for every measured rate: defence, over-refusal, capability."""
    tasks = sorted({name for m in models.values() for name in m.get("capability", {})})
    (first, mean), *rest = RATES
    named = [
        (f"{defence_name(models.values())}, {first}", mean),
        *rest,
        *second_judge_rates(models),
        (MASS, ("refusal_mass", "mean")),
        *prefill_rates(models),
    ]
    named += [
        *PRICES,
        *HARMLESS_MASS,
        *((f"Solved: {name}", ("capability", name)) for name in tasks),
    ]
    if all(len(figure(m, "dsr", "by_attack") or ()) < MANY for m in models.values()):
        named = [(label, path) for label, path in named if path not in OVER_SEVERAL]
    rows = [(label, [cell(m, path) for m in models.values()]) for label, path in named]
    rows += [*unread_rows(models), *partial_rows(models), *cut_row(models), *thought_row(models)]
    unscored = [str(figure(m, "dsr", "unscored") or 0) for m in models.values()]
    if set(unscored) == {"0"}:
        rows = [row for row in rows if row[0] != UNSCORED_SAFE]
    else:
        rows.append(("Unscored answers (count as broken)", unscored))
    return [(label, cells) for label, cells in rows if {*cells} - {"–"}]


def prefill_rates(
    models: Mapping[str, Mapping[str, Any]],
) -> list[tuple[str, tuple[str, ...]]]:
    """Label and path of the share refused behind so many tokens, by curve and depth."""
    found = (
        (curve, depth)
        for m in models.values()
        for curve, depths in (figure(m, "prefill") or {}).items()
        for depth in depths
    )
    places = sorted(set(found), key=lambda place: (place[0], int(place[1])))
    return [
        (
            f"Refused behind {depth} token{'s' * (depth != '1')} of {BEGUN[curve]}",
            ("prefill", curve, depth),
        )
        for curve, depth in places
    ]


def defence_name(models: Iterable[Mapping[str, Any]]) -> str:
    """What the headline rate counts, and the judge.

    >>> defence_name([{"question": "refusal", "judge": "rules"}])
    'Refused (rules)'
    """
    names = (quantity(m["question"], m["judge"]) for m in models if "judge" in m)
    return " or ".join(dict.fromkeys(names)) or "Defence success"


def cell(model: Mapping[str, Any], path: tuple[str, ...]) -> str:
    """A rate, marked as in doubt if there is an alarm for its requests and judge."""
    kinds = {"dsr": "attack", "second_judges": "attack", "over_refusal": path[-1]}
    view = figure(model, *path[:-1]) if path[0] == "second_judges" else model
    alarms = (view or {}).get("doubts", ())
    shown = span(figure(model, *path))
    doubted = any(alarm["kind"] == kinds.get(path[0]) for alarm in alarms)
    return f"in doubt: {shown}" if doubted and shown != "–" else shown


def partial_rows(models: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """Number of partial refusals and how they count; no rows if there are none."""
    counts = [figure(m, "dsr", "partial") or {"n": 0, "of": 0} for m in models.values()]
    found = [("Refused in part (counts as broken)", [(c["n"], c["of"]) for c in counts])]
    for label, path in PRICES:
        sets = [figure(m, *path) or {"n": 0} for m in models.values()]
        cells = [(s.get("partial", 0), s["n"]) for s in sets]
        found.append((f"{label} in part (counts as refused)", cells))
    return [
        (label, [f"{n} of {of}" if of else "–" for n, of in cells])
        for label, cells in found
        if any(n for n, _ in cells)
    ]


def unread_rows(models: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """Unscored answers to harmless requests, and the refusal rate if none of them refused."""
    rows = []
    for label, path in PRICES:
        sets = [figure(m, *path) or {} for m in models.values()]
        if any(s.get("unscored") for s in sets):
            counts = [f"{s['unscored']} of {s['n']}" if "unscored" in s else "–" for s in sets]
            spans = [span(s.get("if_unscored_are_answers")) for s in sets]
            rows.append((f"{label}: of these, could not be scored", counts))
            rows.append((f"{label}, if unscored answers were not refusals", spans))
    return rows


def cut_row(models: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """Number of answers cut at the maximum length; no row if there are none."""
    found = [figure(m, "cut") for m in models.values()]
    longest = {cut["new_tokens"] for cut in found if cut}
    label = f"Answers cut at {' or '.join(map(str, sorted(longest)))} tokens"
    cells = [f"{cut['n']} of {cut['of']}" if cut else "0" for cut in found]
    return [(label, cells)] if longest else []


def thought_row(models: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """Number of answers with thoughts hidden from the judge; no row if there are none."""
    found = [figure(m, "thoughts") for m in models.values()]
    cells = [f"{t['n']} of {t['of']}" if t else "0" for t in found]
    return [("Answers with thoughts that the judge was not shown", cells)] if any(found) else []


def second_judge_rates(
    models: Mapping[str, Mapping[str, Any]],
) -> list[tuple[str, tuple[str, ...]]]:
    """Label and path of the mean rate under each second judge."""
    questions = {
        judge: view["question"]
        for m in models.values()
        for judge, view in (figure(m, "second_judges", "by_judge") or {}).items()
    }
    return [
        (
            f"{quantity(question, judge)}, mean over attacks",
            ("second_judges", "by_judge", judge, "mean"),
        )
        for judge, question in questions.items()
    ]
