"""Reads files of tasks (JSON or Parquet) and rejects invalid rows with their reasons."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from sirl.prompts import Rejected, Row, check, first_name, load, object_rows, text_fault, unused_id
from sirl.types import Prompt

__all__ = ["Tasks", "Unfit", "read_tasks", "text_of"]

ID_KEYS = ("id", "task_id", "key")
Key = TypeVar("Key")


class Unfit(Exception):  # noqa: N818 - rejects a row; not an error of the run
    """A row is not a valid task of this kind, for the reason in the message."""


@dataclass(frozen=True)
class Tasks(Generic[Key]):
    """The valid tasks of a file, and the rejected rows."""

    prompts: tuple[Prompt, ...]
    keys: Mapping[str, Key]
    """The key to check an answer with, by prompt id."""
    rejected: tuple[Rejected, ...]


def read_tasks(
    path: Path, parse: Callable[[Mapping[str, Any]], tuple[str, Key]], *, strict: bool = False
) -> Tasks[Key]:
    """Read the tasks of a file; `parse` returns the prompt and the answer key of a row.

    Raises:
        InputError: The file is missing, empty, not text or without a valid row; when strict, also
            if any row is invalid.
    """
    prompts: list[Prompt] = []
    keys: dict[str, Key] = {}
    rejected: list[Rejected] = []
    for row in object_rows(load(path, "task")):
        try:
            text, key = parse(fields_of(row))
            id_ = id_of(row, path, keys)
            if fault := text_fault(id_) or text_fault(text):
                raise Unfit(fault)
        except Unfit as reason:
            rejected.append(Rejected(str(path), row.line, str(reason)))
            continue
        prompts.append(Prompt.user(id_, text, source=str(path)))
        keys[id_] = key
    check(path, prompts, rejected, strict=strict)
    return Tasks(tuple(prompts), keys, tuple(rejected))


def fields_of(row: Row) -> Mapping[str, Any]:
    """The fields of a row; Unfit if the row has a fault."""
    if row.fault:
        raise Unfit(row.fault)
    return row.fields


def id_of(row: Row, path: Path, taken: Mapping[str, object]) -> str:
    """A unique id: the row's own, or the file name and place."""
    named = first_name(map(row.fields.get, ID_KEYS))
    return unused_id(named or f"{path.stem}-{row.place}", path, row.place, taken)


def text_of(fields: Mapping[str, Any], key: str) -> str:
    """A required text of a row.

    Raises:
        Unfit: It is missing, empty, or not text.
    """
    text = fields.get(key)
    if not isinstance(text, str) or not text.strip():
        raise Unfit(f"{key} is missing or not text")
    return text
