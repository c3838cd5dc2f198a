"""Reads a run folder; takes no lock and changes nothing."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from sirl.errors import RunError
from sirl.once import yaml_in
from sirl.renamed import current_settings, current_summary
from sirl.runs.disk import DISK, Disk, damaged, mapping_in, read
from sirl.runs.formats import check_format
from sirl.runs.places import CONFIG, SUMMARY, in_this_folder, log_place
from sirl.text import many

__all__ = ["RunReader", "distinct_rows", "missing_steps", "rows_by_step"]


class RunReader:
    """What a run folder holds; that of an earlier version reads under the present names."""

    def __init__(self, path: Path, disk: Disk = DISK) -> None:
        self.path = path
        self.disk = disk

    def rows(self, name: str) -> list[dict[str, Any]]:
        """The whole lines of a log; a last line cut short by a kill is not one of them.

        Raises:
            RunError: A line other than the last is damaged, or holds something else.
        """
        path = log_place(self.path, name)
        *lines, _torn = read(path).split(b"\n")
        found = []
        for number, line in enumerate(lines, 1):
            found.append(mapping_in(line, place := f"{path}:{number}"))
            check_format(name, found[-1], place)
        return found

    def read(self, name: str) -> dict[str, Any]:
        """A JSON document; empty when it is not there.

        Raises:
            RunError: It is damaged, or holds something else.
        """
        if not (text := read(self.path / name)):
            return {}
        found = mapping_in(text, place := str(self.path / name))
        check_format(name, found, place)
        return current_summary(found) if name == SUMMARY else found

    def settings(self) -> dict[str, Any]:
        """The configuration that the run was started with.

        Raises:
            RunError: It is missing, empty or damaged.
        """
        try:
            found = yaml_in(read(self.path / CONFIG).decode("utf-8"))
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise damaged(str(self.path / CONFIG)) from error
        if not isinstance(found, dict) or not found:
            raise damaged(str(self.path / CONFIG))
        return in_this_folder(current_settings(found), self.path)


def distinct_rows(run: RunReader, name: str, keys: Sequence[str]) -> dict[int, dict[str, Any]]:
    """The lines of a log by number, from 1; a line that stands twice counts once, with a warning.

    Raises:
        RunError: A line is damaged, or has the same keys as another and other content.
    """
    rows = run.rows(name)
    found: dict[str, int] = {}
    for number, row in enumerate(rows, 1):
        first = found.setdefault(json.dumps([row.get(key) for key in keys]), number)
        if row != rows[first - 1]:
            raise RunError(
                f"{log_place(run.path, name)}:{number} has the key of line {first} and other "
                "content: remove the one that the run did not write"
            )
    if len(found) < len(rows):
        run.disk.once(
            f"{run.path / name} holds {len(rows) - len(found)} lines twice; each counts once"
        )
    return {number: rows[number - 1] for number in found.values()}


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
