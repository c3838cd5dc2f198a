"""`sirl gate`: may this model pass? Exit status 1 says no."""

from dataclasses import asdict
from json import dumps
from pathlib import Path

import typer

from sirl.cli.flags import JSON

__all__ = ["gate"]

UNMET = 1
"""Exit status of a gate that is not passed."""


def gate(
    run: Path = typer.Argument(..., help="run folder of the model"),
    base: Path | None = typer.Option(
        None, "--base", help="run folder of the model before (default: first model of the run)"
    ),
    min_dsr: float | None = typer.Option(
        None, "--min-dsr", help="least defence success, of the interval's lower end"
    ),
    max_overrefusal_rise: float | None = typer.Option(
        None, "--max-overrefusal-rise", help="greatest rise in refusals, of the upper end"
    ),
    json: bool = JSON,
) -> None:
    """Hold a model to a least defence and a greatest price, by the ends of 95% intervals."""
    from sirl.evaluation.arm import read_arm
    from sirl.evaluation.gate import gate as held
    from sirl.runs import plain

    result = held(
        read_arm(run),
        read_arm(base) if base else None,
        min_dsr=min_dsr,
        max_overrefusal_rise=max_overrefusal_rise,
    )
    if json:
        typer.echo(dumps(plain(asdict(result))))
    else:
        for condition in result.conditions:
            typer.echo(f"{'met' if condition.met else 'unmet'}: {condition.sentence}")
    if not result.passed:
        raise typer.Exit(UNMET)
