"""`sirl world`: the embedded world and its model."""

from json import dumps
from pathlib import Path

import typer

from sirl import registry
from sirl.cli.console import live
from sirl.cli.flags import JSON
from sirl.errors import RunError

__all__ = ["app"]

app = typer.Typer(
    help="The embedded world and its model.", no_args_is_help=True, add_completion=False
)


@app.callback()
def options() -> None:
    """The embedded world and its model."""


@app.command("build")
def build_model(
    out: Path = typer.Option(..., "--out", help="folder to write the checkpoint to"),
    seed: int = typer.Option(0, "--seed", help="seed of corpus and weights (default: 0)"),
    json: bool = JSON,
) -> None:
    """Make the embedded model anew; minutes on two cores."""
    if out.exists():
        raise RunError(f"{out} exists: give a folder that does not")
    registry.require_models("sirl world build")
    from sirl.world.recipe import build as build_world

    seen, unseen = registry.world_disguises()
    with live() as progress:
        seconds = build_world(out, seen=seen, unseen=unseen, seed=seed, progress=progress)
    if json:
        typer.echo(dumps({"out": str(out), "seconds": round(seconds, 1)}))
        return
    typer.echo(f"{out}: built in {seconds:.0f} s; measure it with sirl evaluate --model {out}")
