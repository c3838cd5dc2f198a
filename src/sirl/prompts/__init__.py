"""Files that a user hands in: prompts, and the rows of every other kind of file.

    files      bytes of a file as text, whatever its encoding and line ends
    documents  JSON: one object a line, one array, or one object that holds an array
    tables     CSV, TSV and Parquet
    reading    rows as prompts

A row that cannot be used is set aside with file, line and reason; the file as a whole is refused
when nothing in it can be used, or when it is not clear what is meant. Text is never cut and never
repaired.
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
