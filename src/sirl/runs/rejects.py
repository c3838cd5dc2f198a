"""Invalid rows: logged, counted, and an error under `--strict`."""

from collections.abc import Mapping, Sequence
from typing import Any

from sirl.errors import InputError
from sirl.prompts import Rejected, rejected_rows
from sirl.runs.folder import Run
from sirl.runs.reader import RunReader

__all__ = ["rows_set_aside", "set_aside"]

REJECTED = "rejected.jsonl"


def set_aside(run: Run, rejected: Sequence[Rejected], *, strict: bool) -> list[str]:
    """Write `rejected.jsonl`; return a sentence with the number of rows and a reason, if any.

    The reasons are those of the last rows of files: one that loses the rest of a file is there.

    Raises:
        InputError: The run is strict and a row was rejected.
    """
    if not rejected:
        return []
    run.keep(REJECTED, rejected_rows(rejected))
    if strict:
        raise InputError(f"{rejected[0].reason}; fix it, or drop --strict to skip it")
    last = {row.file: row for row in rejected if row.line} or {"": rejected[-1]}
    examples = [f"{r.file}:{r.line}: {r.reason}" if r.line else r.reason for r in last.values()]
    such = "such as " if len(rejected) > len(examples) else ""
    found = in_words(rejected_rows(rejected))
    where = run.path / REJECTED
    return [f"{found} set aside, named in {where}: {such}{'; '.join(examples)}"]


def rows_set_aside(run: RunReader) -> str:
    """What of its input a run could not use, in words; empty where it used all."""
    return in_words(run.rows(REJECTED))


def in_words(rows: Sequence[Mapping[str, Any]]) -> str:
    """The numbers of rejected rows, of requests without a usable prompt, and of single prompts.

    >>> in_words([{"line": 3}, {}, {}, {"prompts": 3}])
    '1 row, 2 requests and 3 single prompts'
    """
    counts = {
        "row": sum("line" in row for row in rows),
        "request": sum("line" not in row and "prompts" not in row for row in rows),
        "single prompt": sum(row.get("prompts", 0) for row in rows),
    }
    parts = [f"{n} {what}{'s' * (n != 1)}" for what, n in counts.items() if n]
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))
