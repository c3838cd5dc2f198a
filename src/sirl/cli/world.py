"""`sirl world`: build the embedded model."""

from json import dumps
from pathlib import Path

import typer

from sirl import registry
from sirl.cli.command import Command
from sirl.cli.console import progress_bar
from sirl.cli.flags import JSON
from sirl.errors import ConfigError, RunError

__all__ = ["app"]

app = typer.Typer(
    help="Build the embedded model.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


@app.callback()
def options() -> None:
    """Build the embedded model."""


@app.command("build", cls=Command)
def build_model(
    out: Path = typer.Option(..., "--out", help="folder to write the checkpoint to"),
    architecture: str = typer.Option(
        "llama", "--architecture", help="architecture: llama, qwen2, qwen3 or gemma3_text"
    ),
    seed: int = typer.Option(0, "--seed", help="random seed of corpus and weights"),
    json: bool = JSON,
) -> None:
    """Train the embedded model from scratch; takes minutes on two cores."""
    if out.exists():
        raise RunError(f"{out} already exists: give a new folder")
    registry.require_models("sirl world build")
    from sirl.world.recipe import ARCHITECTURES
    from sirl.world.recipe import build as build_world

    if architecture not in ARCHITECTURES:
        raise ConfigError(
            f"architecture {architecture!r} is unknown: give one of {', '.join(ARCHITECTURES)}"
        )

    seen, unseen = registry.world_disguises()
    with progress_bar() as progress:
        seconds = build_world(
            out, seen=seen, unseen=unseen, architecture=architecture, seed=seed, progress=progress
        )
    if json:
        typer.echo(dumps({"out": str(out), "seconds": round(seconds, 1)}))
        return
    typer.echo(f"{out}: built in {seconds:.0f} s; next: sirl evaluate --model {out}")
