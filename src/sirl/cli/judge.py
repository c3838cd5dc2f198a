"""`sirl judge`: re-judge a run, compare helpfulness, calibrate a judge, train a judge."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from json import dumps
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, cast, get_args

import typer

from sirl.cli.command import Command
from sirl.cli.console import Terminal, closing, finish_measured, progress_bar, warn
from sirl.cli.flags import (
    AFTER,
    AFTER_MODEL,
    BEFORE,
    BEFORE_MODEL,
    JSON,
    OF_RUN,
    OVERWRITE,
    REPLACE,
    RESUME,
    existing,
    from_run,
    option,
    takes,
)
from sirl.config import EvaluateConfig, JudgeConfig
from sirl.errors import RunError, unknown_name
from sirl.text import many

if TYPE_CHECKING:
    from sirl.roles import Judge

__all__ = ["app"]

app = typer.Typer(
    help="Judge again, compare helpfulness, calibrate or train a judge.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
NAMED = "one judge, named as in sirl evaluate: rules, classifier:FOLDER, a+b+c, ..."
JUDGE: str = typer.Option(..., "--judge", help=NAMED)
LABELS: Path = typer.Option(
    ...,
    "--labels",
    help="answers with human labels (JSON, JSONL, Parquet)",
    metavar="FILE",
    show_default=False,
)


@app.callback()
def options() -> None:
    """Judge again, compare helpfulness, calibrate or train a judge."""


def settings(
    asked: JudgeConfig, judge: str, out: Path | None, refusals: str | None = None
) -> EvaluateConfig:
    """Settings that build a judge without a target."""
    return EvaluateConfig(
        model="none", judge=judge, out=str(out or ""), refusals=refusals, **asked.model_dump()
    )


@app.command("again", cls=Command)
@takes(JudgeConfig, resumed=None)
def again(
    asked: JudgeConfig,
    run: Path | None = typer.Argument(
        None, help=f"run folder whose answers to judge again{OF_RUN}"
    ),
    judge: str | None = typer.Option(None, "--judge", help=f"{NAMED}{OF_RUN}"),
    refusals: str | None = option(EvaluateConfig, "refusals"),
    out: Path = typer.Option(..., "--out", help="run folder to write"),
    resume: bool = RESUME,
    overwrite: bool = OVERWRITE,
    json: bool = JSON,
) -> None:
    """Judge the recorded answers of a run with another judge; the model is not run."""
    from sirl.workflows.rejudge import rejudge

    given = {"source": run, "judge": judge, "refusals": refusals}
    needed = {"source": "argument 'run'", "judge": "option '--judge'"}
    known = from_run("judge again", out, needed, given, resume=resume)
    config = settings(asked, known["judge"], out, known["refusals"])
    answer = existing(resume=resume, overwrite=overwrite)
    summary = rejudge(Path(known["source"]), config, answer, Terminal())
    judged = f"--judge {quote(config.judge)}"
    if config.refusals:
        judged += f" --refusals {quote(config.refusals)}"
    follow = f"sirl compare BEFORE {out}, where BEFORE is also judged by {judged}"
    if "hardened" in summary["models"]:
        follow = f"sirl compare {out} {out}"
    finish_measured(
        summary,
        f"records: {out}/records.jsonl; page: {out}/report.html",
        f"next: {follow}",
        as_json=json,
    )


@app.command("prefer", cls=Command)
@takes(JudgeConfig)
def prefer(
    asked: JudgeConfig,
    before: Path = BEFORE,
    after: Path = AFTER,
    judge: str = typer.Option(
        ..., "--judge", help="judge model: folder, hub id, URL#NAME or python:MODULE:NAME"
    ),
    out: Path = typer.Option(..., "--out", help="JSON file to write"),
    kind: str = typer.Option(
        "ordinary", "--kind", help="prompts whose answers are compared: ordinary or lookalike"
    ),
    before_model: str | None = BEFORE_MODEL,
    after_model: str | None = AFTER_MODEL,
    overwrite: bool = REPLACE,
    json: bool = JSON,
) -> None:
    """Compare the helpfulness of two models on harmless prompts: win rate by a judge model.

    Each pair is judged in both orders.
    """
    from sirl import registry
    from sirl.comparison.evaluated_model import read_pair
    from sirl.comparison.win_rate import Kind
    from sirl.comparison.win_rate import prefer as compared
    from sirl.reports.tables import preference_rows
    from sirl.runs import plain
    from sirl.runs.disk import write_atomically
    from sirl.runs.places import check_output

    if kind not in get_args(Kind):
        raise unknown_name("kind", kind, get_args(Kind))
    check_output(out, overwrite=overwrite)
    pair = read_pair((before, after), (before_model, after_model), any_judge=True)
    model = registry.preference_judge(judge, settings(asked, judge, out))
    registry.greet([model.model])
    with progress_bar() as progress:
        found = plain(compared(*pair, model, cast(Kind, kind), progress))
    write_atomically(out, dumps(found, indent=1) + "\n", private=True)
    if json:
        typer.echo(dumps(found))
    else:
        closing({}, *preference_rows(found), f"pair by pair: {out}")
    warn(found["judge_faults"])
    if found["judge_faults"]:
        raise typer.Exit(1)


@app.command("calibrate", cls=Command)
@takes(JudgeConfig)
def calibrate(
    asked: JudgeConfig,
    labels: Path = LABELS,
    judge: str = JUDGE,
    out: Path | None = typer.Option(
        None, "--out", help="JSON file to write, for sirl evaluate --calibration"
    ),
    overwrite: bool = REPLACE,
    json: bool = JSON,
) -> None:
    """Measure a judge against human labels: sensitivity, specificity, kappa."""
    from dataclasses import asdict

    from sirl import registry
    from sirl.analysis.calibration import calibrate as measure
    from sirl.analysis.calibration import read_labels
    from sirl.reports.tables import trust_rows
    from sirl.runs import plain
    from sirl.runs.disk import write_atomically
    from sirl.runs.places import check_output

    if out:
        check_output(out, overwrite=overwrite, reads=[labels])
    read = read_labels(labels)
    judging = registry.judge_named(judge, settings(asked, judge, out))
    registry.check_labels(judging, read)
    registry.greet(registry.models_behind([judging]))
    with asked_once(judging, out) as asking:
        measured = measure(asking, read)
    measured, doubts = registry.known_answers_marked(measured, judging, read)
    found = plain(asdict(measured))
    warn(doubts)
    if out:
        write_atomically(out, dumps(found, indent=1) + "\n")
    if json:
        typer.echo(dumps(found))
        return
    for line in trust_rows(found):
        typer.echo(line)
    where = f"written to {out}" if out else "save it with --out FILE"
    closing({}, f"{len(read.rejected)} invalid rows skipped; {where}")


@contextmanager
def asked_once(judge: "Judge", out: Path | None) -> "Iterator[Judge]":
    """The judge; an error leaves its verdicts beside the output, for the next command."""
    if out is None:
        yield judge
        return
    from sirl import registry
    from sirl.runs.kept import Kept

    kept = Kept(out.with_name(f"{out.name}.kept.jsonl"))
    warn(kept.notes())
    with kept.until_done("give the command again"):
        yield registry.remembering(judge, kept)


@app.command("fit", cls=Command)
def fit(
    labels: Path = LABELS,
    out: Path = typer.Option(..., "--out", help="folder to write the judge to"),
    seed: int = typer.Option(0, "--seed", help="random seed of the folds"),
    json: bool = JSON,
) -> None:
    """Train a classifier judge of harmful help; report its agreement on unseen requests."""
    from sirl.analysis.calibration import as_labelled, read_labels
    from sirl.judges.fitting import cross_validate
    from sirl.judges.fitting import fit as fitted
    from sirl.registry import LABELS_HASH
    from sirl.runs import plain

    if out.exists():
        raise RunError(f"{out} already exists: give a new folder")
    read = read_labels(labels)
    rows = as_labelled(read)
    found = plain(cross_validate(rows, seed=seed))
    judge = fitted(rows, seed=seed)
    judge.about |= {"nested": found, LABELS_HASH: read.sha256}
    judge.save(out)
    if json:
        typer.echo(dumps(found))
        return
    closing(
        {},
        f"{out}: fitted on {many(len(rows), 'answer')}, "
        f"{many(len(read.rejected), 'invalid row')} skipped",
        *claims(found),
        f"next: sirl evaluate --judge classifier:{out} --model MODEL --behaviours FILE --out DIR",
    )


def claims(found: Mapping[str, Any]) -> list[str]:
    """Results of nested cross-validation, one per line."""
    families = dict(found["by_family"])
    lines = [
        f"nested cross-validation over behaviours: {claim(found)}; expect lower agreement on "
        "other attacks"
    ]
    if families:
        lines.append(f"with an attack family left out as well: {claim(families.pop('all'))}")
        one_by_one = (
            f"{name} {two_digits(part['kappa'])} (n {part['n']})" for name, part in families.items()
        )
        lines.append(f"kappa per left-out family: {', '.join(one_by_one)}")
    return lines


def claim(part: Mapping[str, Any]) -> str:
    """The agreement with human labels in words."""
    interval = f"{two_digits(part['low'])} to {two_digits(part['high'])}"
    return (
        f"kappa {two_digits(part['kappa'])} with the human labels (95% over {part['behaviours']} "
        f"behaviours: {interval}), sensitivity {two_digits(part['sensitivity'])}, specificity "
        f"{two_digits(part['specificity'])}"
    )


def two_digits(value: float | None) -> str:
    """A figure; a dash where there is none, since all answers have one label.

    >>> two_digits(0.876), two_digits(None)
    ('0.88', '–')
    """
    return "–" if value is None else f"{value:.2f}"
