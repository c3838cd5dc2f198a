"""The run folder: append-only logs, atomic documents, one writer, and a way to go on.

    runs/NAME/
    ├── run.json         verb, versions, seeds, hashes, hardware, exit
    ├── config.yaml      the resolved configuration
    ├── metrics.jsonl    one line per step
    ├── records.jsonl    one line per answer (readable by its owner alone)
    ├── items.jsonl      one line per attack on one behaviour that took more than one try
    ├── verdicts.jsonl   what further judges say of the records
    ├── checkups.jsonl   the mini-suite, every so many steps of training
    ├── costs.jsonl      calls, tokens and seconds by role
    ├── rejected.jsonl   rows of the input that could not be used
    ├── summary.json     the figures, each with n and interval
    ├── checkpoints/step-000030/
    └── report.html

A line is flushed to the disk before the work goes on, a document is written beside its place and
moved there: killed at any instant, the folder holds whole lines but perhaps the last, and whole
documents. Numbers that are not finite are written as null.
"""

import errno
import fcntl
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal

import yaml

from sirl.errors import ConfigError, RunError

__all__ = ["Existing", "Run", "open_run", "plain", "sync_folder", "write_atomically"]

Existing = Literal["ask", "resume", "overwrite"]
"""What to do with a folder that exists: `ask` stops with the named answers."""

CONFIG, ABOUT, LOCK = "config.yaml", "run.json", ".lock"
NAMES = (
    "report.html",
    "summary.json",
    "rejected.jsonl",
    "records.jsonl",
    "items.jsonl",
    "costs.jsonl",
    "verdicts.jsonl",
    "checkups.jsonl",
    "metrics.jsonl",
    "tensorboard",
    "wandb",
    "checkpoints",
    ABOUT,
    CONFIG,
)
"""All that a run writes, in the order in which `--overwrite` removes it: a folder that a kill left
half removed is still known as a run."""

CHANGEABLE = {
    *("out", "shard", "steps", "timeout", "track", "concurrency", "tries", "requests_per_minute"),
    *("key_from_env", "judge_key_from_env", "attacker_key_from_env"),
}
"""Settings that do not change what a run finds, or may grow."""
PRIVATE = frozenset({"records.jsonl", "verdicts.jsonl"})
"""Files that hold attacks and answers in full."""


class Run:
    """An open run folder; the lock is held until `close`."""

    def __init__(self, path: Path, lock: int, config: Mapping[str, Any], *, resumed: bool) -> None:
        self.path = path
        self.resumed = resumed
        self._lock = lock
        self._config = config

    @property
    def local(self) -> "Run":
        """The folder as this process reads it by itself."""
        return self

    def begin(self) -> None:
        """Write the configuration; what an overwritten run left goes only now.

        Whoever opens a run looks at its other input first, so that a wrong command loses nothing.
        """
        if self.resumed:
            for name in NAMES:
                if name.endswith(".jsonl"):
                    cut_torn_line(self.path / name)
        else:
            clear(self.path)
        write_atomically(self.path / CONFIG, yaml.safe_dump(dict(self._config), sort_keys=False))

    def close(self) -> None:
        """Let go of the lock."""
        os.close(self._lock)

    def forget_if_empty(self) -> None:
        """Remove a folder without results, so that a mended command can use its name."""
        if {p.name for p in self.path.iterdir()} <= {LOCK, CONFIG, ABOUT, "rejected.jsonl"}:
            shutil.rmtree(self.path)

    def append(self, name: str, *rows: Mapping[str, Any]) -> None:
        """Add lines to a log in one write and see them onto the disk; a private one stays so."""
        text = "".join(json.dumps(plain(row), ensure_ascii=True) + "\n" for row in rows)
        with disk_errors(self.path / name), opened(self.path / name, "ab") as log:
            log.write(text.encode("ascii"))
            log.flush()
            os.fsync(log.fileno())

    def rows(self, name: str) -> list[dict[str, Any]]:
        """The whole lines of a log; a last line cut short by a kill is not one of them.

        Raises:
            RunError: A line other than the last is damaged.
        """
        path = self.path / name
        if not path.exists():
            return []
        *lines, _torn = path.read_bytes().split(b"\n")
        rows = []
        for number, line in enumerate(lines, 1):
            try:
                rows.append(json.loads(line))
            except ValueError as error:
                raise RunError(
                    f"{path}:{number} is damaged and cannot be resumed from: "
                    "restore the file, or begin anew with --overwrite"
                ) from error
        return rows

    def keep(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Replace a log by these rows; a resumed run writes the rest again."""
        text = "".join(json.dumps(plain(row), ensure_ascii=True) + "\n" for row in rows)
        write_atomically(self.path / name, text)

    def write(self, name: str, document: Mapping[str, Any]) -> None:
        """Write a JSON document, whole or not at all."""
        write_atomically(self.path / name, json.dumps(plain(document), indent=1) + "\n")

    def read(self, name: str) -> dict[str, Any]:
        """A JSON document; empty when it is not there."""
        path = self.path / name
        document: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
        return document


def open_run(
    path: Path, config: Mapping[str, Any], existing: Existing, *, resumable: bool = True
) -> Run:
    """Make or reopen a run folder, locked; nothing in it changes before `Run.begin`.

    Raises:
        RunError: The folder exists and nothing was said about it; is no run; or is in use.
        ConfigError: It is to be resumed with another configuration.
    """
    occupied = path.exists() and (not path.is_dir() or any(path.iterdir()))
    is_run = occupied and path.is_dir() and is_run_folder(path)
    if occupied and existing == "ask":
        goes_on = "--resume goes on with it, " if resumable else ""
        raise RunError(f"{path} exists: {goes_on}--overwrite begins anew, or give another --out")
    if occupied and not is_run:
        raise RunError(f"{path} is not a run folder: give another --out")
    with disk_errors(path):
        path.mkdir(parents=True, exist_ok=True)
        lock = take_lock(path)
    resumed = existing == "resume" and (path / CONFIG).is_file()
    if resumed:
        try:
            check_same(path, config)
        except BaseException:
            os.close(lock)
            raise
    return Run(path, lock, config, resumed=resumed)


def cut_torn_line(log: Path) -> None:
    """Take off a last line that a kill has cut short, so that nothing is glued to it."""
    if not log.is_file():
        return
    with log.open("rb+") as file:
        whole = file.read().rfind(b"\n") + 1
        file.truncate(whole)


def is_run_folder(path: Path) -> bool:
    """Whether a run made this folder, even one that was killed before its first document."""
    names = {p.name for p in path.iterdir()}
    writing = {beside(path / name).name for name in NAMES}
    return {CONFIG, ABOUT} <= names or names <= {LOCK, *NAMES, *writing}


def take_lock(path: Path) -> int:
    """The folder's lock; the system lets go of it when the process dies."""
    lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise RunError(
            f"{path} is in use by another process: wait for it, or give another --out"
        ) from error
    return lock


def check_same(path: Path, config: Mapping[str, Any]) -> None:
    """A resumed run keeps its settings; it may be moved, longer, and on other processes."""
    before = yaml.safe_load((path / CONFIG).read_text("utf-8")) or {}
    # A setting that one side does not know is from another version, and stands at its default.
    for key in sorted({*before} & {*config} - CHANGEABLE):
        if before.get(key) != config.get(key):
            raise ConfigError(
                f"{path} was started with {key} = {before.get(key)!r}, not {config.get(key)!r}: "
                "resume with the same settings, or begin anew with --overwrite"
            )


def clear(path: Path) -> None:
    """Remove what a run has written, and nothing else."""
    for entry in (path / name for name in NAMES):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink(missing_ok=True)


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


def write_atomically(path: Path, text: str, *, private: bool = False) -> None:
    """Write a file whole or not at all: beside its place, onto the disk, then moved there."""
    with disk_errors(path):
        with opened(beside(path), "wb", private=private or path.name in PRIVATE) as file:
            file.write(text.encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())
        beside(path).replace(path)
        sync_folder(path.parent)


def opened(path: Path, mode: str, *, private: bool | None = None) -> IO[bytes]:
    """A file for writing; one that holds attacks and answers in full is its owner's alone."""
    secret = path.name in PRIVATE if private is None else private
    return open(path, mode, opener=lambda p, flags: os.open(p, flags, 0o600 if secret else 0o666))  # noqa: PTH123 - Path.open takes no opener


def beside(path: Path) -> Path:
    """Where a document is written before it is moved to its place."""
    return path.with_name(f".{path.name}.writing")


def sync_folder(folder: Path) -> None:
    """See the names in a folder onto the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a full or read-only disk into a sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise RunError(
                f"no space left while writing {path}: free some, then go on with --resume"
            ) from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EPERM):
            raise RunError(f"cannot write {path}: {error.strerror}; give another --out") from error
        raise
