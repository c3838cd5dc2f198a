"""Trackers by name. A missing package is an error at the start; later failures are not fatal.

Trackers use no network by default: TensorBoard and trackio write to this machine,
and so does Weights & Biases unless WANDB_MODE or WANDB_API_KEY is set.
"""

import importlib.util
import os
from collections.abc import Mapping
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sirl.config import TrainingSettings
from sirl.errors import MissingExtraError, unknown_name
from sirl.registry.plugins import names_in
from sirl.runs import RunReader
from sirl.runs.places import ABOUT

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
    names = names_in(config.track)
    for name in names:
        if name not in TRACKERS:
            raise unknown_name("tracker", name, TRACKERS)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:  # a folder of that name is not a package
            raise MissingExtraError(f"track={name}", "track")
    return {name: partial(start, name, config) for name in names}


def start(name: str, config: TrainingSettings, taken: int) -> "Tracker":
    """Start a tracker, or go on with it after the steps taken; it may raise anything."""
    folder = Path(config.out)
    match name:
        case "tensorboard":
            return tensorboard(folder, taken)
        case "trackio":
            return trackio(folder, config.model_dump())
        case _:
            return wandb(folder, config.model_dump())


def tensorboard(folder: Path, taken: int) -> "Tracker":
    """Event files in the run folder; steps after those taken are hidden in the earlier files."""
    from torch.utils.tensorboard import SummaryWriter

    from sirl.training.observers.trackers import Scalars

    return Scalars(SummaryWriter(folder / "tensorboard", purge_step=taken + 1))


def trackio(folder: Path, settings: Mapping[str, Any]) -> "Tracker":
    """A row per step in trackio's local database."""
    import trackio as package

    from sirl.training.observers.trackers import Board

    # trackio identifies a run by name, and two folders may have the same last part.
    name = f"{folder.name}-{digest(str(folder.resolve()))[:6]}"
    package.init(project=PROJECT, name=name, config=dict(settings), resume="allow")
    return Board(package)  # not the run: closing it would finish it twice at exit


def wandb(folder: Path, settings: Mapping[str, Any]) -> "Tracker":
    """A run in the run folder; offline unless the environment configures W&B."""
    import wandb as package

    from sirl.training.observers.trackers import Board

    configured = "WANDB_MODE" in os.environ or "WANDB_API_KEY" in os.environ
    # W&B identifies a run by id, and a run that starts over in the same folder is another one.
    began = next(iter(RunReader(folder).read(ABOUT).get("starts", ())), "")
    made = package.init(
        project=PROJECT,
        id=digest(f"{folder.resolve()} {began}")[:16],
        resume="allow",
        name=folder.name,
        dir=str(folder),
        config=dict(settings),
        mode=None if configured else "offline",
    )
    return Board(made)


def digest(text: str) -> str:
    """The hash of a text."""
    return sha256(text.encode()).hexdigest()
