"""`sirl sweep`: evaluate the checkpoints of a training run side by side."""

import json as json_text
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from sirl.cli.console import Terminal, check_trusted, closing, faults_of, page
from sirl.cli.flags import JSON, OF_RUN, OVERWRITE, RESUME, existing, from_run, takes
from sirl.cli.wide_tables import fitting_tables
from sirl.config import SweepConfig

__all__ = ["sweep"]


@takes(SweepConfig)
def sweep(
    settings: SweepConfig,
    run: Path | None = typer.Argument(None, help=f"run folder of sirl train or sirl demo{OF_RUN}"),
    resume: bool = RESUME,
    overwrite: bool = OVERWRITE,
    json: bool = JSON,
) -> None:
    """Evaluate the checkpoints of a training run side by side.

    Puts the same prompts to the starting model and to every kept checkpoint and shows defence and
    price by step. Model, attacks, prompt files, length of answers, precision and template default
    to those of the run.
    """
    answer = existing(resume=resume, overwrite=overwrite)
    from sirl.workflows.sweep import sweep as run_sweep

    needed, out = {"source": "argument 'run'"}, Path(settings.out)
    source = from_run("sweep", out, needed, {"source": run}, resume=resume)["source"]
    summary = run_sweep(Path(source), settings, answer, Terminal())
    if json:
        typer.echo(json_text.dumps(summary))
    else:
        show(summary)
        closing(
            {},
            *summary["sentences"],
            f"table: {settings.out}/sweep.md; page: {settings.out}/report.html",
            f"each step is an evaluation in {settings.out}/evaluations, for sirl compare, sirl "
            "gate and sirl judge again",
        )
    check_trusted(summary, faults_of(summary))


def show(summary: Mapping[str, Any]) -> None:
    """Print the tables of steps."""
    from sirl.reports.sweep import sweep_tables

    console = page()
    for found in sweep_tables(summary):
        parts = (found.title, found.note, found.header, found.rows)
        for shown in fitting_tables(*parts, console.width):
            console.print(shown, markup=False)
