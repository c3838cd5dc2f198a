"""One evaluated model read from a run folder, and checks that two were evaluated alike.

Two models are comparable if prompts, templates, sampling settings, answer lengths and judges are
the same. The first difference is an error that names it.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sirl.analysis.doubts import doubts
from sirl.analysis.measured import called, left_out
from sirl.analysis.summary import by_refusal
from sirl.errors import InputError, did_you_mean
from sirl.evaluation.records import Item, read_items, read_records
from sirl.evaluation.second_judges import read_opinions, recorded
from sirl.evaluation.suite import Evaluation
from sirl.runs import Run
from sirl.runs.disk import damaged
from sirl.types import Record

__all__ = [
    "HARMLESS",
    "Arm",
    "check_asking",
    "check_attacks",
    "check_prompts",
    "check_settings",
    "check_two",
    "counted",
    "figures_of",
    "judge_identities",
    "read_arm",
    "read_arms",
    "tried",
]

HARMLESS = ("ordinary", "lookalike")
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
LONGEST = 300
"""Characters that are shown of what ended a run."""
SAME_FILES = "evaluate both with the same files and settings"


@dataclass(frozen=True)
class Arm:
    """One model in one finished run."""

    path: Path
    model: str
    models: tuple[str, ...]
    """All models of the run, in order."""
    records: tuple[Record, ...]
    """Its answers without those of tampered weights and the probes of searches."""
    told: tuple[Record, ...]
    """The same answers as the judge of refusals sees them."""
    items: tuple[Item, ...]
    about: Mapping[str, Any]
    """`run.json`."""
    config: Mapping[str, Any]

    @property
    def title(self) -> str:
        """The name of the model; of an evaluation's, what it was given as."""
        return called(self.model, self.config.get("model"))

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"{self.title} of {self.path}"

    @property
    def searches(self) -> frozenset[str]:
        """Names of the attacks that took more than one try."""
        return frozenset(i.attack for i in self.items)

    @property
    def attacks(self) -> tuple[str, ...]:
        """Names of the attacks that came to a judged answer, sorted."""
        return tuple(sorted({r.attack for r in self.records if r.kind == "attack"}))


def read_arm(path: Path, model: str | None = None, *, any_judge: bool = False) -> Arm:
    """Read a model of a run folder, by default the last, without taking the lock.

    A run whose judge failed its self-test or is in doubt is an error, unless `any_judge`.

    Raises:
        InputError: The folder is not a finished run, or holds no answers of that model.
        RunError: Its records are damaged.
    """
    run = Run(path, -1, {}, resumed=False)  # read only, without a lock
    about = finished(run)
    if (faults := about.get("judge_faults")) and not any_judge:
        raise InputError(f"{path} does not count: {faults[0]}")
    check_whole(run)
    records, items = answers(run)
    models = tuple(dict.fromkeys(r.model for r in records if r.kind != "weights"))
    if not models:
        raise InputError(f"{path} holds no answers: give the folder of an evaluation")
    chosen = model or models[-1]
    if chosen not in models:
        raise InputError(f"{path} has no model {chosen!r}. {did_you_mean(chosen, models)}")
    mine = tuple(i for i in items if i.model == chosen)
    kinds = ("attack", "capability", *HARMLESS)
    own = [r for r in records if r.model == chosen and r.kind in kinds]
    answered = counted(own, mine)
    if not any_judge and (alarms := doubts(answered)):
        raise InputError(f"{path} does not count, {alarms[0].says}")
    told = by_refusal(Evaluation(answered, mine, {}, read_opinions(run, answered)))
    return Arm(
        path,
        chosen,
        models,
        tuple(answered),
        tuple(told),
        mine,
        about,
        run.settings(),
    )


def finished(run: Run) -> dict[str, Any]:
    """What `run.json` says of a finished run.

    Raises:
        InputError: The folder is not a run, or the run has not finished.
        RunError: `run.json` is damaged.
    """
    path = run.path
    if not (path / "run.json").is_file():
        raise InputError(
            f"{path} is not a run folder: it has no run.json; give one that sirl wrote"
        )
    about = run.read("run.json")
    ended = about.get("exit") or {}
    if not isinstance(ended, dict):
        raise damaged(str(path / "run.json"))
    how = ended.get("how", "not ended")
    if how != "finished":
        raise InputError(
            f"{path} has not finished ({unfinished(how, ended)}): finish it with --resume first"
        )
    return about


def unfinished(how: str, ended: Mapping[str, Any]) -> str:
    """Why a run has not finished, in words."""
    why = " ".join(str(ended.get("why") or "").split())[:LONGEST]
    known = {"not ended": "it runs still, or was killed", "stopped": "it was stopped"}
    return known.get(how) or (f"it ended in an error: {why}" if why else "it ended in an error")


def check_whole(run: Run) -> None:
    """Refuse a run whose logs have lost or gained lines since its summary was written.

    Raises:
        InputError: A log holds another number of lines than the summary says; runs of versions
            that did not count them pass.
    """
    written = run.read("summary.json").get("recorded")
    now = recorded(run)
    for name, counts in written.items() if isinstance(written, dict) else ():
        if now[name] == counts:
            continue
        there, before = sum(now[name].values()), sum(counts.values())
        what = name.partition(".")[0]
        raise InputError(
            f"{run.path / name} has {there} of the {before} {what} that the run wrote: restore it, "
            "or evaluate again"
        )


def figures_of(path: Path) -> dict[str, Any]:
    """The figures of each model in the summary of a run.

    Raises:
        RunError: It is missing or damaged.
    """
    models = Run(path, -1, {}, resumed=False).read("summary.json").get("models")
    if not isinstance(models, dict) or not all(isinstance(m, dict) for m in models.values()):
        raise damaged(str(path / "summary.json"))
    return models


def read_arms(
    paths: tuple[Path, Path], models: tuple[str | None, str | None], *, any_judge: bool = False
) -> tuple[Arm, Arm]:
    """Read two models, before and after; of one run given twice, its first and last by default."""
    second = read_arm(paths[1], models[1], any_judge=any_judge)
    first = models[0]
    if first is None and paths[0].resolve() == paths[1].resolve():
        first = second.models[0]
    return read_arm(paths[0], first, any_judge=any_judge), second


def answers(run: Run) -> tuple[list[Record], list[Item]]:
    """All records and items of a run.

    Raises:
        InputError: Another version wrote it in another format, or it is incomplete.
    """
    records, items = read_records(run), read_items(run)
    known = {r.place for r in records}
    if any((item.model, key) not in known for item in items for key in item.records):
        raise InputError(
            f"{run.path} lacks records that its searches name: finish it with --resume"
        )
    return records, items


def counted(records: Sequence[Record], items: Sequence[Item]) -> list[Record]:
    """The answers that count; an interrupted search may have left others."""
    searches = {(i.model, i.attack) for i in items}
    ended = {(item.model, key) for item in items for key in item.records}
    return [
        r
        for r in records
        if r.kind not in ("attack", "probe")
        or (r.model, r.attack) not in searches
        or r.place in ended
    ]


def check_two(before: Arm, after: Arm) -> None:
    """Refuse one model on both sides."""
    if (before.path.resolve(), before.model) == (after.path.resolve(), after.model):
        raise InputError(f"{before.name} is on both sides: give another run, or name two models")


def check_settings(before: Arm, after: Arm) -> None:
    """Refuse what was not asked, cut and judged alike.

    Judges are compared by their names and, where both runs name one, as the configurations do;
    those that know refusals from a file, by that file.
    """
    check_asking(before, after)
    named = [str(arm.config.get("judge", AUTO)).split(",")[0].strip() for arm in (before, after)]
    if AUTO not in named:
        same("the judge", before, after, named)
    judges = [
        ", ".join(sorted({r.judge for r in arm.records if r.kind != "capability"}))
        for arm in (before, after)
    ]
    same("the judge", before, after, judges)
    known = [headline_identities(arm) for arm in (before, after)]
    if all(known):
        same("the weights, patterns or wording of the judge", before, after, known)
    hashes = [refusals_of(arm) for arm in (before, after)]
    same("the file of refusals that the judge knows", before, after, hashes)


def headline_identities(arm: Arm) -> list[str]:
    """The identities of the judges of its answers, as far as `run.json` tells them."""
    known = judge_identities(arm.about)
    judges = sorted({r.judge for r in arm.records if r.kind != "capability"})
    return [known[name] for name in judges if name in known]


def judge_identities(about: Mapping[str, Any]) -> dict[str, str]:
    """What determined the verdicts of each judge of a run, by the judge's name."""
    told = zip(about.get("judges") or (), about.get("judge_identities") or (), strict=False)
    return {name.rpartition(" (")[0]: identity for name, identity in told}


def refusals_of(arm: Arm) -> object:
    """Hash of the file of refusals that the judge was given, if any."""
    return (arm.about.get("files") or {}).get(arm.config.get("refusals"))


def check_asking(before: Arm, after: Arm) -> None:
    """Refuse what was not asked and cut alike; templates are compared where both are known."""
    templates = [(arm.about.get("model") or {}).get("template") for arm in (before, after)]
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
        dates = [(arm.about.get("model") or {}).get("date", "none") for arm in (before, after)]
        same("template_date, as the chat template writes it,", before, after, dates)


def task_tokens(arm: Arm) -> object:
    """How long an answer to a task may be, where tasks are answered at another length."""
    return arm.config.get("capability_tokens") if arm.config.get("benchmarks") else None


def check_prompts(before: Arm, after: Arm, kinds: Iterable[str]) -> None:
    """Refuse prompts of these kinds that were put to one side alone, or otherwise."""
    for kind in kinds:
        asked = [
            {place(r): (r.messages, r.sampling) for r in arm.records if r.kind == kind}
            for arm in (before, after)
        ]
        same_prompts(f"{kind} prompt", before, after, asked)


def check_attacks(before: Arm, after: Arm, both: Iterable[str]) -> None:
    """Refuse attacks on other behaviours or with other budgets, and disguises of other wording.

    What a search shows the target depends on what came before and is not compared.
    """
    requests = [
        {r.behaviour_id: r.request for r in arm.records if r.kind == "attack" and r.attack in both}
        for arm in (before, after)
    ]
    same_prompts("behaviour", before, after, requests)
    for name in both:
        searched = name in before.searches | after.searches
        asked: list[Mapping[str, Hashable]] = [
            {b: None for b in tried(arm, name)} if searched else wordings(arm, name)
            for arm in (before, after)
        ]
        same_prompts(f"attack {name} on behaviour", before, after, asked)
    if before.searches & after.searches:
        for setting, default in SEARCH_SETTINGS.items():
            given = [arm.config.get(setting, default) for arm in (before, after)]
            same(f"{setting} of the searches", before, after, given)


def same(what: str, before: Arm, after: Arm, values: Sequence[object]) -> None:
    """Refuse two values that differ, by name."""
    old, new = values
    if old != new:
        raise InputError(
            f"{what} differs: {old!r} for {before.name}, {new!r} for {after.name}; "
            "evaluate both with the same settings"
        )


def same_prompts(
    what: str, before: Arm, after: Arm, asked: Sequence[Mapping[str, Hashable]]
) -> None:
    """Refuse two sets of prompts that differ, by the first that does."""
    old, new = asked
    for key in (*old, *new):
        if key not in old or key not in new:
            arm = before if key in old else after
            raise InputError(f"the {what} {key!r} was put only to {arm.name}: {SAME_FILES}")
        if old[key] != new[key]:
            raise InputError(
                f"the {what} {key!r} has another prompt or other sampling for {before.name} "
                f"than for {after.name}: {SAME_FILES}"
            )


def place(record: Record) -> str:
    """A prompt among those of its kind."""
    is_task = record.kind == "capability"
    return f"{record.benchmark}/{record.behaviour_id}" if is_task else record.behaviour_id


def wordings(arm: Arm, attack: str) -> dict[str, Hashable]:
    """What a disguise showed the target, by behaviour."""
    asked = [r for r in arm.records if r.kind == "attack" and r.attack == attack]
    return {r.behaviour_id: (r.messages, r.sampling) for r in asked}


def tried(arm: Arm, attack: str) -> dict[str, None]:
    """The behaviours that an attack was tried on, without an answer too, in order."""
    asked = [r.behaviour_id for r in arm.records if r.kind == "attack" and r.attack == attack]
    ended = [i.behaviour_id for i in arm.items if i.attack == attack]
    return dict.fromkeys((*asked, *ended))
