"""Rows that could not be used: written down, counted, and a reason to stop when strict."""

from collections.abc import Sequence

import typer

from sirl.errors import InputError
from sirl.prompts import Rejected, rejected_rows
from sirl.runs import Run

__all__ = ["rows_set_aside", "set_aside"]

REJECTED = "rejected.jsonl"


def set_aside(run: Run, rejected: Sequence[Rejected], *, strict: bool) -> None:
    """Write `rejected.jsonl` and say how many rows it holds.

    Raises:
        InputError: The run is strict and a row was set aside.
    """
    if not rejected:
        return
    run.keep(REJECTED, rejected_rows(rejected))
    if strict:
        raise InputError(f"{rejected[0].reason}; mend it, or leave --strict out to set it aside")
    name = run.path / REJECTED
    rows = "1 row" if len(rejected) == 1 else f"{len(rejected)} rows"
    typer.echo(f"sirl: {rows} set aside, named in {name}", err=True)


def rows_set_aside(run: Run) -> int:
    """How many rows of its input a run could not use."""
    return len(run.rows(REJECTED))
