"""Reads prompts and other rows: the user's files, and the pool that ships with sirl.

    files      bytes of a file as text, whatever its encoding and line ends
    documents  JSON: one object a line, one array, or one object that holds an array
    tables     CSV, TSV and Parquet
    reading    rows as prompts
    requests   what a row asks: a conversation, or a text with its material
    layouts    files whose rows are not one request each
    parts      columns that go on with a request and are not read
    labels     columns that may label rows as harmful
    sources    several files, globs and alarms as one pool
    pool       the prompts that ship with sirl

An invalid row is skipped and reported with file, line and reason. A file without a valid row, or
with an ambiguous layout, is an error. Text is never cut or repaired.
"""

from sirl.prompts.files import (
    File,
    Rejected,
    Row,
    check,
    first_name,
    folded,
    folded_name,
    load,
    place_of,
    rejected_rows,
    shown,
    text_fault,
    unused_id,
)
from sirl.prompts.pool import general_prompts, shipped_pool
from sirl.prompts.reading import PromptSet, asked_text, read_prompts
from sirl.prompts.requests import SEPARATOR
from sirl.prompts.sources import Pool, files_of, is_file_name, read_pool
from sirl.prompts.tables import Table, any_rows, object_rows, read_table
from sirl.prompts.targets import read_targets

__all__ = [
    "SEPARATOR",
    "File",
    "Pool",
    "PromptSet",
    "Rejected",
    "Row",
    "Table",
    "any_rows",
    "asked_text",
    "check",
    "files_of",
    "first_name",
    "folded",
    "folded_name",
    "general_prompts",
    "is_file_name",
    "load",
    "object_rows",
    "place_of",
    "read_pool",
    "read_prompts",
    "read_table",
    "read_targets",
    "rejected_rows",
    "shipped_pool",
    "shown",
    "text_fault",
    "unused_id",
]
