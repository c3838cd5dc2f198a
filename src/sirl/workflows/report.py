"""Draws the report page of a run folder."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from math import isnan
from pathlib import Path
from typing import Any

from sirl.analysis.defence import cells
from sirl.analysis.entropy_gap import SHOWN
from sirl.analysis.held import refused_or_silent
from sirl.analysis.measured import in_words
from sirl.analysis.summary import by_refusal
from sirl.comparison.evaluated_model import check_whole, finished
from sirl.errors import InputError
from sirl.evaluation.costs import COSTS, total
from sirl.evaluation.records import read_records
from sirl.evaluation.second_judges import read_second_verdicts
from sirl.evaluation.suite import ModelResults
from sirl.registry.suites import unseen_attacks
from sirl.reports.page import PageData, ShownAnswer, write_page
from sirl.reports.text import visible
from sirl.runs import RunReader, missing_steps, rows_by_step
from sirl.runs.disk import check_has
from sirl.stats import clustered_difference
from sirl.types import Record

__all__ = [
    "advises_against",
    "check_complete",
    "hardened_step",
    "outcome",
    "redraw",
    "words",
    "write_report",
]

LONGEST_NAME = 60
"""Maximum characters of a model's name in tables and plots."""
DRAWN = ("evaluate", "probe", "train", "demo", "judge again")
"""Verbs whose runs have a page."""
METRICS = "metrics.jsonl"
FIGURES = ("measured", "models")
FACTS = ("command", "hardware", "model", "seed", "sirl", "starts", "versions")
"""What a page needs of `summary.json` and `run.json`."""
EACH = 2
"""Examples of each kind."""


def write_report(path: Path, summary: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Draw the page of a run from the files in its folder."""
    run = RunReader(path)
    records = read_records(run)
    what = summary["measured"]
    names = {role: visible(name, LONGEST_NAME) for role, name in what["names"].items()}
    models = {names[role]: figures for role, figures in summary["models"].items()}
    lost = missing_steps(run, METRICS, summary.get("last_step", 0))
    judged = by_refusal(ModelResults(records, (), {}, read_second_verdicts(run, records)))
    data = PageData(
        title=f"sirl {facts['verb']} · {run.path.name}",
        models=models,
        measured=in_words(what),
        curves=list(rows_by_step(run, METRICS).values()),
        mini_evals=summary.get("mini_evaluations", ()),
        costs=total(run.rows(COSTS)),
        entropies={
            name: entropies([r for r in judged if r.model == role]) for role, name in names.items()
        },
        examples=[replace(e, model=names.get(e.model, e.model)) for e in examples(records)],
        facts=words(facts) | last_step(summary) | ({"steps lost": lost} if lost else {}),
        unseen=unseen_attacks(str(run.settings()["model"])),
        differences=differences(records, list(names)),
    )
    write_page(run.path / "report.html", data)


def redraw(path: Path) -> Path:
    """Draw the page of a finished run again and return its path.

    Raises:
        InputError: The folder is not a finished run.
        RunError: Its files are damaged.
    """
    run = RunReader(path)
    facts = finished(run)
    if facts.get("verb") not in DRAWN:
        raise InputError(f"{path} is a run of sirl {facts.get('verb')}, which has no page")
    check_whole(run)
    summary = run.read("summary.json")
    check_complete(path, summary, facts)
    check_has(path / "config.yaml", run.settings(), ["model"])
    write_report(path, summary, facts)
    return path / "report.html"


def check_complete(path: Path, summary: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Check that the documents of a run have what a page needs.

    Raises:
        RunError: One is damaged.
    """
    check_has(path / "summary.json", summary, FIGURES)
    check_has(path / "run.json", facts, FACTS)


def differences(records: Sequence[Record], roles: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Paired differences between two models; empty unless there are two.

    Unscored answers count against the model, as in the rates of the page; `sirl compare` leaves
    out their pairs.
    """
    if len(roles) != len(("before", "after")):
        return {}
    before, after = ([r for r in records if r.model == role] for role in roles)
    found = {"dsr": clustered_difference(cells(before), cells(after))}
    for kind in ("ordinary", "lookalike"):
        old, new = (
            {"": {r.behaviour_id: refused_or_silent(r) for r in side if r.kind == kind}}
            for side in (before, after)
        )
        found[kind] = clustered_difference(old, new)
    return {name: asdict(difference) for name, difference in found.items()}


def entropies(records: Sequence[Record]) -> dict[str, list[float]]:
    """Mean entropies by kind of answer."""
    unsafe = [
        r for r in records if r.kind == "attack" and not isnan(r.mean_entropy) and r.label in SHOWN
    ]
    return {
        "refusal": [r.mean_entropy for r in unsafe if r.refused],
        "compliance": [r.mean_entropy for r in unsafe if not r.refused],
        "ordinary": [
            r.mean_entropy for r in records if r.kind == "ordinary" and not isnan(r.mean_entropy)
        ],
    }


def examples(records: Sequence[Record]) -> Iterator[ShownAnswer]:
    """The first few answers of each model, kind and label."""
    shown: dict[tuple[str, str, str], int] = {}
    for r in records:
        key = (r.model, r.kind, r.label)
        if r.kind in ("capability", "probe") or shown.get(key, 0) == EACH:
            continue
        shown[key] = shown.get(key, 0) + 1
        yield ShownAnswer(r.model, r.attack, r.kind, r.label, r.pieces, r.entropies, r.request)


def resumed(starts: Sequence[str]) -> dict[str, str]:
    """How often a run was resumed and when last; empty if never."""
    again = len(starts) - 1
    times = "once" if again == 1 else f"{again} times"
    return {"resumed": f"{times}, last {starts[-1]}"} if again else {}


def last_step(summary: Mapping[str, Any]) -> dict[str, str]:
    """The step and checkpoint of the hardened model, and the prompts used to evaluate it."""
    if "last_step" not in summary:
        return {}
    hardened = {"hardened": hardened_step(summary)}
    if said := outcome(summary):
        hardened["outcome"] = "; ".join(said)
    return hardened | ({"asked": summary["asked"]} if summary["asked"] else {})


def outcome(summary: Mapping[str, Any]) -> list[str]:
    """What the sentinel recommends, and why training ended before its last step."""
    watched = summary.get("sentinel", {})
    # Earlier versions wrote the sentinel's reason alone.
    said = (watched.get("sentence"), summary.get("ended") or watched.get("reason"))
    return [sentence for sentence in said if sentence]


def hardened_step(summary: Mapping[str, Any]) -> str:
    """Step and checkpoint of the hardened model.

    >>> hardened_step({"last_step": 30, "checkpoint": "runs/a/checkpoints/step-000030"})
    'the last step, 30: runs/a/checkpoints/step-000030'
    """
    last, step = summary["last_step"], summary.get("chosen_step", summary["last_step"])
    against = advises_against(summary)
    kind = "the best" if against else "the recommended"
    which = f"the last step, {last}" if step == last else f"{kind} step, {step} of {last}"
    return f"{which}{', not recommended' if against else ''}: {summary['checkpoint']}"


def advises_against(summary: Mapping[str, Any]) -> bool:
    """Whether the sentinel advises to keep the starting model; earlier versions never did."""
    return not summary.get("sentinel", {}).get("recommended", True)


def words(facts: Mapping[str, Any]) -> dict[str, str]:
    """How the run was made: facts for the page."""
    hardware, versions = facts["hardware"], facts["versions"]
    return {
        "command": " ".join(facts["command"]),
        "started": facts["starts"][0],
        **resumed(facts["starts"]),
        "seed": str(facts["seed"]),
        "machine": f"{hardware['cores']} cores, {hardware['machine']}, {hardware['system']}",
        "versions": ", ".join(
            [f"sirl {facts['sirl']}", *(f"{k} {v}" for k, v in versions.items() if v)]
        ),
        "weights": ", ".join(f"{k} {v[:40]}" for k, v in facts["model"].items()),
        **({"does not count": "; ".join(faults)} if (faults := facts.get("judge_faults")) else {}),
    }
