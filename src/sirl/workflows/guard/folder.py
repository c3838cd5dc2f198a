"""Finds the guard in a folder that `sirl guard calibrate` wrote."""

import shlex
from itertools import chain, count
from pathlib import Path
from typing import Any

from sirl import registry
from sirl.errors import InputError
from sirl.runs import RunReader
from sirl.runs.unchanged import check_unchanged
from sirl.workflows.guard.calibrate import GUARD

__all__ = ["calibrating", "guard_document"]


def calibrating(model: str, out: str) -> str:
    """The command that calibrates a guard of a model into a folder."""
    words = ["sirl", "guard", "calibrate", "--model", model]
    words += [] if registry.is_world(model) else ["--prompts", "FILE"]
    return shlex.join([*words, "--out", out])


def guard_document(folder: str, model: str) -> dict[str, Any]:
    """The document of a guard.

    Args:
        folder: What the user gave as --guard.
        model: The model, as `sirl guard calibrate` is given it.

    Raises:
        InputError: There is none.
        RunError: It has changed since it was calibrated.
    """
    place = Path(folder)
    if place.is_file():
        raise InputError(f"--guard {folder} is a file: give its folder, {place.parent}")
    if (place / GUARD).is_file():
        check_unchanged(run := RunReader(place))
        return run.read(GUARD)
    if place.is_dir() and any(place.iterdir()):
        raise InputError(
            f"--guard {folder} has no {GUARD} but other files, so it is no guard: run "
            f"{calibrating(model, str(free(place)))}, and give that folder"
        )
    raise InputError(f"--guard {folder} has no {GUARD}: run {calibrating(model, folder)}")


def free(folder: Path) -> Path:
    """A folder beside another one that does not exist."""
    beside = folder if folder.name else folder.absolute()  # `.` has no name
    names = chain([f"{beside.name}-guard"], (f"{beside.name}-guard{n}" for n in count(2)))
    return next(p for name in names if not (p := beside.with_name(name)).exists())
