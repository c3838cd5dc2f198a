"""Several sources of prompts as one pool: files, globs, and the alarms of a guard.

a.csv,b.jsonl       files
prompts/*.txt       a glob
alarms:runs/guard   `alarms.jsonl` in the folder of a guard's server
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from glob import glob, has_magic
from pathlib import Path
from typing import Literal

from sirl.errors import InputError
from sirl.prompts.files import load, shown
from sirl.prompts.reading import Elsewhere, PromptSet, Reader, read_prompts, read_rows
from sirl.prompts.requests import TURN_KEYS
from sirl.prompts.tables import SUFFIXES, object_rows
from sirl.text import many
from sirl.types import Prompt

__all__ = ["ALARMS", "Pool", "files_of", "is_file_name", "read_pool"]

ALARMS = "alarms:"
"""Prefix of a source that is the folder of a guard's server."""
ALARM_FILE = "alarms.jsonl"
LISTED = 3
"""Files that the name of a pool lists."""


@dataclass(frozen=True)
class Pool:
    """The prompts of all sources; a text that is in several of them counts once."""

    prompts: tuple[Prompt, ...]
    """Their ids are unique; `source` is the file."""
    sets: tuple[PromptSet, ...]
    """By file; the later of two files rejects a prompt that both hold."""
    notes: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """The files, in words."""
        names = [s.source for s in self.sets]
        if len(names) == 1:
            return names[0]
        more = ", ..." if len(names) > LISTED else ""
        return f"{len(names)} files ({', '.join(names[:LISTED])}{more})"


def read_pool(
    names: str, *, strict: bool = False, wanted: Literal["safe", "unsafe"] | None = None
) -> Pool:
    """The prompts of comma-separated files, globs and `alarms:FOLDER`.

    Rows of files with a label opposite to `wanted` are rejected.

    Raises:
        InputError: A source cannot be read or holds no usable prompt, a glob matches nothing, or no
            alarm has its text; when strict, also if any row is unusable or in two files.
        MissingExtraError: A file is Parquet, and pyarrow is not installed.
    """
    known = Elsewhere({}, set())
    sets = []
    for path, is_log in sources(names):
        sets.append(
            read_alarms(path, known, strict=strict)
            if is_log
            else read_prompts(path, strict=strict, wanted=wanted, elsewhere=known)
        )
    prompts = tuple(p for s in sets for p in s.prompts)
    notes = []
    if n := known.repeated:
        notes.append(
            f"{many(n, 'prompt is', 'prompts are')} in more than one file of {shown(names)}: only "
            "the first is used"
        )
    return Pool(prompts, tuple(sets), tuple(notes))


def files_of(names: str | None) -> list[Path]:
    """The files that `read_pool` reads; empty for none."""
    return [path for path, _ in sources(names)] if names else []


def sources(names: str) -> list[tuple[Path, bool]]:
    """Each file once, in the order of the names, and whether it is a log of alarms."""
    found: dict[Path, tuple[Path, bool]] = {}
    for path, is_log in named(names):
        found.setdefault(path.resolve(), (path, is_log))
    return list(found.values())


def named(names: str) -> Iterator[tuple[Path, bool]]:
    """The files of each name."""
    whole = Path(names)
    words = (
        [names]
        if names.strip() and is_there(whole)
        else [n.strip() for n in names.split(",") if n.strip()]
    )
    if not words:
        raise InputError(f"{names!r} names no file of prompts: give one")
    for word in words:
        if word.startswith(ALARMS):
            yield alarm_file(Path(word.removeprefix(ALARMS))), True
        elif has_magic(word) and not is_there(Path(word)):
            # Path.glob takes no absolute pattern.
            found = map(Path, sorted(glob(word, recursive=True)))  # noqa: PTH207
            matched = [path for path in found if path.is_file()]
            if not matched:
                raise InputError(f"no file matches {shown(word)}: check the pattern")
            yield from ((path, False) for path in matched)
        else:
            yield Path(word), False


def is_there(path: Path) -> bool:
    """Whether a file or folder has this name."""
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that no file can have
        return False


def is_file_name(text: str) -> bool:
    """Whether a text names a source: a file that is there, or has a suffix and no blank.

    >>> is_file_name("prompts/*.txt"), is_file_name("Translate notes.txt")
    (True, False)
    """
    path, is_word = Path(text), len(text.split()) == 1
    if is_word and (path.suffix.lower() in SUFFIXES or text.startswith(ALARMS)):
        return True
    return is_there(path) and path.is_file()


def alarm_file(place: Path) -> Path:
    """The log of alarms in the folder of a guard's server.

    Raises:
        InputError: There is none.
    """
    path = place if place.is_file() else place / ALARM_FILE
    if not path.is_file():
        raise InputError(
            f"{place} has no {ALARM_FILE}: give the folder in which the guard's server records "
            "its alarms"
        )
    return path


def read_alarms(path: Path, known: Elsewhere, *, strict: bool) -> PromptSet:
    """The conversations that raised an alarm, where the server recorded their text.

    Raises:
        InputError: No alarm has its text, or none is usable.
    """
    file = load(path, "alarm")
    # A line with the action "none" is a check that failed, which is no alarm.
    rows = [row for row in object_rows(file) if row.fields.get("action") != "none"]
    silent = [row for row in rows if not row.fault and not row.fields.get(TURN_KEYS[0])]
    asked = [
        row._replace(fields={key: row.fields[key] for key in TURN_KEYS[:1] if key in row.fields})
        for row in rows
        if row not in silent
    ]
    if silent and not asked:
        raise InputError(
            f"none of the {len(silent)} alarms of {path} has its text: start the guard's server "
            "with --log-text, which then records the prompts of later alarms"
        )
    reader = Reader(path, "json", elsewhere=known)
    found = read_rows(file, asked, reader, strict=strict)
    if not silent:
        return found
    note = (
        f"of {many(len(rows), 'alarm')} of {path}, "
        f"{many(len(silent), 'has no text and is', 'have no text and are')} left out"
    )
    return replace(found, notes=(*found.notes, note))
