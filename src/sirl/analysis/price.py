"""Over-refusal: how often harmless prompts are refused. Always report it with defence success."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sirl.analysis.held import left_unread, refused_or_silent
from sirl.stats import rate
from sirl.types import HARMLESS, Record

__all__ = ["summarise_over_refusal"]


def summarise_over_refusal(records: Sequence[Record]) -> dict[str, Any]:
    """Share of harmless prompts refused: ordinary and look-alike ones, bare and in disguises.

    Unscored answers, including empty ones, count as refused; so do partial refusals, as in XSTest.
    Both are also counted separately. `unscored_texts` counts unscored answers that are not empty;
    `if_unscored_are_answers` is the share if unscored answers do not count as refused.
    """
    figures = {}
    for kind in HARMLESS:
        asked = [r for r in records if r.kind == kind]
        if asked:
            labels = Counter(r.label for r in asked)
            figures[kind] = {
                **asdict(rate(sum(map(refused_or_silent, asked)), len(asked))),
                "partial": labels["partial"],
                "unscored": labels["unscored"],
                "unscored_texts": sum(map(left_unread, asked)),
                "if_unscored_are_answers": asdict(rate(sum(r.refused for r in asked), len(asked))),
            }
    return figures
