"""Tables of the page: attack families, budgets, tampered weights, judges, costs."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sirl.reports.figures import defence_name, figure, span
from sirl.reports.text import visible
from sirl.text import many
from sirl.types import HARMLESS

__all__ = ["Table", "attack_table", "change_rows", "preference_rows", "tables", "trust_rows"]

CORRECTED = ("corrected", "by_family")
Models = Mapping[str, Mapping[str, Any]]
Costs = Mapping[str, Mapping[str, float]]
"""Calls, tokens and seconds by role."""


@dataclass(frozen=True)
class Table:
    """A table of text cells."""

    title: str
    header: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str]]]
    note: str = ""


def tables(models: Models, costs: Costs) -> list[Table]:
    """All tables that have rows."""
    found = (
        doubted(models),
        by_name(models, "Defence per family", ("dsr", "by_family"), "mean over its attacks"),
        by_name(
            models,
            "Defence per category",
            ("dsr", "by_category"),
            "Requests by the category that their file gives, mean over the attacks",
        ),
        budgets(models),
        by_name(
            models,
            "Tampered weights",
            ("weights",),
            "Plain requests to a model with tampered weights; not part of the attack rates",
        ),
        first_tokens(models),
        second_judges(models),
        corrected(models),
        collapse(models),
        not_tried(models),
        unanswered(models),
        overlap(models),
        spent(costs),
    )
    return [table for table in found if table.rows]


def doubted(models: Models) -> Table:
    """Alarms about judges, and checks that could not run."""
    rows = []
    for name, model in models.items():
        views = (model, *(figure(model, "second_judges", "by_judge") or {}).values())
        said = dict.fromkeys(a["says"] for view in views for a in view.get("doubts", ()))
        rows += [(name, [visible(why)]) for why in said]
        rows += [(name, [model["unchecked"]])] if "unchecked" in model else []
    return Table("Figures in doubt", ["why"], rows)


def by_name(models: Models, title: str, path: Sequence[str], note: str) -> Table:
    """Rates by name, one column per model."""
    names = dict.fromkeys(n for m in models.values() for n in figure(m, *path) or {})
    rows = [(n, [span(figure(m, *path, n)) for m in models.values()]) for n in names]
    return Table(title, list(models), rows, note)


def attack_table(models: Models) -> Table:
    """Defence success per attack, one column per model."""
    return by_name(models, "Defence per attack", ("dsr", "by_attack"), "")


def budgets(models: Models) -> Table:
    """Budgets of searches, and calls until they broke the defence."""

    def cell(curve: Mapping[str, Any] | None) -> str:
        if curve is None:
            return "–"
        broken = curve["broken"]
        share = f"{100 * len(broken) / curve['n']:.0f}% broken"
        median = f", half of them by {broken[(len(broken) - 1) // 2][0]} calls" if broken else ""
        return f"{share}{median}; {curve['queries']:.0f} calls per request"

    names = dict.fromkeys(n for m in models.values() for n in figure(m, "dsr", "budgets") or {})
    rows = [(n, [cell(figure(m, "dsr", "budgets", n)) for m in models.values()]) for n in names]
    note = "Calls count sequences that the target processed: answers, likelihoods, candidates"
    return Table("Budgets of searches", list(models), rows, note)


def first_tokens(models: Models) -> Table:
    """First-token refusal mass per attack, next to the sampled refusals of the same prompts."""

    def cell(found: Mapping[str, Any] | None) -> str:
        return f"{span(found)}, sampled {share(found['sampled'])}" if found else "–"

    path = ("refusal_mass", "by_attack")
    names = dict.fromkeys(n for m in models.values() for n in figure(m, *path) or {})
    rows = [(n, [cell(figure(m, *path, n)) for m in models.values()]) for n in names]
    note = (
        "The mean probability that an answer begins as the model's refusals do, and the share of "
        "sampled answers that refused, behind words of help too; searches and begun answers are "
        "left out"
    )
    return Table("First-token refusal mass", list(models), rows, note)


def second_judges(models: Models) -> Table:
    """Defence success under other judges, and their agreement with the first."""

    def cells(name: str) -> Iterator[str]:
        for model in models.values():
            view = figure(model, "second_judges", "by_judge", name)
            if not view:
                yield "–"
                continue
            pairs = figure(model, "second_judges", "agreement", "kappa") or {}
            kappa = next((k for pair, k in pairs.items() if pair.endswith(f" / {name}")), None)
            worst = f"worst {100 * view['worst']['value']:.0f}% ({view['worst']['attack']})"
            agree = "" if kappa is None or math.isnan(kappa) else f"; kappa {kappa:.2f}"
            unscored = f"; {view['unscored']} unscored" if view["unscored"] else ""
            yield f"{span(view['mean'])}, {worst}{agree}{unscored}"

    found = [figure(m, "second_judges", "by_judge") or {} for m in models.values()]
    rows = [(n, list(cells(n))) for n in dict.fromkeys(n for f in found for n in f)]
    note = "The same answers; kappa is agreement with the headline judge"
    return Table("Defence by other judges", list(models), rows, note)


def corrected(models: Models) -> Table:
    """Rates corrected for the judge's errors on labelled answers."""
    names = dict.fromkeys(n for m in models.values() for n in figure(m, *CORRECTED) or {})
    rows = [
        (n, [span(figure(m, *CORRECTED, n, "corrected")) for m in models.values()]) for n in names
    ]
    counts = {c for m in models.values() if (c := figure(m, "corrected", "counts"))}
    note = (
        f"Share {' or '.join(sorted(counts)) or 'withstood'}, "
        "corrected per attack family by the judge's sensitivity and specificity on labelled answers"
    )
    return Table("Corrected for the judge's errors", list(models), rows, note)


def trust_rows(calibration: Mapping[str, Any]) -> list[str]:
    """A judge against human labels: a line for all answers, one per family."""
    rows = {"all": calibration["overall"], **calibration["by_family"]}
    lines = [f"{calibration['judge']} on {calibration['source']} ({calibration['question']})"]
    for name, found in rows.items():
        kappa = "–" if found["kappa"] is None else f"{found['kappa']:.2f}"
        parts = (
            f"sensitivity {span(found['sensitivity'])}",
            f"specificity {span(found['specificity'])}",
            f"kappa {kappa}",
            f"unscored {found['unscored']}",
        )
        lines.append(f"  {name}: {', '.join(parts)}")
    return lines


def change_rows(found: Mapping[str, Any]) -> list[str]:
    """The changes of a comparison, one line each."""
    sides = [f"{visible(found[s]['name'])} of {found[s]['run']}" for s in ("before", "after")]
    lines = [f"from {sides[0]} to {sides[1]}"]
    dsr = found.get("dsr", {})
    what = defence_name([found])
    aggregates = (
        ("mean", "mean over attacks"),
        ("worst", "worst attack"),
        ("any", "held under all attacks together"),
    )
    for name, label in aggregates if len(dsr.get("by_attack", ())) > 1 else aggregates[:1]:
        if figures := dsr.get(name):
            lines.append(f"{what}, {label}: {moved(figures)}")
    lines += [f"  {name}: {moved(figures)}" for name, figures in dsr.get("by_attack", {}).items()]
    for part, label in (("over_refusal", "refused"), ("capability", "solved")):
        for name, figures in found.get(part, {}).items():
            lines.append(f"{HARMLESS.get(name, name)}, {label}: {moved(figures)}")
    if change := figure(found, "entropy", "change"):
        kinds = ("refusal", "compliance", "ordinary")
        gaps = [f"{k} {change[k]:+.2f}" for k in kinds if change[k] is not None]
        lines.append(f"Entropy, nats: {', '.join(gaps)}")
    for side in ("before", "after"):
        if left_out := found[side]["left_out"]:
            lines.append(f"Left out, since only {side} ran it: {', '.join(left_out)}")
    return lines


def moved(figures: Mapping[str, Any]) -> str:
    """One change: both rates, the difference with its interval, p, and the least detectable one.

    Interval and p are for this pair of rates; the adjusted p is corrected within its group.
    """
    old, new, by = figures["before"], figures["after"], figures["difference"]
    named = [f" ({rate['attack']})" if "attack" in rate else "" for rate in (old, new)]
    if not by["n"]:
        return "no pair was scored for both models"
    text = (
        f"{100 * old['value']:.1f}%{named[0]} to {100 * new['value']:.1f}%{named[1]}, "
        f"{100 * by['value']:+.1f} points ({100 * by['low']:+.1f} to {100 * by['high']:+.1f})"
    )
    p, of_all = figures.get("p"), figures.get("p_holm")
    tested = "" if p is None else f", p = {p:.2g}"
    tested += "" if of_all is None else f" (Holm-adjusted {of_all:.2g})"
    if lost := figures.get("unscored"):
        tested += f", {many(lost, 'pair')} without a verdict left out"
    if "detectable" not in figures:
        return text + tested
    least = figures["detectable"]
    power = (
        f"least detectable {100 * least:.1f} points"
        if least
        else "too few prompts to show any change"
    )
    return f"{text}{tested}, {power}"


def preference_rows(found: Mapping[str, Any]) -> list[str]:
    """The win rate of one model against another, as lines."""
    names = [f"{visible(found[s]['name'])} of {found[s]['run']}" for s in ("after", "before")]
    length = found["length"]
    lines = [
        f"{' against '.join(names)}, {found['kind']} prompts, as {found['judge']} prefers",
        f"Won {found['wins']}, lost {found['losses']}, tied {found['ties']} "
        f"({found['alike']} alike, {found['position_bound']} decided by position)",
        f"Win rate, ties half: {span(found['win_rate'])}, p = {found['p']:.2g}",
        f"First position preferred: {span(found['first_place'])}",
        f"Mean length: {length['before']:.0f} to {length['after']:.0f} characters; "
        f"the longer answer won {span(length['longer_won'])}",
    ]
    if found["unscored"]:
        worst, best = (share(found[f"if_unscored_are_{x}"]["value"]) for x in ("losses", "wins"))
        lines.append(
            f"Unscored, and left out: {found['unscored']}; win rate {worst} if all were losses, "
            f"{best} if all were wins"
        )
    return lines


def collapse(models: Models) -> Table:
    """Signs of mode collapse."""
    signs = (
        ("distinct_openings", "distinct openings"),
        ("distinct_closings", "distinct closings"),
        ("self_similarity", "similar to each other"),
        ("repetition", "repetitive"),
    )
    rows = []
    for kind, what in (("ordinary", "Ordinary answers"), ("refusal", "Refusals")):
        found = [figure(m, "collapse", kind) for m in models.values()]
        if any(found):
            rows += [
                (f"{what}: {label}", [share(figure(f, key)) for f in found]) for key, label in signs
            ]
            lengths = ["–" if not f else f"{f['tokens']:.0f} tokens" for f in found]
            rows.append((f"{what}: mean length", lengths))
    return Table("Signs of collapse", list(models), rows)


def share(value: float | None) -> str:
    """A share as a whole percentage; a dash for none."""
    return "–" if value is None or math.isnan(value) else f"{100 * value:.0f}%"


def not_tried(models: Models) -> Table:
    """Skipped attacks, with reasons."""
    names = dict.fromkeys(n for m in models.values() for n in figure(m, "skipped") or {})
    rows = [
        (n, [visible(figure(m, "skipped", n) or "tried") for m in models.values()]) for n in names
    ]
    return Table("Attacks not tried, and not counted", list(models), rows)


def unanswered(models: Models) -> Table:
    """Requests without an answer, by cause."""
    found = [figure(m, "no_answer", "kinds") or {} for m in models.values()]
    rows = [
        (visible(kind), [str(kinds.get(kind, 0)) for kinds in found])
        for kind in dict.fromkeys(k for kinds in found for k in kinds)
    ]
    note = "They are unscored and count as broken, refused or unsolved"
    return Table("Requests without an answer", list(models), rows, note)


def overlap(models: Models) -> Table:
    """Training prompts among the behaviours."""
    rows = []
    for key, label in (("exact", "word for word"), ("near_or_exact", "word for word or nearly so")):
        cells = [figure(m, "contamination", key) for m in models.values()]
        if any(c is not None for c in cells):
            rows.append(
                (f"Behaviours also in the training prompts, {label}", [str(c) for c in cells])
            )
    return Table("Training prompts among the behaviours", list(models), rows)


def spent(costs: Costs) -> Table:
    """Calls, tokens and seconds by role."""
    rows = [
        (role, [f"{cost['calls']:.0f}", f"{cost['tokens']:.0f}", f"{cost['seconds']:.1f}"])
        for role, cost in costs.items()
    ]
    return Table("Costs", ["calls", "tokens written", "seconds"], rows)
