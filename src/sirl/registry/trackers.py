"""Trackers by name. A missing package is an error at the start; later failures are not fatal.

Trackers use no network by default: TensorBoard and trackio write to this machine,
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
"""Names of trackers, which are also their package names."""
PROJECT = "sirl"


def trackers(config: TrainingSettings) -> "dict[str, Start]":
    """A function that starts each requested tracker; none is started or imported yet.

    Raises:
        ConfigError: A name is unknown.
        MissingExtraError: A package is missing.
    """
    names = [name.strip() for name in (config.track or "").split(",") if name.strip()]
    for name in names:
        if name not in TRACKERS:
            raise unknown_name("tracker", name, TRACKERS)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:  # a folder of that name is not a package
            raise MissingExtraError(f"track={name}", "track")
    return {name: partial(start, name, config) for name in names}


def start(name: str, config: TrainingSettings) -> "Tracker":
    """Start a tracker; it may raise anything."""
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
    """A row per step in trackio's local database."""
    import trackio as package

    from sirl.training.observers.trackers import Board

    # trackio identifies a run by name, and two folders may have the same last part.
    place = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:6]
    name = f"{folder.name}-{place}"
    package.init(project=PROJECT, name=name, config=dict(settings), resume="allow")
    return Board(package)  # not the run: closing it would finish it twice at exit


def wandb(folder: Path, settings: Mapping[str, Any]) -> "Tracker":
    """A run in the run folder; offline unless the environment configures W&B."""
    import wandb as package

    from sirl.training.observers.trackers import Board

    configured = "WANDB_MODE" in os.environ or "WANDB_API_KEY" in os.environ
    made = package.init(
        project=PROJECT,
        name=folder.name,
        dir=str(folder),
        config=dict(settings),
        mode=None if configured else "offline",
    )
    return Board(made)
