"""Turns rows into prompts, and reports which columns were used."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sirl.prompts.documents import value_of
from sirl.prompts.files import (
    ID_KEYS,
    File,
    Rejected,
    Row,
    check,
    first_name,
    folded,
    folded_name,
    is_missing,
    load,
    shown,
    text_fault,
    unused_id,
)
from sirl.prompts.labels import LABEL_KEYS, Fields, Labels, Wanted
from sirl.prompts.layouts import Layout
from sirl.prompts.requests import TEXT_KEYS, TURN_KEYS, TURNS, Found, present, read_fields
from sirl.prompts.tables import Format, any_rows
from sirl.prompts.texts import ITEM
from sirl.text import many, normalised
from sirl.types import Message, Prompt

__all__ = [
    "Elsewhere",
    "PromptSet",
    "Reader",
    "asked_text",
    "first",
    "read_prompts",
    "read_rows",
]

CATEGORY_KEYS = ("category", "semanticcategory", "type")
LISTED = 5
"""Columns that are not used and are listed."""


@dataclass(frozen=True)
class PromptSet:
    """The usable prompts of a file, and the rejected rows."""

    prompts: tuple[Prompt, ...]
    rejected: tuple[Rejected, ...]
    """Includes duplicates: the same text up to case and spacing as an earlier row."""
    source: str
    sha256: str
    read: str = ""
    """A sentence: the columns or lines read, and the number of prompts."""
    notes: tuple[str, ...] = ()
    """Warnings about labels in the file."""


@dataclass
class Elsewhere:
    """What the earlier files of a pool hold; reading a file adds its own."""

    places: dict[str, str]
    """`FILE:PLACE` of each prompt, by what it asks."""
    ids: set[str]
    repeated: int = 0
    """Prompts of later files that an earlier one holds."""


def read_prompts(
    path: Path,
    *,
    strict: bool = False,
    wanted: Wanted | None = None,
    elsewhere: Elsewhere | None = None,
) -> PromptSet:
    """Read the prompts of a file: CSV, TSV, JSON, Parquet, or plain text with one per line.

    Rows with a label opposite to `wanted` are rejected, and prompts that `elsewhere` contains.

    Raises:
        InputError: The file is missing, empty, not text, in an unsupported format, without a
            prompt column or without a usable row, its rows are turns of conversations, or they ask
            the same while another column varies; when strict, also if any row is unusable.
        MissingExtraError: The file is Parquet, and pyarrow is not installed.
    """
    file = load(path)
    format, rows = any_rows(file, (*TEXT_KEYS, *TURN_KEYS))
    return read_rows(file, rows, Reader(path, format, wanted, elsewhere), strict=strict)


def read_rows(file: File, rows: Iterable[Row], reader: "Reader", *, strict: bool) -> PromptSet:
    """The prompts of rows of a file.

    Raises:
        InputError: No row is usable, the rows are turns of conversations, or they ask the same
            while another column varies; when strict, also if any row is unusable.
    """
    before = reader.elsewhere.repeated
    for row in rows:
        reader.take(row)
    reader.layout.check()
    # A file whose prompts are all in an earlier one is no mistake.
    if strict or reader.prompts or reader.elsewhere.repeated == before:
        check(file.path, reader.prompts, reader.rejected, strict=strict)
    reader.elsewhere.places = {
        **{text: f"{file.path}:{row.place}" for text, row in reader.rows.items()},
        **reader.elsewhere.places,
    }
    prompts, rejected = tuple(reader.prompts), tuple(reader.rejected)
    return PromptSet(
        prompts, rejected, str(file.path), file.sha256, reader.read(), reader.labels.notes()
    )


class Reader:
    """Collects the prompts of a file row by row."""

    def __init__(
        self,
        path: Path,
        format: Format,
        wanted: Wanted | None = None,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self.path, self.format = path, format
        self.elsewhere = elsewhere or Elsewhere({}, set())
        self.prompts: list[Prompt] = []
        self.rejected: list[Rejected] = []
        self.rows: dict[str, Row] = {}
        """First row of each prompt, by what it asks."""
        self.columns: Counter[tuple[str, ...]] = Counter()
        self.passed: dict[str, None] = {}
        """Columns that were not used."""
        self.answered = 0
        """Prompts that have an answer in the file, as training data do."""
        self.labels = Labels(path, wanted)
        self.layout = Layout(path)

    def take(self, row: Row) -> None:
        """Add the prompt of a row, or reject the row.

        Raises:
            InputError: The rows are turns of conversations.
        """
        fields, fault = folded(row.fields)
        found = Found()
        if not (fault := row.fault or fault):
            self.layout.add(row, present(fields))
            found = self.found(row, fields)
            if not found.fault:
                self.layout.count(fields, found)
            fault = found.fault or self.labels.fault(fields)
        if not fault:
            fault = self.keep(row, fields, found)
        if fault:
            self.rejected.append(Rejected(str(self.path), row.line, fault))

    def found(self, row: Row, fields: Fields) -> Found:
        """The messages of a row."""
        if self.format not in ("text", "list"):
            return read_fields(fields)
        text = row.fields["prompt"]
        value = value_of(text)
        if isinstance(value, dict):
            return Found(fault="the line is a JSON object: name the file .jsonl")
        if isinstance(value, list) and not TURNS.match(text):
            return Found(fault="the line is a JSON array, not a prompt")
        if not self.prompts and folded_name(text) in TEXT_KEYS:
            return Found(fault="the line is a column name, not a prompt")
        return read_fields(fields)

    def keep(self, row: Row, fields: Fields, found: Found) -> str:
        """Add a prompt; return the reason if it is rejected, else an empty string."""
        id_ = first(fields, ID_KEYS).strip() or f"{self.path.stem}-{row.place}"
        category = first(fields, CATEGORY_KEYS)
        if fault := text_fault(id_ + category):
            return fault
        text = asked_text(found.messages)
        if known := self.rows.get(text):
            of_line = f", row {known.nth}" if known.nth > 1 else ""
            return f"the same prompt is in line {known.line}{of_line}"
        self.rows[text] = row
        if place := self.elsewhere.places.get(text):
            self.elsewhere.repeated += 1
            return f"the same prompt is in {place}"
        id_ = unused_id(id_, self.path, row.place, self.elsewhere.ids)
        self.elsewhere.ids.add(id_)
        self.columns[found.names] += 1
        self.answered += found.answered
        self.pass_over(fields, found)
        self.prompts.append(Prompt(id_, found.messages, str(self.path), category))
        return ""

    def pass_over(self, fields: Fields, found: Found) -> None:
        """Note the columns of a used row that are no part of its prompt."""
        used = {k for k, (name, _) in fields.items() if name in found.names}
        read = {*used, *ID_KEYS, *LABEL_KEYS, *CATEGORY_KEYS}
        self.passed |= {
            name: None
            for k, (name, value) in fields.items()
            if k not in read and not is_missing(value)
        }
        self.labels.count(fields, {*used, *ID_KEYS, *TURN_KEYS, *TEXT_KEYS})

    def read(self) -> str:
        """A sentence: the columns or lines read, and the number of prompts."""
        prompts = many(len(self.prompts), "prompt")
        if self.answered:
            prompts += f", {self.answered} of which with an answer behind it, which is left out"
        if self.format in ("text", "list"):
            lines = "lines" if self.format == "text" else "items of the list"
            bullets = sum(bool(ITEM.match(prompt.request)) for prompt in self.prompts)
            if self.format == "list" or not bullets:
                return f"{lines} of {self.path}, {prompts}"
            return (
                f"{lines} of {self.path}, {prompts}, {bullets} of which with the bullet or number "
                "at its beginning: write all prompts as items, or none"
            )
        several = len(self.columns) > 1
        parts = [
            " + ".join(map(shown, names)) + (f" ({count})" if several else "")
            for names, count in self.columns.items()
        ]
        few = ", ".join(map(shown, list(self.passed)[:LISTED]))
        more = ", ..." if len(self.passed) > LISTED else ""
        passed = f"; not used: {few}{more}" if few else ""
        return f"column {', '.join(parts)} of {self.path}, {prompts}{passed}"


def asked_text(messages: Sequence[Message]) -> str:
    """What a conversation asks, turn by turn, without case and spacing."""
    return "\n".join(f"{m.role}: {normalised(m.content)}" for m in messages)


def first(fields: Fields, keys: Sequence[str]) -> str:
    """The first of some fields that can be an id or a category, as text."""
    return first_name(fields[key][1] for key in keys if key in fields)
