"""`sirl export`: results in the formats of other tools."""

from collections.abc import Sequence
from dataclasses import replace
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import typer

from sirl.cli.flags import REPLACE
from sirl.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    from sirl.comparison.evaluated_model import EvaluatedModel
    from sirl.types import Record

__all__ = ["export"]

Format = Literal["markdown", "lm-eval", "csv", "jbb", "inspect"]

MODEL: str | None = typer.Option(
    None, "--model", help="model of the run [default: the last; all for csv and markdown]"
)
ATTACK: str | None = typer.Option(
    None, "--attack", help="attack to export; jbb only [required for jbb]"
)


def export(
    run: Path = typer.Argument(..., help="run folder to export"),
    shape: str = typer.Option(
        "markdown",
        "--format",
        help="markdown (as lm-eval prints it), lm-eval (JSON), csv, jbb or inspect",
    ),
    model: str | None = MODEL,
    attack: str | None = ATTACK,
    texts: bool = typer.Option(
        False, "--texts", help="include prompts and answers in full; csv only"
    ),
    out: Path | None = typer.Option(
        None, "--out", help="file to write; for inspect, a file or a folder [default: print]"
    ),
    overwrite: bool = REPLACE,
) -> None:
    """Export a run: Markdown, CSV, lm-eval, JailbreakBench, Inspect."""
    from sirl.comparison.evaluated_model import read_evaluated
    from sirl.reports.exports import csv_table
    from sirl.reports.inspect_log import log_name
    from sirl.runs.disk import write_atomically
    from sirl.runs.places import check_output

    check_flags(shape, attack, texts=texts)
    into = out is not None and shape == "inspect" and (out.is_dir() or not out.suffix)
    if out and not into:
        check_output(out, overwrite=overwrite)
    evaluated = read_evaluated(run, model, any_judge=True)
    if shape == "jbb" and attack is None:
        raise ConfigError(f"--attack is required for jbb: one of {', '.join(evaluated.attacks)}")
    every = [model] if model else evaluated.models
    if shape == "csv":
        records = [r for m in every for r in named(read_evaluated(run, m, any_judge=True))]
        text = csv_table(records, texts=texts)
    else:
        text = shaped(evaluated, shape, attack or "", every)
    if not out:
        typer.echo(text, nl=False)
        return
    if into:
        out = out_in(out, log_name(evaluated.about, evaluated.model), overwrite=overwrite)
    write_atomically(out, text, private=texts or shape in ("jbb", "inspect"))
    typer.echo(f"written to {out}", err=True)


def out_in(folder: Path, name: str, *, overwrite: bool) -> Path:
    """The output file in a folder; creates the folder."""
    from sirl.runs.disk import disk_errors
    from sirl.runs.places import check_output

    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    check_output(folder / name, overwrite=overwrite)
    return folder / name


def check_flags(shape: str, attack: str | None, *, texts: bool) -> None:
    """Raise ConfigError if the format is unknown or does not take the given flags."""
    if shape not in get_args(Format):
        raise unknown_name("format", shape, get_args(Format))
    for flag, given, use in (("--attack", attack, "jbb"), ("--texts", texts, "csv")):
        if given and shape != use:
            raise ConfigError(f"{flag} is for --format {use}: give that, or leave {flag} out")


def named(evaluated: "EvaluatedModel") -> "list[Record]":
    """The records of a model, with the model's name."""
    name = full_name(evaluated.model, evaluated.config.get("model"))
    return [replace(r, model=name) for r in evaluated.records]


def full_name(role: str, setting: object) -> str:
    """The name of a model outside of its run: of one of several, the starting model and its role.

    >>> full_name("target", "embedded"), full_name("hardened", "embedded")
    ('embedded', 'embedded (hardened)')
    """
    from sirl.analysis.measured import TARGET, called

    known = called(TARGET, setting)
    return called(role, setting) if TARGET in (role, known) else f"{known} ({role})"


def shaped(evaluated: "EvaluatedModel", shape: str, attack: str, every: Sequence[str]) -> str:
    """A model of a run in one format; the Markdown table has all models in `every`."""
    from sirl.comparison.evaluated_model import figures_of
    from sirl.reports.exports import jbb_artifact, lm_eval_results, markdown_table
    from sirl.reports.inspect_log import inspect_log

    name = full_name(evaluated.model, setting := evaluated.config.get("model"))
    if shape == "jbb":
        return dumps(jbb_artifact(named(evaluated), name, attack), indent=1) + "\n"
    models = figures_of(evaluated.path)
    if shape == "markdown":
        return markdown_table(
            {full_name(role, setting): m for role, m in models.items() if role in every}
        )
    figures = models[evaluated.model]
    if shape == "lm-eval":
        return dumps(lm_eval_results(figures, name), indent=1) + "\n"
    return (
        dumps(inspect_log(evaluated.records, figures, evaluated.about, evaluated.config), indent=1)
        + "\n"
    )
