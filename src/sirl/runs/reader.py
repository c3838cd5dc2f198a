"""Reads a run folder; takes no lock and changes nothing."""

from pathlib import Path
from typing import Any

import yaml

from sirl.renamed import current_settings, current_summary
from sirl.runs.disk import DISK, Disk, damaged, mapping_in, read
from sirl.runs.places import CONFIG, SUMMARY, in_this_folder, log_place
from sirl.text import many

__all__ = ["RunReader", "missing_steps", "rows_by_step"]


class RunReader:
    """What a run folder holds; that of an earlier version reads under the present names."""

    def __init__(self, path: Path, disk: Disk = DISK) -> None:
        self.path = path
        self.disk = disk

    def rows(self, name: str) -> list[dict[str, Any]]:
        """The whole lines of a log; a last line cut short by a kill is not one of them.

        Raises:
            RunError: A line other than the last is damaged.
        """
        path = log_place(self.path, name)
        *lines, _torn = read(path).split(b"\n")
        return [mapping_in(line, f"{path}:{number}") for number, line in enumerate(lines, 1)]

    def read(self, name: str) -> dict[str, Any]:
        """A JSON document; empty when it is not there.

        Raises:
            RunError: It is damaged.
        """
        text = read(self.path / name)
        found = mapping_in(text, str(self.path / name)) if text else {}
        return current_summary(found) if name == SUMMARY else found

    def settings(self) -> dict[str, Any]:
        """The configuration that the run was started with.

        Raises:
            RunError: It is missing, empty or damaged.
        """
        try:
            found = yaml.safe_load(read(self.path / CONFIG).decode("utf-8"))
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise damaged(str(self.path / CONFIG)) from error
        if not isinstance(found, dict) or not found:
            raise damaged(str(self.path / CONFIG))
        return in_this_folder(current_settings(found), self.path)


def rows_by_step(run: RunReader, name: str) -> dict[int, dict[str, Any]]:
    """The lines of a log of steps, in the order of steps; of two with one step the last counts.

    Raises:
        RunError: A line is damaged or names no step.
    """
    rows = run.rows(name)
    for number, row in enumerate(rows, 1):
        if type(row.get("step")) is not int:
            raise damaged(f"{run.path / name}:{number}")
    found = {row["step"]: row for row in rows}
    if len(found) < len(rows):
        twice = many(len(rows) - len(found), "step")
        run.disk.once(f"{run.path / name} holds {twice} twice; each counts once")
    return dict(sorted(found.items()))


def missing_steps(run: RunReader, name: str, taken: int) -> str:
    """What to say where steps, counted from 1, are not in their log; empty where all are."""
    rows = rows_by_step(run, name)
    if not (lost := [step for step in range(1, taken + 1) if step not in rows]):
        return ""
    return (
        f"{run.path / name} lacks {len(lost)} of {taken} steps, the first being step {lost[0]}: "
        "curves leave them out"
    )
