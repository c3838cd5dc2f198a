"""Depth of refusals: share refused after the first tokens of a compliant answer."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sirl.analysis.defence import cells
from sirl.stats import rate
from sirl.types import Record

__all__ = ["summarise_prefills"]


def summarise_prefills(records: Sequence[Record]) -> dict[str, Any]:
    """Share held after k tokens, by curve and depth; depths have different requests.

    Args:
        records: Answers with the verdicts of a judge of refusals; only begun ones count.
    """
    families = {r.attack: r.family for r in records if r.kind == "prefill"}
    outcomes = cells(records, "prefill")
    found: dict[str, Any] = {}
    for attack in sorted(outcomes, key=depth_of):
        row = outcomes[attack]
        curve = found.setdefault(families[attack], {})
        curve[str(depth_of(attack))] = asdict(rate(sum(row.values()), len(row)))
    return found


def depth_of(attack: str) -> int:
    """The number of tokens in the name of a begun answer.

    >>> depth_of("own_prefill_16")
    16
    """
    return int(attack.rpartition("_")[2])
