"""`sirl report`: redraw the page of a run."""

from pathlib import Path

import typer

__all__ = ["report"]


def report(run: Path = typer.Argument(..., help="run folder whose page to redraw")) -> None:
    """Redraw the page of a finished run."""
    from sirl.workflows.report import redraw
    from sirl.workflows.sweep import is_sweep, redraw_sweep

    typer.echo(f"page: {redraw_sweep(run) if is_sweep(run) else redraw(run)}")
