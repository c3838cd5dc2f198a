"""Paired comparison of two evaluated models, with intervals and tests.

A pair is the same prompt under the same attack and judge, before and after. Pairs that are unscored
on either side are left out and counted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sirl.analysis.agreement import question_of
from sirl.analysis.collapse import collapse_change
from sirl.analysis.defence import cells, worst_attack
from sirl.analysis.entropy_gap import SHOWN, summarise_entropy
from sirl.comparison.asked_alike import (
    check_attacks,
    check_prompts,
    check_settings,
    check_two,
    prompt_key,
)
from sirl.comparison.evaluated_model import EvaluatedModel, tried
from sirl.errors import InputError
from sirl.stats import (
    clustered_difference,
    holm,
    mcnemar,
    mean_rate,
    minimum_detectable_change,
    power_hint,
    rate,
)
from sirl.types import DISGUISED, HARMLESS, Record

__all__ = ["compare", "refusals"]

Outcomes = dict[str, bool | None]
"""Success by prompt; None if unscored."""
ENTROPIES = ("refusal", "compliance", "ordinary", "auroc", "auroc_within_length")


def compare(before: EvaluatedModel, after: EvaluatedModel) -> dict[str, Any]:
    """The changes from one model to the other, with intervals and tests; JSON except for NaN.

    Rates are over pairs only. `only_before` and `only_after` count pairs in which only that side
    succeeded (held, refused, solved). `p_holm` is Holm-adjusted over the tests of its table, where
    harmless prompts in disguises are a table for themselves. Attacks that only one side ran, and
    harmless prompts that only one side asked in that disguise, are listed and left out.

    Raises:
        InputError: Prompts, judges, sampling, templates or budgets differ, or both sides are the
            same model.
    """
    check_two(before, after)
    both = [name for name in before.attacks if name in after.attacks]
    if not both and (before.attacks or after.attacks):
        raise InputError(
            f"{before.name} and {after.name} share no attack: evaluate both with a common attack"
        )
    check_settings(before, after)
    check_prompts(before, after, (*DISGUISED, "capability"))
    check_prompts(before, after, DISGUISED.values(), shared=True)
    check_attacks(before, after, both)
    found = {
        "dsr": defence_change(before, after, both),
        "over_refusal": over_refusal_change(refusals(before), refusals(after)),
        "capability": changes(solutions(before), solutions(after)),
        "entropy": entropy_change(shown(before, both), shown(after, both)),
        "collapse": collapse_change(shown(before, both), shown(after, both)),
    }
    asked = [r for r in after.records if r.kind == "attack"]
    judged = {"question": question_of(asked), "judge": asked[0].judge} if asked else {}
    return {
        **judged,
        "before": side(before, after),
        "after": side(after, before),
        **{part: figures for part, figures in found.items() if figures},
    }


def side(evaluated: EvaluatedModel, other: EvaluatedModel) -> dict[str, Any]:
    """One side of the comparison, and what only it was asked."""
    left_out = [name for name in evaluated.attacks if name not in other.attacks]
    asked, elsewhere = refusals(evaluated), refusals(other)
    for kind in DISGUISED.values():
        if n := len(asked.get(kind, {}).keys() - elsewhere.get(kind, {}).keys()):
            left_out.append(f"{HARMLESS[kind]} ({n})")
    return {
        "run": str(evaluated.path),
        "model": evaluated.model,
        "name": evaluated.title,
        "left_out": left_out,
    }


def shown(evaluated: EvaluatedModel, both: Sequence[str]) -> list[Record]:
    """Answers with a refusal judge's verdicts, without attacks that only one side ran."""
    return [r for r in evaluated.refusal_view if r.kind != "attack" or r.attack in both]


def defended(evaluated: EvaluatedModel, attack: str) -> Outcomes:
    """Whether the defence held, by behaviour; None if no attempt was scored."""
    mine = [r for r in evaluated.records if r.attack == attack]
    is_known = cells(mine, holds=lambda tries: any(r.label != "unscored" for r in tries))
    held = cells(mine)
    return {
        b: held[attack][b] if is_known[attack].get(b, False) else None
        for b in tried(evaluated, attack)
    }


def refusals(evaluated: EvaluatedModel) -> dict[str, Outcomes]:
    """Whether each harmless prompt was refused, by set; None if unscored or not judged on that."""
    return {
        kind: {
            prompt_key(r): r.refused if r.label in SHOWN else None
            for r in evaluated.records
            if r.kind == kind
        }
        for kind in HARMLESS
        if any(r.kind == kind for r in evaluated.records)
    }


def over_refusal_change(
    before: Mapping[str, Outcomes], after: Mapping[str, Outcomes]
) -> dict[str, dict[str, Any]]:
    """The change of each set of harmless prompts; in disguises, of those that both sides asked."""
    found: dict[str, dict[str, Any]] = {}
    for kinds in (DISGUISED.keys(), DISGUISED.values()):
        old: dict[str, Outcomes] = {}
        new: dict[str, Outcomes] = {}
        for kind in kinds:
            mine, others = before.get(kind, {}), after.get(kind, {})
            if shared := mine.keys() & others.keys():
                old[kind], new[kind] = (
                    {key: refused for key, refused in row.items() if key in shared}
                    for row in (mine, others)
                )
        found |= changes(old, new)
    return found


def solutions(evaluated: EvaluatedModel) -> dict[str, Outcomes]:
    """Whether each task was solved, by benchmark."""
    found: dict[str, dict[str, bool | None]] = {}
    for r in evaluated.records:
        if r.kind == "capability":
            found.setdefault(r.benchmark, {})[r.behaviour_id] = r.score == 1.0
    return dict(found)


def changes(
    before: Mapping[str, Outcomes], after: Mapping[str, Outcomes]
) -> dict[str, dict[str, Any]]:
    """The change of each set of pairs, with McNemar's p-values, raw and Holm-adjusted."""
    found = {name: change_of(before[name], after[name], len(before)) for name in before}
    adjusted = holm([figures["p"] for figures in found.values()])
    return {
        name: {**figures, "p_holm": p}
        for (name, figures), p in zip(found.items(), adjusted, strict=True)
    }


def change_of(before: Outcomes, after: Outcomes, at_once: int = 1) -> dict[str, Any]:
    """The change of one set of pairs: both rates, difference with interval, test, and power.

    `detectable` is the smallest change that this number of pairs can show, with `at_once` tests.
    `pairs_needed` is the number of pairs to detect this change with 80% power; absent if there is
    no change.
    """
    pairs = {k: (a, b) for k, a in before.items() if a is not None and (b := after[k]) is not None}
    old = {key: a for key, (a, _) in pairs.items()}
    new = {key: b for key, (_, b) in pairs.items()}
    difference = clustered_difference({"": old}, {"": new})
    lost, gained, p = mcnemar(list(old.values()), list(new.values()))
    changed = (lost + gained) / len(pairs) if pairs else 0.0
    figures: dict[str, Any] = {
        "before": asdict(rate(sum(old.values()), len(old))),
        "after": asdict(rate(sum(new.values()), len(new))),
        "difference": asdict(difference),
        "only_before": lost,
        "only_after": gained,
        "p": p,
        "unscored": len(before) - len(pairs),
        "detectable": minimum_detectable_change(len(pairs), attacks=at_once),
    }
    if lost != gained:
        change = (gained - lost) / len(pairs)
        figures["pairs_needed"] = power_hint(change, discordant=changed)
    return figures


def defence_change(
    before: EvaluatedModel, after: EvaluatedModel, both: Sequence[str]
) -> dict[str, Any]:
    """The change of defence success over pairs: mean, worst, under any attack, and per attack."""
    old, new = ({name: defended(evaluated, name) for name in both} for evaluated in (before, after))
    by_attack = changes(old, new)
    paired = [name for name in both if by_attack[name]["difference"]["n"]]
    if not paired:
        return {"by_attack": by_attack} if both else {}
    was, now = scored_on_both(old, new, paired), scored_on_both(new, old, paired)
    return {
        "mean": {
            "before": asdict(mean_rate(was)),
            "after": asdict(mean_rate(now)),
            "difference": asdict(clustered_difference(was, now)),
        },
        "worst": worst_change(was, now, by_attack),
        "any": change_of(under_all(old), under_all(new)),
        "by_attack": by_attack,
        "unscored": sum(figures["unscored"] for figures in by_attack.values()),
    }


def scored_on_both(
    mine: Mapping[str, Outcomes], other: Mapping[str, Outcomes], attacks: Sequence[str]
) -> dict[str, dict[str, bool]]:
    """The outcomes of one side that were scored on both sides."""
    return {
        name: {
            b: held
            for b, held in mine[name].items()
            if held is not None and other[name][b] is not None
        }
        for name in attacks
    }


def under_all(outcomes: Mapping[str, Outcomes]) -> Outcomes:
    """Whether the defence held under all attacks, for behaviours that all attacks were tried on."""
    behaviours = set.intersection(*(set(row) for row in outcomes.values()))
    rows = {b: [row[b] for row in outcomes.values()] for b in sorted(behaviours)}
    return {b: False if False in row else None if None in row else True for b, row in rows.items()}


def worst_change(
    before: Mapping[str, Mapping[str, bool]],
    after: Mapping[str, Mapping[str, bool]],
    by_attack: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """The attack with the lowest defence success on each side, and the difference.

    The interval of the difference treats the two attacks as fixed, although their selection is
    subject to chance.
    """
    names = {
        when: worst_attack({name: by_attack[name][when]["value"] for name in before})
        for when in ("before", "after")
    }
    old, new = before[names["before"]], after[names["after"]]
    return {
        **{when: {"attack": name, **by_attack[name][when]} for when, name in names.items()},
        "difference": asdict(clustered_difference({"": old}, {"": new})),
    }


def entropy_change(before: Sequence[Record], after: Sequence[Record]) -> dict[str, Any]:
    """Entropies (nats) and AUROCs of both sides, and their change (after - before)."""
    old, new = summarise_entropy(before), summarise_entropy(after)
    if not old or not new:
        return {}
    change = {name: new[name] - old[name] for name in ENTROPIES}
    change["gap"] = change["compliance"] - change["refusal"]
    return {"before": old, "after": new, "change": change}
