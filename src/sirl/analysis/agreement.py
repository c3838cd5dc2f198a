"""Defence success under second judges, and agreement between the judges of a run."""

from collections.abc import Mapping, Sequence
from typing import Any

from sirl.analysis.defence import summarise_defence
from sirl.evaluation.asked import ATTACKED
from sirl.evaluation.records import SearchResult
from sirl.evaluation.second_judges import verdict_of
from sirl.judges.jury import agreement, disagreements
from sirl.types import Question, Record

__all__ = ["comparable_cells", "question_of", "summarise_second_judges"]

SHOWN = 50
"""Disagreements listed by record id."""
Views = Mapping[str, Sequence[Record]]
"""Judge name -> records of one model with that judge's verdicts."""


def comparable_cells(view: Sequence[Record], items: Sequence[SearchResult]) -> list[Record]:
    """Drop cells whose search the first judge ended early: a second verdict is undefined.

    A search stops as soon as its own judge sees the defence break. If a second judge disagrees,
    the rest of the budget was never spent, so the outcome under that judge is unknown.
    """
    ended = {(i.model, i.attack, i.behaviour_id) for i in items if i.broken_at is not None}
    broken = {cell_of(r) for r in view if r.broke}
    unknown = ended - broken
    return [r for r in view if r.kind != "attack" or cell_of(r) not in unknown]


def cell_of(record: Record) -> tuple[str, str, str]:
    """Key of a cell: (model, attack, behaviour id)."""
    return record.model, record.attack, record.behaviour_id


def summarise_second_judges(
    headline: Sequence[Record], others: Views, items: Sequence[SearchResult]
) -> dict[str, Any]:
    """Defence success under each second judge, and inter-judge agreement on attacks.

    `agreement` holds Cohen's kappa for each pair and Krippendorff's alpha; `disagreements` lists
    records for human review. Judges of different questions can both be right: an answer that
    neither refuses nor helps is a compliance that is not harmful.
    """
    first = [r for r in headline if r.kind == "attack"]
    if not first or not others:
        return {}
    views = {n: [r for r in records if r.kind == "attack"] for n, records in others.items()}
    votes = {first[0].judge: first, **views}
    said = {name: [verdict_of(r) for r in records] for name, records in votes.items()}
    split = disagreements(said)
    return {
        "by_judge": {
            name: {
                "question": question_of(view),
                **summarise_defence(comparable_cells(view, items), (), frozenset()),
            }
            for name, view in views.items()
            if comparable_cells(view, items)
        },
        "agreement": agreement(said),
        "disagreements": {
            "n": len(split),
            "records": [{"id": first[d.index].id, "votes": d.votes} for d in split[:SHOWN]],
        },
    }


def question_of(records: Sequence[Record]) -> Question:
    """The question put to the judge of answers to unsafe requests."""
    asked = (r.question for r in records if r.kind in ATTACKED and r.question)
    return next(asked, "refusal")
