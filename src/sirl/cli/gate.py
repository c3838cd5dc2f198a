"""`sirl gate`: check a model against limits; exit status 1 if one is unmet."""

from dataclasses import asdict
from json import dumps
from pathlib import Path
from typing import Any

import typer

from sirl.cli.flags import JSON

__all__ = ["gate"]

UNMET = 1
"""Exit status of an unmet gate."""


def rate(name: str, text: str) -> Any:  # noqa: ANN401 - typer's own type
    """An option whose value is a rate."""
    return typer.Option(None, name, help=text)


def gate(
    run: Path = typer.Argument(..., help="run folder of the model"),
    base: Path | None = typer.Option(
        None, "--base", help="run folder of the baseline model [default: first model of RUN]"
    ),
    min_dsr: float | None = rate("--min-dsr", "minimum defence rate, mean over attacks"),
    min_worst: float | None = rate("--min-worst", "minimum defence rate under each attack"),
    max_ordinary: float | None = rate("--max-ordinary", "maximum refusals of ordinary prompts"),
    max_lookalikes: float | None = rate("--max-lookalikes", "maximum refusals of look-alikes"),
    max_ordinary_rise: float | None = rate(
        "--max-ordinary-rise", "maximum rise of refusals, ordinary prompts"
    ),
    max_lookalike_rise: float | None = rate(
        "--max-lookalike-rise", "maximum rise of refusals, look-alikes"
    ),
    max_overrefusal_rise: float | None = rate(
        "--max-overrefusal-rise",
        "maximum rise of refusals, every set without a limit of its own, also in disguises",
    ),
    no_price: bool = typer.Option(
        False, "--no-price", help="allow a gate without a limit on refusals"
    ),
    json: bool = JSON,
) -> None:
    """Check a model against limits; exit status 1 if one is unmet.

    Each limit is a rate from 0 to 1. A minimum must be met by the lower end of the 95% interval, a
    maximum by the upper end.
    """
    from sirl.comparison.evaluated_model import read_evaluated
    from sirl.comparison.gate import Limits
    from sirl.comparison.gate import gate as check
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
    result = check(read_evaluated(run), read_evaluated(base) if base else None, limits)
    lines = [f"{'met' if c.met else 'unmet'}: {c.sentence}" for c in result.conditions]
    lines += [f"no limit: {sentence}" for sentence in result.unlimited]
    typer.echo(dumps(plain(asdict(result))) if json else "\n".join(lines))
    if not result.passed:
        raise typer.Exit(UNMET)
