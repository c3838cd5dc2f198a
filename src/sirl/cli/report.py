"""`sirl report`: draw the page of a run again."""

from pathlib import Path

import typer

__all__ = ["report"]


def report(run: Path = typer.Argument(..., help="run folder whose page is drawn again")) -> None:
    """Draw the page of a finished run again, from what its folder holds."""
    from sirl.workflows.report import redraw

    typer.echo(f"page: {redraw(run)}")
