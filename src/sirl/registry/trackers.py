"""Trackers by name. A missing package is an error at the start; later failures are not fatal.

Nothing here speaks to a network unless asked to: TensorBoard and trackio write to this machine,
and so does Weights & Biases unless WANDB_MODE or WANDB_API_KEY is set.
"""

import hashlib
import importlib.util
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sirl.config import TrainingSettings
from sirl.errors import MissingExtraError, unknown_name

if TYPE_CHECKING:
    from sirl.training.observers.trackers import Start, Tracker

__all__ = ["TRACKERS", "trackers"]

TRACKERS = ("tensorboard", "trackio", "wandb")
"""Their names, which are those of their packages."""
PROJECT = "sirl"


def trackers(config: TrainingSettings) -> "dict[str, Start]":
    """What starts each tracker that is asked for; none is started or imported yet.

    Raises:
        ConfigError: A name is unknown.
        MissingExtraError: A package is missing.
    """
    names = [name.strip() for name in (config.track or "").split(",") if name.strip()]
    for name in names:
        if name not in TRACKERS:
            raise unknown_name("tracker", name, TRACKERS)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:  # a folder of that name is no package
            raise MissingExtraError(f"track={name}", "track")
    return {name: partial(start, name, config) for name in names}


def start(name: str, config: TrainingSettings) -> "Tracker":
    """Start a tracker; it raises what it likes."""
    folder = Path(config.out)
    match name:
        case "tensorboard":
            return tensorboard(folder)
        case "trackio":
            return trackio(folder, config.model_dump())
        case _:
            return wandb(folder, config.model_dump())


def tensorboard(folder: Path) -> "Tracker":
    """Event files in the run folder."""
    from torch.utils.tensorboard import SummaryWriter

    from sirl.training.observers.trackers import Scalars

    return Scalars(SummaryWriter(folder / "tensorboard"))


def trackio(folder: Path, settings: Mapping[str, Any]) -> "Tracker":
    """A row per step in trackio's own store on this machine."""
    import trackio as package

    from sirl.training.observers.trackers import Board

    # A run is known by its name alone, and two folders may end alike.
    place = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:6]
    name = f"{folder.name}-{place}"
    package.init(project=PROJECT, name=name, config=dict(settings), resume="allow")
    return Board(package)  # closed by itself, its run would be finished once more at the exit


def wandb(folder: Path, settings: Mapping[str, Any]) -> "Tracker":
    """A run in the run folder, sent on only where the environment says so."""
    import wandb as package

    from sirl.training.observers.trackers import Board

    told = "WANDB_MODE" in os.environ or "WANDB_API_KEY" in os.environ
    made = package.init(
        project=PROJECT,
        name=folder.name,
        dir=str(folder),
        config=dict(settings),
        mode=None if told else "offline",
    )
    return Board(made)
