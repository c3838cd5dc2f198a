"""The workflow of `sirl judge again`: another judge on the recorded answers of a run."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from sirl import registry
from sirl.analysis.agreement import comparable_cells
from sirl.analysis.defence import first_break
from sirl.analysis.measured import measured
from sirl.analysis.summary import summarise
from sirl.comparison.evaluated_model import counted, figures_of, judge_identities, read_evaluated
from sirl.config import EvaluationSettings
from sirl.errors import ConfigError, InputError
from sirl.evaluation.asked import ATTACKED
from sirl.evaluation.kept_verdicts import KeptVerdicts
from sirl.evaluation.records import (
    ITEMS,
    RECORDS,
    SearchResult,
    read_items,
    read_records,
    record_row,
)
from sirl.evaluation.second_judges import (
    VERDICTS,
    read_second_verdicts,
    recorded,
    rejudged,
    verdict_of,
    verdict_row,
)
from sirl.evaluation.suite import ModelResults, resumable
from sirl.models.folder import is_hardened
from sirl.registry.suites import unseen_attacks
from sirl.roles import Console, Judge, Progress
from sirl.runs import Existing, Run, RunReader, open_run
from sirl.runs.disk import check_has
from sirl.runs.kept import Kept
from sirl.runs.rejects import rows_set_aside
from sirl.text import many
from sirl.types import Record
from sirl.workflows.console import nothing_to_resume
from sirl.workflows.frame import Frame
from sirl.workflows.report import write_report

__all__ = ["rejudge"]


def rejudge(
    source: Path, config: EvaluationSettings, existing: Existing, console: Console
) -> dict[str, Any]:
    """Judge the answers of a run again, in a new run folder; return the summary.

    Raises:
        SirlError: The user can correct it; the source run is not changed, and verdicts are kept.
        Stopped: Ctrl-C; verdicts are kept.
    """
    with Frame("judge again") as frame:
        evaluated = read_evaluated(source, any_judge=True)  # raises unless it has finished
        check_has(source / "config.yaml", evaluated.config, ["model"])
        judge = judge_of(config)
        faults = registry.judge_faults([judge], evaluated.config["model"])
        console.warn(faults)
        changed = {"judge": config.judge, "refusals": config.refusals, "out": config.out}
        settings = {**evaluated.config, **changed, "source": str(source)}
        run = frame.hold(open_run(Path(config.out), settings, existing))
        if run.resumed and (summary := finished_before(run)):
            return summary
        console.warn(nothing_to_resume(run, existing))
        with console.working(at_once=True) as work:
            provenance = frame.begin(run, config)
            same = (
                *("model", "prompts", "seed", "template_date"),
                *("endpoint_dialect", "code_sandbox", "teaching"),
            )
            provenance.document |= {
                key: evaluated.about[key] for key in same if key in evaluated.about
            }
            provenance.files([config.refusals])
            provenance.judges([judge], faults)
            before = RunReader(source)
            console.warn(left_out(figures_of(source)))
            kept = Kept.of_run(run.path)
            console.warn(kept.notes())
            remembering = KeptVerdicts(judge, kept)
            with resumable():
                models = judged_models(before, run, remembering, work.progress, settings)
            what = measured(provenance.document, settings, models, rows_set_aside(before))
            figures = {"judge_faults": faults, "measured": what, "models": models}
            summary = frame.finish(run, {**figures, "recorded": recorded(run)})
            write_report(run.path, summary, provenance.document)
            kept.path.unlink(missing_ok=True)
            return summary


def left_out(models: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Which figures of the source the new run lacks: those that need the model."""
    named = {"refusal_mass": "first-token refusal mass", "own_refusals": "the own refusal share"}
    there = [name for key, name in named.items() if any(key in m for m in models.values())]
    return [f"left out, as they need the model: {', '.join(there)}"] if there else []


def finished_before(run: Run) -> dict[str, Any]:
    """The summary of a run that has finished; empty for any other, which has more to ask."""
    ended = run.read("run.json").get("exit") or {}
    return run.read("summary.json") if ended.get("how") == "finished" else {}


def judge_of(config: EvaluationSettings) -> Judge:
    """The named judge, after a test request to its model.

    Raises:
        ConfigError: `--refusals` was given for a judge of harm.
    """
    (judge,) = registry.with_refusals([registry.judge_named(config.judge, config)], config.refusals)
    if config.refusals and judge.question != "refusal":
        raise ConfigError(
            f"--refusals is for judges of refusals, and {config.judge} judges harm: "
            "give --judge rules"
        )
    registry.greet(registry.models_behind([judge]))
    return judge


def judged_models(
    source: RunReader, run: Run, judge: Judge, progress: Progress, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Copy the counted records with new verdicts; return the summary of each model.

    Drops searches that the first judge's verdict ended early if the new judge sees no break: how
    they would have continued is unknown. Keeps the verdicts of earlier judges as second opinions.
    `settings` are those of the source run.
    """
    trained = is_hardened(settings["model"])
    ended = read_items(source)
    first = {r.place: r for r in counted(read_records(source), ended)}
    records = comparable_cells(rejudged(judge, list(first.values()), progress), ended)
    said_before = [
        first[r.place]
        for r in records
        if r.kind in ATTACKED and first[r.place].judge not in ("", judge.name)
    ]
    for name, view in read_second_verdicts(source, records).items():
        if name == judge.name:
            continue
        if lost := len(attacks_in(records)) - len(attacks_in(view)):
            raise InputError(
                f"{source.path / VERDICTS} lacks {many(lost, 'verdict')} of {name}: restore it, or "
                "evaluate again"
            )
        said_before += view
    known = judge_identities(source.read("run.json"))
    rows = [verdict_row(r, verdict_of(r), known.get(r.judge, ""), r.question) for r in said_before]
    run.keep(VERDICTS, rows)
    items = items_of(ended, records)
    run.keep(RECORDS, [record_row(r) for r in records])
    run.keep(ITEMS, [asdict(i) for i in items])

    def of(name: str, skipped: dict[str, str]) -> ModelResults:
        mine, said = ([r for r in rs if r.model == name] for rs in (records, said_before))
        return ModelResults(mine, [i for i in items if i.model == name], skipped, by_judge(said))

    return {
        name: summarise(
            of(name, figures.get("skipped", {})),
            unseen_attacks(settings["model"]),
            new_tokens=settings.get("new_tokens"),
            hardened=trained or name == "hardened",
        )
        for name, figures in figures_of(source.path).items()
    }


def attacks_in(records: Sequence[Record]) -> list[Record]:
    """The answers to attacks, on which judges are compared."""
    return [r for r in records if r.kind == "attack"]


def items_of(ended: Sequence[SearchResult], records: Sequence[Record]) -> list[SearchResult]:
    """The searches whose answers are all present, with `broken_at` set from these records."""
    by_place = {r.place: r for r in records}
    tries = [(item, [by_place.get((item.model, key)) for key in item.records]) for item in ended]
    return [
        replace(item, broken_at=first_break([r for r in found if r]))
        for item, found in tries
        if None not in found
    ]


def by_judge(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Records by judge."""
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(record.judge, []).append(record)
    return found
