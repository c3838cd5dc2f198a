"""The run folder: append-only logs, atomic documents, one writer, resumable.

    runs/NAME/
    ├── run.json         verb, versions, seeds, hashes of what was read and written, hardware, exit
    ├── config.yaml      the resolved configuration
    ├── prompts/         lists of prompts given in a notebook (readable by their owner alone)
    ├── metrics.jsonl    one line per step
    ├── records.jsonl    one line per answer (readable by its owner alone)
    ├── unjudged.jsonl   answers that an outage of the judge left without a verdict (the same)
    ├── items.jsonl      one line per attack on one behaviour with more than one try
    ├── verdicts.jsonl   verdicts of further judges on the records
    ├── mini_evals.jsonl mini-evaluations at regular steps of training
    ├── costs.jsonl      calls, tokens and seconds by role
    ├── instinct.json    whether the starting model refuses or answers each bare prompt of the pool
    ├── instinct_answers.jsonl  the answers that this was read from (readable by its owner alone)
    ├── decisions.json   what it decides at the first token of an answer
    ├── own_answers.json  its openings and refusals, of a run with depth
    ├── own_refusals.json  its refusals of unsafe and look-alike prompts, of a probe
    ├── guard.json      probe, thresholds and calibration scores of a guard
    ├── guard_scores.jsonl  scores of each answer that a guard was evaluated on
    ├── guard_searches.jsonl  searches that a guard was evaluated on, a line per request
    ├── kept.jsonl      replies and verdicts that an unfinished verb was given (private)
    ├── guard.md        the table of that evaluation
    ├── evaluations/step-000030/  a sweep's evaluation of a checkpoint, itself a run folder
    ├── sweep.md        the table of a sweep
    ├── rejected.jsonl   rows of the input that could not be used
    ├── summary.json     the figures, each with n and interval
    ├── checkpoints/step-000030/
    └── report.html

Lines are synced to disk before work continues, documents are written to a temporary file and
renamed: after a kill at any time all documents and all lines except perhaps the last are complete.
Non-finite numbers are written as null. A `.lock` that says `sirl` marks the folder as ours;
`--overwrite` removes known files and checkpoints with our manifest.
"""

import json
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from sirl.errors import ConfigError, RunError
from sirl.runs.disk import (
    DISK,
    Disk,
    clear_checkpoints,
    cut_torn_line,
    disk_errors,
    is_checkpoint,
    opened,
    plain,
    step_of,
    write_atomically,
)
from sirl.runs.places import (
    ABOUT,
    CONFIG,
    LEFT,
    LOCK,
    MARK,
    NAMES,
    PROMPTS,
    UNFINISHED,
    check_resumable,
    is_left_over,
    is_run_folder,
    lists_in,
    names_with_content,
    refuse_to_remove_inputs,
    rename_logs,
)
from sirl.runs.reader import RunReader
from sirl.runs.unchanged import check_unchanged

__all__ = [
    "Existing",
    "LockedRun",
    "Run",
    "check_free",
    "clear_lists",
    "open_run",
    "settings_of",
]

Existing = Literal["ask", "resume", "overwrite"]
"""What to do with a folder that exists: `ask` stops with the named answers."""

CHANGEABLE = {
    *("out", "shard", "steps", "timeout", "track", "concurrency", "tries", "requests_per_minute"),
    *("key_from_env", "judge_key_from_env", "attacker_key_from_env"),
    *("max_lookalike_rise", "max_ordinary_rise", "max_capability_drop"),
}
"""Settings that do not change what a run finds, or may grow."""


class Run(RunReader, ABC):
    """A run folder that is written, by one process or by one for all."""

    resumed: bool
    """Whether it goes on with what an earlier process has written."""

    @abstractmethod
    def begin(self, keeps: Collection[str] = ()) -> None:
        """Write the configuration; what an overwritten run left goes only now, except `keeps`.

        Callers validate their other input first, so that a wrong command deletes nothing.
        """

    @abstractmethod
    def append(self, name: str, *rows: Mapping[str, Any]) -> None:
        """Add lines to a log in one write and see them onto the disk; a private one stays so."""

    @abstractmethod
    def keep(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Replace a log by these rows; a resumed run writes the rest again."""

    @abstractmethod
    def write(self, name: str, document: Mapping[str, Any]) -> None:
        """Write a JSON document, whole or not at all."""

    @abstractmethod
    def forget_if_empty(self) -> None:
        """Empty a folder without results, so that a corrected command can use its name.

        Rejected rows stay, so that the user can read them, and the lock that marks the folder, too.
        """

    @abstractmethod
    def close(self) -> None:
        """Release the folder."""


class LockedRun(Run):
    """A run folder that this process alone writes; the lock is held until `close`."""

    def __init__(
        self, path: Path, lock: int, config: Mapping[str, Any], *, disk: Disk = DISK
    ) -> None:
        super().__init__(path, disk)
        self.resumed = False
        self._lock = lock
        self._config = config
        self._sizes: dict[str, int] = {}
        """Bytes of each log after this run's last line."""

    def begin(self, keeps: Collection[str] = ()) -> None:
        """Write the configuration; clear the folder, or mend its logs where it is resumed."""
        self.check_held()
        if self.resumed and (about := self.read(ABOUT)).pop("written", None):
            self.write(ABOUT, about)  # a kill must leave no hash of settings that are replaced
        with disk_errors(self.path):
            if self.resumed:
                rename_logs(self.path)
                for name in NAMES:
                    if name.endswith(".jsonl"):
                        cut_torn_line(self.path / name)
            else:
                clear(self.path, keeps)
                clear_lists(self.path, kept={str(value) for value in self._config.values()})
        text = yaml.safe_dump(dict(self._config), sort_keys=False)
        write_atomically(self.path / CONFIG, text, disk=self.disk)

    def check_held(self) -> None:
        """See that the folder is still there and this run's own.

        Raises:
            RunError: It was removed or moved, or its lock was, and another run may write there.
        """
        try:
            there = os.stat(self.path / LOCK)  # noqa: PTH116 - beside fstat
        except OSError as error:
            raise RunError(
                f"{self.path} or its lock was removed or moved while this run was writing there: "
                "start over in a folder that nothing else changes"
            ) from error
        if not os.path.samestat(there, os.fstat(self._lock)):
            raise RunError(
                f"the lock of {self.path} was removed while this run was writing there, and "
                "another process has made its own: let one run write there, with --resume"
            )

    def close(self) -> None:
        """Release the lock."""
        os.close(self._lock)

    def forget_if_empty(self) -> None:
        """Empty a folder without results."""
        with suppress(OSError):  # tidying up after an error, which is what is to be told
            self.check_held()
            names = names_with_content(self.path)
            if names <= UNFINISHED:
                kept = LEFT if names >= LEFT else frozenset()
                for name in {*NAMES, LOCK} - kept:
                    (self.path / name).unlink(missing_ok=True)
                if not kept:
                    clear_lists(self.path)
                    self.path.rmdir()

    def append(self, name: str, *rows: Mapping[str, Any]) -> None:
        """Add lines to a log."""
        self.check_held()
        path = self.path / name
        text = "".join(json.dumps(plain(row), ensure_ascii=True) + "\n" for row in rows)
        with disk_errors(path), opened(path, "ab") as log:
            if log.tell() < self._sizes.get(name, 0):
                raise RunError(
                    f"{path} has lost lines while this run was writing it: continue with --resume, "
                    "and let nothing else change the folder"
                )
            log.write(text.encode("ascii"))
            log.flush()
            self.disk.sync(log.fileno(), self.path)
            self._sizes[name] = log.tell()

    def keep(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Replace a log."""
        text = "".join(json.dumps(plain(row), ensure_ascii=True) + "\n" for row in rows)
        self.check_held()
        write_atomically(self.path / name, text, disk=self.disk)
        self._sizes.pop(name, None)

    def write(self, name: str, document: Mapping[str, Any]) -> None:
        """Write a JSON document."""
        self.check_held()
        text = json.dumps(plain(document), indent=1) + "\n"
        write_atomically(self.path / name, text, disk=self.disk)


def open_run(
    path: Path,
    config: Mapping[str, Any],
    existing: Existing,
    *,
    resumable: bool = True,
    disk: Disk = DISK,
) -> LockedRun:
    """Create or reopen a run folder and lock it; nothing in it changes before `Run.begin`.

    Raises:
        RunError: The folder exists and nothing was said about it; is no run; is in use; or is to be
            resumed and its configuration is lost; or to be overwritten and it is read.
        ConfigError: It is to be resumed with another configuration.
    """
    if existing != "resume":
        refuse_to_remove_inputs(path, config)
    check_free(path, existing, resumable=resumable)
    with disk_errors(path):
        path.mkdir(parents=True, exist_ok=True)
        lock = take_lock(path, disk)
    run = LockedRun(path, lock, config, disk=disk)
    try:
        run.resumed = existing == "resume" and can_go_on(path)
        if run.resumed:
            check_same(run, config)
        elif existing == "overwrite":
            check_ours(path)
    except BaseException:
        run.close()
        raise
    return run


def check_free(path: Path, existing: Existing, *, resumable: bool = True) -> None:
    """See that a run may be written to a folder.

    Raises:
        RunError: The folder exists and nothing was said about it; or is no run.
    """
    if existing not in get_args(Existing):
        known = ", ".join(get_args(Existing))
        raise ConfigError(f"existing={existing!r} is unknown: give one of {known}")
    if existing == "resume":
        check_resumable(path)
    with disk_errors(path):
        occupied = path.exists() and (not path.is_dir() or any(path.iterdir()))
        occupied = occupied and not is_left_over(path)
        is_run = occupied and path.is_dir() and is_run_folder(path)
    if occupied and existing == "ask":
        goes_on = "--resume continues it, " if resumable else ""
        raise RunError(f"{path} exists: {goes_on}--overwrite starts over, or give another --out")
    if occupied and not is_run:
        raise RunError(f"{path} is not a run folder: give another --out")


def settings_of(verb: str, path: Path) -> dict[str, Any]:
    """The settings of the run to resume in a folder; empty if it has not begun.

    Raises:
        RunError: There is no run of this verb, or its configuration is damaged or lost.
    """
    check_resumable(path)
    run = RunReader(path)
    if not path.exists() or not can_go_on(path):
        return {}
    before = run.read(ABOUT).get("verb", verb)
    if before != verb:
        raise RunError(
            f"{path} is a run of sirl {before}, and sirl {verb} cannot continue it: give another "
            "--out"
        )
    # How weights are held depends on the processes of this launch.
    return {name: value for name, value in run.settings().items() if name != "shard"}


def can_go_on(path: Path) -> bool:
    """Whether there is a run to go on with; a folder without any result holds none.

    Raises:
        RunError: There are results, and the configuration that they came of is lost; or a file has
            changed since the run wrote it.
    """
    if (path / CONFIG).is_file():
        check_unchanged(RunReader(path))
        return True
    found = sorted({p.name for p in path.iterdir()} & set(NAMES) - UNFINISHED)
    if found:
        raise RunError(
            f"{path} has {' and '.join(found)} but no {CONFIG}, without which it cannot go on: "
            "restore the file, or start over with --overwrite"
        )
    return False


def take_lock(path: Path, disk: Disk = DISK) -> int:
    """The folder's lock; the system lets go of it when the process dies."""
    lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        disk.lock(lock, path / LOCK)
        if os.pread(lock, len(MARK), 0) != MARK:
            os.pwrite(lock, MARK, 0)
    except BaseException:
        os.close(lock)
        raise
    return lock


def check_same(run: RunReader, config: Mapping[str, Any]) -> None:
    """A resumed run keeps its settings; it may be moved, longer, and on other processes."""
    before, path = run.settings(), run.path
    # A setting that one side does not know is from another version, and stands at its default.
    for key in sorted({*before} & {*config} - CHANGEABLE):
        if before.get(key) != config.get(key):
            given = [Path(str(side.get(key))).parents[1:2] for side in (before, config)]
            if given == [(path / PROMPTS,)] * 2:
                raise ConfigError(
                    f"{path} was started with another list of {key}: resume with the same list, "
                    "or start over with --overwrite"
                )
            raise ConfigError(
                f"{path} was started with {key} = {before.get(key)!r}, not {config.get(key)!r}: "
                "resume with the same settings, or start over with --overwrite"
            )


def clear(path: Path, keeps: Collection[str] = ()) -> None:
    """Remove what a run has written, and nothing else."""
    for entry in (path / name for name in NAMES if name not in keeps):
        if entry.name == "checkpoints":
            clear_checkpoints(entry)
        elif entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink(missing_ok=True)


def clear_lists(path: Path, kept: Collection[str] = ()) -> None:
    """Remove lists of prompts, except those of these names, and folders that are then empty."""
    found = lists_in(path) or ()
    for place in found:
        if str(place) not in kept:
            place.unlink()
    for folder in (*{place.parent for place in found}, path / PROMPTS):
        with suppress(OSError):  # there is none, or some lists are kept
            folder.rmdir()


def check_ours(path: Path) -> None:
    """Refuse to overwrite where a checkpoint of another tool has the name of one of ours."""
    folder = path / "checkpoints"
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is not a folder, and checkpoints go there: move it away")
    for place in folder.iterdir() if folder.is_dir() else ():
        if step_of(place) >= 0 and not is_checkpoint(place):
            raise RunError(
                f"{place} is not a checkpoint that sirl wrote and is not overwritten: move it "
                "away, or give another --out"
            )
