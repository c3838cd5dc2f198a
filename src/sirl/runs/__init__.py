"""The run folder: format, provenance, resuming."""

from sirl.runs.disk import plain
from sirl.runs.folder import Existing, Run, check_free, open_run, settings_of
from sirl.runs.lists import lists_kept
from sirl.runs.reader import RunReader, distinct_rows, missing_steps, rows_by_step

__all__ = [
    "Existing",
    "Run",
    "RunReader",
    "check_free",
    "distinct_rows",
    "lists_kept",
    "missing_steps",
    "open_run",
    "plain",
    "rows_by_step",
    "settings_of",
]
