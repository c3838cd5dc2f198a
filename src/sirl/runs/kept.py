"""What was paid for, in a file that goes once the work is done.

Verbs without `--resume` take from it what the same command has already been given.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sirl.errors import OutageError, Stopped
from sirl.runs.disk import cut_torn_line, disk_errors, opened, plain
from sirl.runs.places import KEPT
from sirl.runs.reader import RunReader

__all__ = ["Kept"]


class Kept:
    """Replies and verdicts by key, which says all that they depend on."""

    def __init__(self, path: Path) -> None:
        cut_torn_line(path)
        self.path = path
        self.rows = {row["key"]: row for row in RunReader(path.parent).rows(path.name)}

    @classmethod
    def of_run(cls, folder: Path) -> "Kept":
        """What an unfinished run in this folder was given."""
        return cls(folder / KEPT)

    def add(self, found: Sequence[Mapping[str, Any]]) -> None:
        """Keep rows, each with its `key`; private, since they quote answers."""
        if not found:
            return
        with disk_errors(self.path), opened(self.path, "ab", private=True) as log:
            log.write("".join(json.dumps(plain(row)) + "\n" for row in found).encode("ascii"))
        self.rows |= {row["key"]: dict(row) for row in found}

    @contextmanager
    def until_done(self, way: str) -> Iterator[None]:
        """A block after which the file goes, unless an outage or an interruption ends it.

        Raises:
            OutageError: There is one; it says how to go on.
        """
        try:
            yield
        except Stopped:
            raise
        except OutageError as outage:
            if not self.rows:
                raise
            raise OutageError(
                f"{outage}; what has been answered is kept in {self.path}: {way} to go on"
            ) from outage
        except Exception:  # the rows may hold what was wrong, and they would block the folder
            self.path.unlink(missing_ok=True)
            raise
        self.path.unlink(missing_ok=True)
