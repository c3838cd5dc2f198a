"""Reads prompts and other rows from the user's files.

    files      decoding and line endings
    documents  JSON: one object per line, an array, or an object with an array in it
    tables     CSV, TSV and Parquet
    reading    rows as prompts

An invalid row is skipped and reported with file, line and reason. A file without a valid row, or
with an ambiguous layout, is an error. Text is never cut or repaired.
"""

from sirl.prompts.files import (
    File,
    Rejected,
    Row,
    check,
    folded,
    folded_name,
    load,
    rejected_rows,
    text_fault,
)
from sirl.prompts.reading import SEPARATOR, PromptSet, read_prompts, read_targets
from sirl.prompts.tables import Table, any_rows, object_rows, read_table

__all__ = [
    "SEPARATOR",
    "File",
    "PromptSet",
    "Rejected",
    "Row",
    "Table",
    "any_rows",
    "check",
    "folded",
    "folded_name",
    "load",
    "object_rows",
    "read_prompts",
    "read_table",
    "read_targets",
    "rejected_rows",
    "text_fault",
]
