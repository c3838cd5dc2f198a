"""`sirl compare`: what changed from one model to another, and whether luck would explain it."""

from json import dumps
from pathlib import Path

import typer

from sirl.cli.console import closing
from sirl.cli.flags import AFTER, AFTER_MODEL, BEFORE, BEFORE_MODEL, JSON

__all__ = ["compare"]


def compare(
    before: Path = BEFORE,
    after: Path = AFTER,
    before_model: str | None = BEFORE_MODEL,
    after_model: str | None = AFTER_MODEL,
    json: bool = JSON,
) -> None:
    """Compare two models that were asked the same; refuse where they were not.

    Prompts, judges, sampling, templates and budgets have to be the same. Given one run twice, its
    first model is compared with its last.
    """
    from sirl.comparison.compare import compare as compared
    from sirl.comparison.evaluated_model import read_arms
    from sirl.reports.tables import change_rows
    from sirl.runs import plain

    found = plain(compared(*read_arms((before, after), (before_model, after_model))))
    if json:
        typer.echo(dumps(found))
        return
    for line in change_rows(found):
        typer.echo(line)
    closing(
        {},
        "p is of McNemar's exact test, paired by prompt; it and the interval are of one pair of "
        "rates, the adjusted p is of all tests of its table",
    )
