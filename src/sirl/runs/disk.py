"""Atomic, synced file operations with readable errors."""

import errno
import fcntl
import json
import math
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from sirl.errors import RunError

__all__ = [
    "DISK",
    "Disk",
    "check_has",
    "checkpoint_name",
    "clear_checkpoints",
    "cut_torn_line",
    "damaged",
    "disk_errors",
    "is_checkpoint",
    "mapping_in",
    "opened",
    "plain",
    "read",
    "step_of",
    "sync_file",
    "sync_folder",
    "write_atomically",
]

PRIVATE = frozenset({"instinct_answers.jsonl", "records.jsonl", "unjudged.jsonl", "verdicts.jsonl"})
"""Files that hold attacks and answers in full."""
CHECKPOINT = re.compile(r"step-(\d+)")
"""Name of a checkpoint, with its step."""
MISSING_CALL = frozenset({errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})
"""What a file system answers that lacks a call."""


def say_on_stderr(sentence: str) -> None:
    """Print it on stderr, separate from the results."""
    sys.stderr.write(f"sirl: {sentence}\n")


@dataclass
class Disk:
    """The calls that some file systems lack; where one is missing, that is said once."""

    fsync: Callable[[int], None] = os.fsync
    flock: Callable[[int, int], None] = fcntl.flock
    say: Callable[[str], None] = say_on_stderr
    said: set[str] = field(default_factory=set)

    def sync(self, handle: int, folder: Path) -> None:
        """See an open file onto the disk, as far as the file system can."""
        try:
            self.fsync(handle)
        except OSError as error:
            if error.errno not in MISSING_CALL:
                raise
            self.once(
                f"the file system of {folder} has no fsync: after a power loss the last lines "
                "of a run may be missing"
            )

    def lock(self, handle: int, path: Path) -> None:
        """Lock an open file for this process alone, as far as the file system can.

        Raises:
            RunError: Another process holds it.
        """
        try:
            self.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in MISSING_CALL | {errno.ENOLCK}:
                raise RunError(
                    f"{path.parent} is in use by another process: wait for it, or give another "
                    "--out"
                ) from error
            self.once(
                f"the file system of {path.parent} has no file locks: make sure that no other "
                "process writes there"
            )

    def once(self, sentence: str) -> None:
        """Say a sentence that was not said before."""
        if sentence not in self.said:
            self.said.add(sentence)
            self.say(sentence)


DISK = Disk()


def clear_checkpoints(folder: Path) -> None:
    """Remove the checkpoints that a run has written, and their folder if it is then empty."""
    if folder.is_symlink() or not folder.is_dir():
        return
    for place in folder.iterdir():
        if is_checkpoint(place) or place.name.startswith(".writing-step-"):
            shutil.rmtree(place)
    with suppress(OSError):  # what is left is not ours
        folder.rmdir()


def checkpoint_name(step: int) -> str:
    """The name of the checkpoint of a step.

    >>> checkpoint_name(30)
    'step-000030'
    """
    return f"step-{step:06d}"


def step_of(place: Path) -> int:
    """The step of a checkpoint, by its name; -1 if that is no checkpoint's."""
    named = CHECKPOINT.fullmatch(place.name)
    return int(named[1]) if named else -1


def is_checkpoint(place: Path) -> bool:
    """Whether a folder is a checkpoint that we wrote, whole or damaged."""
    if step_of(place) < 0 or place.is_symlink() or not place.is_dir():
        return False
    for name, key in (("manifest.json", "sha256"), ("trainer/state.json", "step")):
        with suppress(RunError):
            text = read(place / name)
            if text and key in mapping_in(text, name):
                return True
    return False


def read(path: Path) -> bytes:
    """The bytes of a file; none where it is not there.

    Raises:
        RunError: It cannot be read.
    """
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return b""
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}") from error


def cut_torn_line(log: Path) -> None:
    """Take off a last line that a kill has cut short, so that nothing is glued to it."""
    if not log.is_file():
        return
    with log.open("rb+") as file:
        whole = file.read().rfind(b"\n") + 1
        file.truncate(whole)


def mapping_in(text: bytes, place: str) -> dict[str, Any]:
    """The JSON object in a text.

    Raises:
        RunError: It is damaged, or not an object.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise damaged(place) from error
    if not isinstance(found, dict):
        raise damaged(place)
    return found


def damaged(place: str, value: str = "") -> RunError:
    """What to say of a file of a run, or of a value in it, that is not what a run writes."""
    return RunError(
        f"{place} is damaged{f' at {value}' if value else ''} and cannot be read: restore the "
        "file, or give the command that wrote it again, with --overwrite"
    )


def check_has(place: Path, found: Mapping[str, Any], values: Iterable[str]) -> None:
    """Check that a file of a run has these values.

    Raises:
        RunError: It lacks one.
    """
    if lost := [value for value in values if value not in found]:
        raise damaged(str(place), lost[0])


def write_atomically(path: Path, text: str, *, private: bool = False, disk: Disk = DISK) -> None:
    """Write a file atomically: to a temporary file in the same folder, synced, then renamed."""
    with disk_errors(path):
        with opened(beside(path), "wb", private=private or path.name in PRIVATE) as file:
            file.write(text.encode("utf-8"))
            file.flush()
            disk.sync(file.fileno(), path.parent)
        beside(path).replace(path)
        sync_folder(path.parent, disk)


def opened(path: Path, mode: str, *, private: bool | None = None) -> IO[bytes]:
    """A file for writing; one that holds attacks and answers in full is its owner's alone."""
    secret = path.name in PRIVATE if private is None else private
    return open(path, mode, opener=lambda p, flags: os.open(p, flags, 0o600 if secret else 0o666))  # noqa: PTH123 - Path.open takes no opener


def beside(path: Path) -> Path:
    """Where a document is written before it is moved to its place."""
    return path.with_name(f".{path.name}.writing")


def sync_folder(folder: Path, disk: Disk = DISK) -> None:
    """See the names in a folder onto the disk."""
    sync_file(folder, disk)


def sync_file(path: Path, disk: Disk = DISK) -> None:
    """See the bytes of a file, or the names in a folder, onto the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        disk.sync(handle, path if path.is_dir() else path.parent)
    finally:
        os.close(handle)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what the file system refuses into a sentence."""
    try:
        yield
    except RunError:
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise RunError(
                f"no space left while writing {path}: free some space, then continue with --resume"
            ) from error
        if error.errno in (errno.ENOENT, errno.ESTALE):
            raise RunError(
                f"cannot write {path}: its folder is not there, or was removed; give another --out"
            ) from error
        raise RunError(f"cannot write {path}: {error.strerror}; give another --out") from error


def plain(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """The value as JSON can hold it: tuples as lists, numbers that are not finite as null.

    >>> plain({"a": (1.0, float("nan"))})
    {'a': [1.0, None]}
    """
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
