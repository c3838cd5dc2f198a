"""`sirl compare`: what changed from one model to another, and whether luck would explain it."""

from json import dumps
from pathlib import Path

import typer

from sirl.cli.flags import JSON
from sirl.cli.show import closing

__all__ = ["compare"]


def compare(
    before: Path = typer.Argument(..., help="run folder of the model before"),
    after: Path = typer.Argument(..., help="run folder of the model after; may be the same run"),
    before_model: str | None = typer.Option(
        None, "--before-model", help="model of the first run (default: its last, or its first)"
    ),
    after_model: str | None = typer.Option(
        None, "--after-model", help="model of the second run (default: its last)"
    ),
    json: bool = JSON,
) -> None:
    """Compare two models that were asked the same; refuse where prompts, judges or sampling differ.

    Given one run twice, its first model is compared with its last.
    """
    from sirl.evaluation.arm import read_arm
    from sirl.evaluation.compare import compare as compared
    from sirl.reports.tables import change_rows
    from sirl.runs import plain

    second = read_arm(after, after_model)
    if before_model is None and before.resolve() == after.resolve():
        before_model = second.models[0]
    found = plain(compared(read_arm(before, before_model), second))
    if json:
        typer.echo(dumps(found))
        return
    for line in change_rows(found):
        typer.echo(line)
    closing({}, "p is of McNemar's exact test, paired by prompt, Holm-corrected within its table")
