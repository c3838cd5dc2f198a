"""How fast a search breaks a defence: success against target calls."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sirl.analysis.defence import budget_curve
from sirl.evaluation.records import SearchResult
from sirl.stats import rate

__all__ = ["CALLS", "search_curve"]

CALLS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
"""Target calls after which success is reported."""


def search_curve(items: Sequence[SearchResult]) -> dict[str, Any]:
    """Defence, median calls and success against calls of one search.

    `after` maps calls to the share of requests broken by then, up to the longest search; `median`
    is the calls after which half of all requests are broken, None if fewer ever are.
    """
    spent = sorted(i.broken_at for i in items if i.broken_at is not None)
    n, curve = len(items), budget_curve(items)
    half = (n + 1) // 2
    last = next((c for c in CALLS if c >= curve["longest"]), CALLS[-1])
    return {
        **curve,
        "held": asdict(rate(n - len(spent), n)),
        "median": spent[half - 1] if len(spent) >= half else None,
        "after": {
            str(calls): sum(at <= calls for at in spent) / n for calls in CALLS if calls <= last
        },
    }
