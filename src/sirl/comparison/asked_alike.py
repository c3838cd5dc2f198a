"""Checks that two models were evaluated alike.

Two models are comparable if prompts, templates, sampling settings, answer lengths and judges are
the same. The first difference is an error that names it.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence

from sirl.analysis.measured import left_out
from sirl.comparison.evaluated_model import EvaluatedModel, judge_identities, tried
from sirl.errors import InputError
from sirl.types import Record

__all__ = ["check_asking", "check_attacks", "check_prompts", "check_settings", "check_two"]

AUTO = "auto"
"""A judge or an attacker that the verb chose."""
SEARCH_SETTINGS = {
    "max_queries": None,
    "max_tokens": None,
    "max_seconds": None,
    "attacker": AUTO,
    "targets": None,
}
"""What a search depends on beside its own settings, and what it is for verbs without the flag."""
SAMPLED = ("temperature", "top_p", "top_k", "max_tokens")
"""Parameters without which a server samples otherwise, or cuts elsewhere."""
SAME_FILES = "evaluate both with the same files and settings"


def check_two(before: EvaluatedModel, after: EvaluatedModel) -> None:
    """Refuse one model on both sides."""
    if (before.path.resolve(), before.model) == (after.path.resolve(), after.model):
        raise InputError(f"{before.name} is on both sides: give another run, or name two models")


def check_settings(before: EvaluatedModel, after: EvaluatedModel) -> None:
    """Refuse what was not asked, cut and judged alike.

    Judges are compared by their names and, where both runs name one, as the configurations do;
    those that know refusals from a file, by that file.
    """
    check_asking(before, after)
    named = [
        str(evaluated.config.get("judge", AUTO)).split(",")[0].strip()
        for evaluated in (before, after)
    ]
    if AUTO not in named:
        same("the judge", before, after, named)
    judges = [
        ", ".join(sorted({r.judge for r in evaluated.records if r.kind != "capability"}))
        for evaluated in (before, after)
    ]
    same("the judge", before, after, judges)
    known = [headline_identities(evaluated) for evaluated in (before, after)]
    if all(known):
        same("the weights, patterns or wording of the judge", before, after, known)
    hashes = [refusals_of(evaluated) for evaluated in (before, after)]
    same("the file of refusals that the judge knows", before, after, hashes)


def headline_identities(evaluated: EvaluatedModel) -> list[str]:
    """The identities of the judges of its answers, as far as `run.json` tells them."""
    known = judge_identities(evaluated.about)
    judges = sorted({r.judge for r in evaluated.records if r.kind != "capability"})
    return [known[name] for name in judges if name in known]


def refusals_of(evaluated: EvaluatedModel) -> object:
    """Hash of the file of refusals that the judge was given, if any."""
    return (evaluated.about.get("files") or {}).get(evaluated.config.get("refusals"))


def check_asking(before: EvaluatedModel, after: EvaluatedModel) -> None:
    """Refuse what was not asked and cut alike; templates are compared where both are known."""
    templates = [
        (evaluated.about.get("model") or {}).get("template") for evaluated in (before, after)
    ]
    same("the version of sirl", before, after, [a.about.get("sirl") for a in (before, after)])
    same("new_tokens", before, after, [a.config.get("new_tokens") for a in (before, after)])
    same("the longest answer to a task", before, after, [task_tokens(a) for a in (before, after)])
    same(
        "what the endpoint does not take of the sampling",
        before,
        after,
        [[name for name in left_out(a.about) if name in SAMPLED] for a in (before, after)],
    )
    fences = [a.about.get("code_sandbox") for a in (before, after)]
    if None not in fences:
        same("code_sandbox, within which the code of answers ran,", before, after, fences)
    if None not in templates:
        same("the chat template", before, after, templates)
        dates = [
            (evaluated.about.get("model") or {}).get("date", "none")
            for evaluated in (before, after)
        ]
        same("template_date, as the chat template writes it,", before, after, dates)


def task_tokens(evaluated: EvaluatedModel) -> object:
    """How long an answer to a task may be, where tasks are answered at another length."""
    return evaluated.config.get("capability_tokens") if evaluated.config.get("benchmarks") else None


def check_prompts(before: EvaluatedModel, after: EvaluatedModel, kinds: Iterable[str]) -> None:
    """Refuse prompts of these kinds that were put to one side alone, or otherwise."""
    for kind in kinds:
        asked = [
            {place(r): (r.messages, r.sampling) for r in evaluated.records if r.kind == kind}
            for evaluated in (before, after)
        ]
        same_prompts(f"{kind} prompt", before, after, asked)


def check_attacks(before: EvaluatedModel, after: EvaluatedModel, both: Iterable[str]) -> None:
    """Refuse attacks on other behaviours or with other budgets, and disguises of other wording.

    What a search shows the target depends on what came before and is not compared.
    """
    requests = [
        {
            r.behaviour_id: r.request
            for r in evaluated.records
            if r.kind == "attack" and r.attack in both
        }
        for evaluated in (before, after)
    ]
    same_prompts("behaviour", before, after, requests)
    for name in both:
        searched = name in before.searches | after.searches
        asked: list[Mapping[str, Hashable]] = [
            {b: None for b in tried(evaluated, name)} if searched else wordings(evaluated, name)
            for evaluated in (before, after)
        ]
        same_prompts(f"attack {name} on behaviour", before, after, asked)
    if before.searches & after.searches:
        for setting, default in SEARCH_SETTINGS.items():
            given = [evaluated.config.get(setting, default) for evaluated in (before, after)]
            same(f"{setting} of the searches", before, after, given)


def same(
    what: str, before: EvaluatedModel, after: EvaluatedModel, values: Sequence[object]
) -> None:
    """Refuse two values that differ, by name."""
    old, new = values
    if old != new:
        raise InputError(
            f"{what} differs: {old!r} for {before.name}, {new!r} for {after.name}; "
            "evaluate both with the same settings"
        )


def same_prompts(
    what: str,
    before: EvaluatedModel,
    after: EvaluatedModel,
    asked: Sequence[Mapping[str, Hashable]],
) -> None:
    """Refuse two sets of prompts that differ, by the first that does."""
    old, new = asked
    for key in (*old, *new):
        if key not in old or key not in new:
            evaluated = before if key in old else after
            raise InputError(f"the {what} {key!r} was put only to {evaluated.name}: {SAME_FILES}")
        if old[key] != new[key]:
            raise InputError(
                f"the {what} {key!r} has another prompt or other sampling for {before.name} "
                f"than for {after.name}: {SAME_FILES}"
            )


def place(record: Record) -> str:
    """A prompt among those of its kind."""
    is_task = record.kind == "capability"
    return f"{record.benchmark}/{record.behaviour_id}" if is_task else record.behaviour_id


def wordings(evaluated: EvaluatedModel, attack: str) -> dict[str, Hashable]:
    """What a disguise showed the target, by behaviour."""
    asked = [r for r in evaluated.records if r.kind == "attack" and r.attack == attack]
    return {r.behaviour_id: (r.messages, r.sampling) for r in asked}
