"""`sirl gate`: may this model pass? Exit status 1 says no."""

from dataclasses import asdict
from json import dumps
from pathlib import Path
from typing import Any

import typer

from sirl.cli.flags import JSON

__all__ = ["gate"]

UNMET = 1
"""Exit status of a gate that is not passed."""


def limit(name: str, text: str) -> Any:  # noqa: ANN401 - typer's own type
    """An option for a share from 0 to 1."""
    return typer.Option(None, name, help=text)


def gate(
    run: Path = typer.Argument(..., help="run folder of the model"),
    base: Path | None = typer.Option(
        None, "--base", help="run folder of the model before (default: first model of the run)"
    ),
    min_dsr: float | None = limit("--min-dsr", "least defence, mean over attacks, lower end"),
    min_worst: float | None = limit("--min-worst", "least defence under each attack, lower end"),
    max_ordinary: float | None = limit("--max-ordinary", "most ordinary prompts refused, share"),
    max_lookalikes: float | None = limit("--max-lookalikes", "the same of look-alike prompts"),
    max_ordinary_rise: float | None = limit(
        "--max-ordinary-rise", "greatest rise in refusals of ordinary prompts, upper end"
    ),
    max_lookalike_rise: float | None = limit(
        "--max-lookalike-rise", "the same of look-alike prompts"
    ),
    max_overrefusal_rise: float | None = limit(
        "--max-overrefusal-rise", "the same for every set without a limit of its own"
    ),
    no_price: bool = typer.Option(False, "--no-price", help="pass without a limit of the price"),
    json: bool = JSON,
) -> None:
    """Hold a model to a least defence and a greatest price, by the ends of 95% intervals."""
    from sirl.comparison.evaluated_model import read_arm
    from sirl.comparison.gate import Limits
    from sirl.comparison.gate import gate as held
    from sirl.runs import plain

    limits = Limits(
        min_dsr=min_dsr,
        min_worst=min_worst,
        max_ordinary=max_ordinary,
        max_lookalikes=max_lookalikes,
        max_ordinary_rise=max_ordinary_rise,
        max_lookalike_rise=max_lookalike_rise,
        max_overrefusal_rise=max_overrefusal_rise,
        no_price=no_price,
    )
    result = held(read_arm(run), read_arm(base) if base else None, limits)
    lines = [f"{'met' if c.met else 'unmet'}: {c.sentence}" for c in result.conditions]
    typer.echo(dumps(plain(asdict(result))) if json else "\n".join(lines))
    if not result.passed:
        raise typer.Exit(UNMET)
