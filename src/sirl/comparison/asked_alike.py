"""Checks that two models were evaluated alike.

Two models are comparable if prompts, templates, sampling settings, answer lengths and judges are
the same. The first difference is an error that names it.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence

from sirl.analysis.measured import left_out
from sirl.comparison.evaluated_model import EvaluatedModel, judge_identities, tried
from sirl.errors import InputError
from sirl.types import DISGUISED, Record

__all__ = [
    "check_asking",
    "check_attacks",
    "check_prompts",
    "check_settings",
    "check_two",
    "prompt_key",
]

AUTO = "auto"
"""Setting of a judge or attacker that the verb chooses."""
SEARCH_SETTINGS = {
    "max_queries": None,
    "max_tokens": None,
    "max_seconds": None,
    "attacker": AUTO,
    "targets": None,
}
"""Settings of the run that searches depend on -> default for verbs without the flag."""
SAMPLED = ("temperature", "top_p", "top_k", "max_tokens")
"""Parameters that change a server's sampling or maximum length if it does not accept them."""
SAME_SETTINGS = "evaluate both with the same settings"
JUDGE_AGAIN = "judge the older run again, with sirl judge again, and compare that"
SAME_FILES = "evaluate both with the same files and settings"


def check_two(before: EvaluatedModel, after: EvaluatedModel) -> None:
    """Check that the two sides are different models.

    Raises:
        InputError: Both sides are the same model of the same run.
    """
    if (before.path.resolve(), before.model) == (after.path.resolve(), after.model):
        raise InputError(f"{before.name} is on both sides: give another run, or name two models")


def check_settings(before: EvaluatedModel, after: EvaluatedModel) -> None:
    """Check that sampling, lengths and judges were the same.

    Judges are compared by name, by the setting `judge` if both runs set it, by identity if both
    are known, and by the file of refusals.

    Raises:
        InputError: A setting differs.
    """
    check_asking(before, after)
    named = [
        str(evaluated.config.get("judge", AUTO)).split(",")[0].strip()
        for evaluated in (before, after)
    ]
    if AUTO not in named:
        check_same("the judge", before, after, named)
    judges = [
        ", ".join(sorted({r.judge for r in evaluated.records if r.kind != "capability"}))
        for evaluated in (before, after)
    ]
    check_same("the judge", before, after, judges)
    known = [headline_identities(evaluated) for evaluated in (before, after)]
    if all(known):
        check_same(
            "the weights, patterns or wording of the judge", before, after, known, JUDGE_AGAIN
        )
    hashes = [refusals_of(evaluated) for evaluated in (before, after)]
    check_same("the file of refusals that the judge knows", before, after, hashes)


def headline_identities(evaluated: EvaluatedModel) -> list[str]:
    """The identities of the judges of its answers, as far as `run.json` has them."""
    known = judge_identities(evaluated.about)
    judges = sorted({r.judge for r in evaluated.records if r.kind != "capability"})
    return [known[name] for name in judges if name in known]


def refusals_of(evaluated: EvaluatedModel) -> object:
    """Hash of the judge's file of refusals; None without one."""
    return (evaluated.about.get("files") or {}).get(evaluated.config.get("refusals"))


def check_asking(before: EvaluatedModel, after: EvaluatedModel) -> None:
    """Check that sampling and lengths were the same; templates only if both are known.

    Raises:
        InputError: A setting differs.
    """
    templates = [
        (evaluated.about.get("model") or {}).get("template") for evaluated in (before, after)
    ]
    check_same("the version of sirl", before, after, [a.about.get("sirl") for a in (before, after)])
    check_same("new_tokens", before, after, [a.config.get("new_tokens") for a in (before, after)])
    check_same(
        "the longest answer to a task", before, after, [task_tokens(a) for a in (before, after)]
    )
    check_same(
        "the set of sampling parameters that the endpoint does not accept",
        before,
        after,
        [[name for name in left_out(a.about) if name in SAMPLED] for a in (before, after)],
    )
    fences = [a.about.get("code_sandbox") for a in (before, after)]
    if None not in fences:
        check_same("code_sandbox, within which the code of answers ran,", before, after, fences)
    if None not in templates:
        check_same("the chat template", before, after, templates)
        dates = [
            (evaluated.about.get("model") or {}).get("date", "none")
            for evaluated in (before, after)
        ]
        check_same("template_date, as the chat template writes it,", before, after, dates)


def task_tokens(evaluated: EvaluatedModel) -> object:
    """Maximum answer length of tasks in tokens; None without benchmarks or a separate limit."""
    return evaluated.config.get("capability_tokens") if evaluated.config.get("benchmarks") else None


def check_prompts(
    before: EvaluatedModel, after: EvaluatedModel, kinds: Iterable[str], *, shared: bool = False
) -> None:
    """Check that both sides were asked the same prompts of these kinds.

    `shared` allows prompts that only one side was asked.

    Raises:
        InputError: A prompt was asked on one side only, or with other messages or sampling.
    """
    for kind in kinds:
        asked = [
            {prompt_key(r): (r.messages, r.sampling) for r in evaluated.records if r.kind == kind}
            for evaluated in (before, after)
        ]
        if shared:
            both = asked[0].keys() & asked[1].keys()
            asked = [{key: said for key, said in row.items() if key in both} for row in asked]
        what = " ".join(reversed(kind.split("_")))  # disguised ordinary
        check_same_prompts(f"{what} prompt", before, after, asked)


def check_attacks(before: EvaluatedModel, after: EvaluatedModel, both: Iterable[str]) -> None:
    """Check that attacks had the same behaviours and budgets, and disguises the same wording.

    The prompts of searches depend on the target's answers and are not compared.

    Raises:
        InputError: Behaviours, prompts or budgets differ.
    """
    requests = [
        {
            r.behaviour_id: r.request
            for r in evaluated.records
            if r.kind == "attack" and r.attack in both
        }
        for evaluated in (before, after)
    ]
    check_same_prompts("behaviour", before, after, requests)
    for name in both:
        searched = name in before.searches | after.searches
        asked: list[Mapping[str, Hashable]] = [
            {b: None for b in tried(evaluated, name)} if searched else wordings(evaluated, name)
            for evaluated in (before, after)
        ]
        check_same_prompts(f"attack {name} on behaviour", before, after, asked)
    if before.searches & after.searches:
        for setting, default in SEARCH_SETTINGS.items():
            given = [evaluated.config.get(setting, default) for evaluated in (before, after)]
            check_same(f"{setting} of the searches", before, after, given)


def check_same(
    what: str,
    before: EvaluatedModel,
    after: EvaluatedModel,
    values: Sequence[object],
    way_out: str = SAME_SETTINGS,
) -> None:
    """Raise `InputError` if the two values differ."""
    old, new = values
    if old != new:
        raise InputError(
            f"{what} differs: {old!r} for {before.name}, {new!r} for {after.name}; {way_out}"
        )


def check_same_prompts(
    what: str,
    before: EvaluatedModel,
    after: EvaluatedModel,
    asked: Sequence[Mapping[str, Hashable]],
) -> None:
    """Raise `InputError` for the first prompt that differs between the two sides."""
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


def prompt_key(record: Record) -> str:
    """Key of a prompt within its kind."""
    if record.kind == "capability":
        return f"{record.benchmark}/{record.behaviour_id}"
    disguised = record.kind in DISGUISED.values()
    return f"{record.attack}/{record.behaviour_id}" if disguised else record.behaviour_id


def wordings(evaluated: EvaluatedModel, attack: str) -> dict[str, Hashable]:
    """Prompt and sampling of a disguise, by behaviour id."""
    asked = [r for r in evaluated.records if r.kind == "attack" and r.attack == attack]
    return {r.behaviour_id: (r.messages, r.sampling) for r in asked}
