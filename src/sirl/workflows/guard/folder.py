"""Finds the guard in a folder that `sirl guard calibrate` wrote."""

from itertools import chain, count
from pathlib import Path
from typing import Any

from sirl.errors import InputError
from sirl.runs import RunReader
from sirl.workflows.guard.calibrate import GUARD

__all__ = ["guard_document"]


def guard_document(folder: str, calibrate: str = "sirl guard calibrate") -> dict[str, Any]:
    """The document of a guard.

    Args:
        folder: What the user gave as --guard.
        calibrate: The command that makes such a guard, without --out.

    Raises:
        InputError: There is none.
    """
    place = Path(folder)
    if place.is_file():
        raise InputError(f"--guard {folder} is a file: give its folder, {place.parent}")
    if (place / GUARD).is_file():
        return RunReader(place).read(GUARD)
    if place.is_dir() and any(place.iterdir()):
        raise InputError(
            f"--guard {folder} has no {GUARD} but other files, so it is no guard: run {calibrate} "
            f"--out {free(place)}, and give that folder"
        )
    raise InputError(f"--guard {folder} has no {GUARD}: run {calibrate} --out {folder}")


def free(folder: Path) -> Path:
    """A folder beside another one that does not exist."""
    beside = folder if folder.name else folder.absolute()  # `.` has no name
    names = chain([f"{beside.name}-guard"], (f"{beside.name}-guard{n}" for n in count(2)))
    return next(p for name in names if not (p := beside.with_name(name)).exists())
