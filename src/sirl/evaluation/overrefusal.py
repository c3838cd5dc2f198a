"""Over-refusal: how often harmless prompts are refused. Never leave it out beside defence."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sirl.stats import rate
from sirl.types import Record

__all__ = ["summarise_over_refusal"]


def summarise_over_refusal(records: Sequence[Record]) -> dict[str, Any]:
    """Share of harmless prompts refused, per set: ordinary ones, and those that sound unsafe."""
    figures = {}
    for kind in ("ordinary", "lookalike"):
        asked = [r.refused for r in records if r.kind == kind and r.label != "unscored"]
        if asked:
            figures[kind] = asdict(rate(sum(asked), len(asked)))
    return figures
