"""The results of one model, by part; parts that were not measured are absent."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from sirl.analysis.agreement import question_of, summarise_second_judges
from sirl.analysis.capability import summarise_capability, unfinished
from sirl.analysis.collapse import collapse_signs
from sirl.analysis.defence import summarise_defence, summarise_weights
from sirl.analysis.doubts import summarise_doubts, unchecked
from sirl.analysis.entropy_gap import summarise_entropy
from sirl.analysis.measured import counted_prompts, cut_answers, unshown_thoughts
from sirl.analysis.prefills import summarise_prefills
from sirl.analysis.price import summarise_over_refusal
from sirl.evaluation.asked import ATTACKED
from sirl.evaluation.suite import ModelResults
from sirl.types import Record

__all__ = ["by_refusal", "summarise"]


def summarise(
    evaluation: ModelResults,
    unseen: frozenset[str] = frozenset(),
    *,
    new_tokens: int | None = None,
    hardened: bool = False,
) -> dict[str, Any]:
    """Defence success, over-refusal, capability, entropy, alarms and skipped attacks of a model.

    The entropy gap and the signs of collapse are about refusals, so they use a judge of refusals
    even if another judge gives the headline. Cut answers are counted if `new_tokens`, the maximum
    answer length, is given. `hardened` says that sirl has trained the model.
    """
    records = evaluation.records
    summary: dict[str, Any] = {}
    if asked_of := counted_prompts(records):
        summary["asked"] = asked_of
    if any(r.kind == "attack" for r in records):
        asked = [r for r in records if r.kind == "attack"]
        summary["judge"], summary["question"] = asked[0].judge, question_of(asked)
        summary["dsr"] = summarise_defence(records, evaluation.items, unseen)
    refusals = by_refusal(evaluation)
    parts = {
        "weights": summarise_weights(records),
        "prefill": summarise_prefills(refusals),
        "over_refusal": summarise_over_refusal(records),
        "capability": summarise_capability(records),
        "unfinished": unfinished(records),
        "entropy": summarise_entropy(refusals, hardened=hardened),
        "collapse": collapse_signs(refusals),
        "cut": cut_answers(records, new_tokens) if new_tokens else {},
        "thoughts": unshown_thoughts(records),
        "no_answer": unanswered(records),
    }
    summary |= {part: figures for part, figures in parts.items() if figures}
    summary |= in_doubt(evaluation)
    if others := summarise_second_judges(records, evaluation.second_judges, evaluation.items):
        for judge, view in others["by_judge"].items():
            if alarms := summarise_doubts(evaluation.second_judges[judge]):
                view["doubts"] = alarms
        summary["second_judges"] = others
    if evaluation.skipped:
        summary["skipped"] = dict(evaluation.skipped)
    return summary


def in_doubt(evaluation: ModelResults) -> dict[str, Any]:
    """Alarms about the judge, and the reason if a check was impossible; empty without either."""
    found: dict[str, Any] = {}
    if alarms := summarise_doubts(evaluation.records):
        found["doubts"] = alarms
    if reason := unchecked(evaluation.records):
        found["unchecked"] = reason
    return found


def unanswered(records: Sequence[Record]) -> dict[str, Any]:
    """Number of requests without an answer to judge, by fault; empty if all were answered.

    >>> unanswered([])
    {}
    """
    faults = Counter(r.fault.partition(":")[0] for r in records if r.fault)
    if not faults:
        return {}
    kinds = ", ".join(f"{n} {kind}" for kind, n in faults.most_common())
    return {
        "n": faults.total(),
        "requests": len(records),
        "kinds": dict(faults.most_common()),
        "sentence": f"{faults.total()} of {len(records)} requests got no answer: {kinds}",
    }


def by_refusal(evaluation: ModelResults) -> Sequence[Record]:
    """The records with a refusal judge's verdicts on attacks; unchanged without such a judge."""
    if question_of(evaluation.records) == "refusal":
        return evaluation.records
    for view in evaluation.second_judges.values():
        if question_of(view) == "refusal":
            rest = [r for r in evaluation.records if r.kind not in ATTACKED]
            return [*view, *rest]
    return evaluation.records
