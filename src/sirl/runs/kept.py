"""What was paid for, in a file that goes once the work is done.

A command that is given again, with `--resume` where its verb has it, takes from it what the first
one has already been given.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sirl.errors import RunError, SirlError, Stopped
from sirl.runs.disk import cut_torn_line, disk_errors, opened, plain
from sirl.runs.places import KEPT
from sirl.runs.reader import RunReader
from sirl.text import many

__all__ = ["Kept"]

Found = TypeVar("Found")


class DamagedError(RunError):
    """The file of what was paid for is damaged."""


class Kept:
    """Replies and verdicts by key, which says all that they depend on."""

    def __init__(self, path: Path) -> None:
        cut_torn_line(path)
        self.path = path
        with self.readable():
            self.rows = {row["key"]: row for row in RunReader(path.parent).rows(path.name)}

    @classmethod
    def of_run(cls, folder: Path) -> "Kept":
        """What an unfinished run in this folder was given."""
        return cls(folder / KEPT)

    @contextmanager
    def readable(self) -> Iterator[None]:
        """A block that reads rows.

        Raises:
            RunError: One is damaged, or holds something else.
        """
        try:
            yield
        except (RunError, KeyError, TypeError, ValueError) as error:
            raise DamagedError(
                f"{self.path} is damaged, or holds more than replies and verdicts: remove the file "
                "and give the command again, which then asks for all of them"
            ) from error

    def notes(self) -> list[str]:
        """A sentence on what an unfinished command has left, if it has left anything."""
        left = many(len(self.rows), "reply or verdict is", "replies and verdicts are")
        said = f"{left} taken from {self.path}, if asked for in the same words of the same model: "
        return [f"{said}remove the file to ask for all anew"] * bool(self.rows)

    def found(self, key: str, read: Callable[[Mapping[str, Any]], Found]) -> Found:
        """What a row holds.

        Raises:
            RunError: It is damaged, or holds something else.
        """
        with self.readable():
            return read(self.rows[key])

    def add(self, found: Sequence[Mapping[str, Any]]) -> None:
        """Keep rows, each with its `key`; private, since they quote answers."""
        if not found:
            return
        with disk_errors(self.path), opened(self.path, "ab", private=True) as log:
            log.write("".join(json.dumps(plain(row)) + "\n" for row in found).encode("ascii"))
        self.rows |= {row["key"]: dict(row) for row in found}

    @contextmanager
    def until_done(self, way: str) -> Iterator[None]:
        """A block after which the file goes, unless an error or an interruption ends it.

        Raises:
            SirlError, KeyboardInterrupt: That of the block; it says what is kept, and how to go on.
        """
        left = f"what has been answered is kept in {self.path}: {way} to go on"
        try:
            yield
        except (Stopped, DamagedError):  # they say how to go on
            raise
        except KeyboardInterrupt as interrupt:
            if not self.rows:
                raise
            raise KeyboardInterrupt(f"stopped; {left}") from interrupt
        except SirlError as error:
            if self.rows:
                error.args = (f"{error}; {left}",)
            raise
        self.path.unlink(missing_ok=True)
