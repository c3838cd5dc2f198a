"""Invalid rows: logged, counted, and an error under `--strict`."""

from collections.abc import Sequence

from sirl.errors import InputError
from sirl.prompts import Rejected, rejected_rows
from sirl.runs.folder import Run

__all__ = ["rows_set_aside", "set_aside"]

REJECTED = "rejected.jsonl"


def set_aside(run: Run, rejected: Sequence[Rejected], *, strict: bool) -> list[str]:
    """Write `rejected.jsonl`; a sentence that says how many rows it holds, if any.

    Raises:
        InputError: The run is strict and a row was set aside.
    """
    if not rejected:
        return []
    run.keep(REJECTED, rejected_rows(rejected))
    if strict:
        raise InputError(f"{rejected[0].reason}; fix it, or drop --strict to skip it")
    name = run.path / REJECTED
    rows = "1 row" if len(rejected) == 1 else f"{len(rejected)} rows"
    return [f"{rows} set aside, named in {name}"]


def rows_set_aside(run: Run) -> int:
    """How many rows of its input a run could not use."""
    return len(run.rows(REJECTED))
