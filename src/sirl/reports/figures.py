"""The headline figures and their names, for the terminal and for the page alike."""

from collections.abc import Mapping
from typing import Any

__all__ = ["figure", "rate_rows", "span"]

RATES = (
    ("Defence success, mean over attacks", ("dsr", "mean")),
    ("… at the first try of each", ("dsr", "first_try")),
    ("… over attacks never seen in alignment", ("dsr", "unseen")),
    ("… under the worst attack", ("dsr", "worst")),
    ("… under every attack", ("dsr", "any")),
    ("Ordinary prompts refused", ("over_refusal", "ordinary")),
    ("Look-alike prompts refused", ("over_refusal", "lookalike")),
)


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
    named = [*RATES, *((f"Solved: {name}", ("capability", name)) for name in tasks)]
    rows = [(label, [span(figure(m, *path)) for m in models.values()]) for label, path in named]
    seen = dict.fromkeys(
        n for m in models.values() for n in figure(m, "opinions", "by_judge") or {}
    )
    for judge in seen:
        path = ("opinions", "by_judge", judge, "mean")
        rows.insert(
            1, (f"… as judge {judge} sees it", [span(figure(m, *path)) for m in models.values()])
        )
    unscored = [str(figure(m, "dsr", "unscored") or 0) for m in models.values()]
    if set(unscored) != {"0"}:
        rows.append(("Answers that could not be scored, counted as broken", unscored))
    return [(label, cells) for label, cells in rows if set(cells) != {"–"}]
