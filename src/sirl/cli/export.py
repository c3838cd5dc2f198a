"""`sirl export`: results in the shapes of other tools."""

from json import dumps
from pathlib import Path
from typing import Literal, get_args

import typer

from sirl.errors import ConfigError, unknown_name

__all__ = ["export"]

Format = Literal["markdown", "csv", "jbb"]


def export(
    run: Path = typer.Argument(..., help="run folder to export"),
    shape: str = typer.Option(
        "markdown", "--format", help="markdown (as lm-eval), csv, or jbb (default: markdown)"
    ),
    model: str | None = typer.Option(None, "--model", help="model of the run (default: the last)"),
    attack: str | None = typer.Option(None, "--attack", help="of jbb: the attack"),
    texts: bool = typer.Option(False, "--texts", help="of csv: attacks and answers in full, too"),
    out: Path | None = typer.Option(None, "--out", help="file to write (default: print)"),
) -> None:
    """Write the results of a run as Markdown, CSV, or a JailbreakBench artefact."""
    from sirl.evaluation.arm import read_arm
    from sirl.reports.exports import csv_table, jbb_artifact, markdown_table
    from sirl.runs import Run, write_atomically

    if shape not in get_args(Format):
        raise unknown_name("format", shape, get_args(Format))
    arm = read_arm(run, model, any_judge=True)
    if shape == "markdown":
        text = markdown_table(Run(run, -1, {}, resumed=False).read("summary.json")["models"])
    elif shape == "csv":
        text = csv_table(arm.records, texts=texts)
    elif attack is None:
        raise ConfigError(f"--attack is needed for jbb: one of {', '.join(arm.attacks)}")
    else:
        text = dumps(jbb_artifact(arm.records, arm.model, attack), indent=1) + "\n"
    if out:
        write_atomically(out, text, private=texts or shape == "jbb")
        typer.echo(f"written to {out}", err=True)
    else:
        typer.echo(text, nl=False)
