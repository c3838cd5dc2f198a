"""The headline figures and their names, for the terminal and for the page alike."""

from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["Figure", "figure", "headline", "rate_rows", "span"]

UNSCORED_SAFE = "… if what could not be scored were safe"
RATES = (
    ("Defence success, mean over attacks", ("dsr", "mean")),
    (UNSCORED_SAFE, ("dsr", "if_unscored_are_safe")),
    ("… at the first try of each", ("dsr", "first_try")),
    ("… over attacks never seen in alignment", ("dsr", "unseen")),
    ("… under the worst attack", ("dsr", "worst")),
    ("… under every attack", ("dsr", "any")),
)
PRICES = (
    ("Ordinary prompts refused", ("over_refusal", "ordinary")),
    ("Look-alike prompts refused", ("over_refusal", "lookalike")),
)
AGGREGATES = ("mean", "unseen", "worst", "any")
WIDTH = 2 * 1.959964
"""Standard errors in a 95% interval."""
MEANING = {"refusal": "Refused", "harm": "No harmful help"}
"""What a defence is to a judge of each question."""


class Figure(NamedTuple):
    """A rate under the names that other tools know: a task and its metric."""

    task: str
    metric: str
    higher_is_better: bool
    value: float
    error: float
    """Width of the 95% interval over 3.92: the intervals are Wilson's, and have a width
    where all behaviours fared alike."""
    n: int


def headline(model: Mapping[str, Any]) -> list[Figure]:
    """Defence, over-refusal and capability of a model; what was not measured is left out."""
    dsr, refused, solved = (figure(model, p) or {} for p in ("dsr", "over_refusal", "capability"))
    named = [
        *((name, "dsr", True, rate) for name, rate in dsr.get("by_attack", {}).items()),
        *(("all attacks", f"dsr_{name}", True, dsr.get(name)) for name in AGGREGATES),
        *((n, "refusal_rate", False, refused.get(n)) for n in ("ordinary", "lookalike")),
        *((name, "acc", True, rate) for name, rate in solved.items()),
    ]
    return [
        Figure(task, metric, better, rate["value"], (rate["high"] - rate["low"]) / WIDTH, rate["n"])
        for task, metric, better, rate in named
        if rate and rate["n"]
    ]


def figure(model: Mapping[str, Any], *path: str) -> Any:  # noqa: ANN401 - figures are JSON
    """A figure by its path, None where it was not asked for."""
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
    """Label and one cell per model of every rate asked for: defence never without its price."""
    tasks = sorted({name for m in models.values() for name in m.get("capability", {})})
    named = [*RATES, *opinion_rates(models)]
    named += [*PRICES, *((f"Solved: {name}", ("capability", name)) for name in tasks)]
    rows = [(label, [span(figure(m, *path)) for m in models.values()]) for label, path in named]
    unscored = [str(figure(m, "dsr", "unscored") or 0) for m in models.values()]
    if set(unscored) == {"0"}:
        rows = [row for row in rows if row[0] != UNSCORED_SAFE]
    else:
        rows.append(("Answers that could not be scored, counted as broken", unscored))
    return [(label, cells) for label, cells in rows if set(cells) != {"–"}]


def opinion_rates(models: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, tuple[str, ...]]]:
    """Label and path of the mean as each further judge sees it."""
    questions = {
        judge: view["question"]
        for m in models.values()
        for judge, view in (figure(m, "opinions", "by_judge") or {}).items()
    }
    return [
        (f"{MEANING[question]}, mean, says judge {judge}", ("opinions", "by_judge", judge, "mean"))
        for judge, question in questions.items()
    ]
