"""`sirl compare`: paired comparison of two evaluated models."""

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
    """Compare two evaluated models, paired by prompt.

    Shows each change with its interval and p-value. Both models must have been evaluated with the
    same prompts, judges, sampling settings, templates and budgets. Given the same run twice, sirl
    compares its first model with its last.
    """
    from sirl.comparison.compare import compare as compared
    from sirl.comparison.evaluated_model import read_pair
    from sirl.reports.conclusion import conclusion
    from sirl.reports.tables import change_rows
    from sirl.runs import plain

    found = plain(compared(*read_pair((before, after), (before_model, after_model))))
    if json:
        typer.echo(dumps(found))
        return
    for line in change_rows(found):
        typer.echo(line)
    closing(
        {},
        conclusion(found),
        "p: exact McNemar test per rate, paired by prompt. Adjusted p: corrected (Holm) within its "
        "group: attacks, harmless prompts bare, harmless prompts in disguises, or tasks.",
    )
