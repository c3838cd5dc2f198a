"""CSV, TSV and Parquet tables, and detection of a file's format."""

import csv
import io
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from sirl.errors import InputError, MissingExtraError
from sirl.prompts.documents import json_rows, starts_as_json
from sirl.prompts.files import ENDS, File, Row, folded_name, is_parquet, shown, text_rows

__all__ = ["Cells", "Format", "Table", "any_rows", "object_rows", "read_table"]

Format = Literal["text", "json", "table", "parquet"]
LONGEST_CELL = 131072
"""Characters of the longest cell read, as is usual for CSV."""
SEPARATORS = {".csv": ",;\t", ".tsv": "\t,;", ".tab": "\t,;"}
"""What a table of this ending may be separated by, the usual one first."""
JSON = (".json", ".jsonl", ".ndjson", ".jsonlines")
FOREIGN = (
    ".arrow", ".bz2", ".feather", ".gz", ".htm", ".html", ".ods", ".pickle", ".pkl", ".toml",
    ".xls", ".xlsx", ".xml", ".xz", ".yaml", ".yml", ".zip", ".zst",
)  # fmt: skip
NAME = re.compile(r"[^\W\d][\w .-]{0,39}")
"""A cell that may be the name of a column."""
LIMIT = threading.Lock()
"""The csv module has one limit for everybody."""


class Cells(NamedTuple):
    """A row of a table: as many cells as the header has, or the reason why not."""

    line: int
    cells: Sequence[str]
    fault: str = ""


@dataclass(frozen=True)
class Table:
    """A table with its header."""

    header: tuple[str, ...]
    rows: tuple[Cells, ...]


def any_rows(file: File, known: Sequence[str]) -> tuple[Format, Iterable[Row]]:
    """The rows of a file and its format, by what it holds and, where that is open, by its name.

    `known` are the names of columns of which a table or an object needs one; plain text has none,
    and its lines are the field `prompt`.

    Raises:
        InputError: The file is of no format that is read, or its name says text and it holds a
            table; or it cannot be read as what it is.
    """
    ending = file.path.suffix.lower()
    keys = frozenset(map(folded_name, known))
    if is_parquet(file.data):
        return "parquet", parquet_rows(file)
    if ending in FOREIGN:
        raise InputError(
            f"{file.path} is a {ending} file, which is not read: save it as CSV, TSV, JSON lines, "
            "Parquet or plain text"
        )
    if ending in SEPARATORS:
        return "table", named_rows(read_table(file, known))
    if ending in JSON or starts_as_json(file, keys):
        return "json", json_rows(file)
    refuse_table(file, keys)
    return "text", text_rows(file)


def object_rows(file: File) -> Iterable[Row]:
    """The rows of a file whose fields are more than texts: JSON or Parquet.

    Raises:
        InputError: It cannot be read as a whole.
    """
    return parquet_rows(file) if is_parquet(file.data) else json_rows(file)


def named_rows(table: Table) -> Iterator[Row]:
    """The rows of a table by the names of its columns."""
    for line, cells, fault in table.rows:
        pairs = zip(table.header, cells, strict=False)
        yield Row(line, {name: cell for name, cell in pairs if name.strip()}, fault)


def read_table(file: File, known: Sequence[str]) -> Table:
    """A table with a header; its separator is the first that makes a known name of a column.

    Raises:
        InputError: The header has no known name, a name twice, or cannot be read.
    """
    separators = SEPARATORS.get(file.path.suffix.lower(), ",;\t")
    keys = frozenset(map(folded_name, known))
    headers = [header_of(file.text, s) for s in separators]
    separator, (line, names, fault) = next(
        ((s, h) for s, h in zip(separators, headers, strict=True) if keys & folded_names(h)),
        (separators[0], headers[0]),
    )
    if fault:
        raise InputError(f"{file.path} has a header that cannot be read ({fault}): fix line {line}")
    found = shown(", ".join(names))
    if not keys & folded_names(headers[separators.index(separator)]):
        wanted = ", ".join(known)
        raise InputError(
            f"{file.path} has no column {wanted} (found: {found}): name one in its header"
        )
    plain = [name.strip().casefold() for name in names if name.strip()]
    if twice := next((name for name in plain if plain.count(name) > 1), ""):
        raise InputError(f"{file.path} has two columns {shown(twice)!r}: rename one of them")
    rows = (fitted(row, names) for row in records(file.text, separator) if row.line > line)
    return Table(tuple(names), tuple(rows))


def folded_names(header: Cells) -> set[str]:
    """The names of a header, without regard to their form."""
    return set(map(folded_name, header.cells))


def header_of(text: str, separator: str) -> Cells:
    """The first row of a table that is not blank."""
    head = text[: 1 << 16]  # of a long file only what is needed, three times
    found = records(head, separator, most=1)
    if len(head) < len(text) and (not found or found[0].fault or not ENDS.search(head)):
        found = records(text, separator, most=1)
    return found[0] if found else Cells(1, ())


def fitted(row: Cells, header: Sequence[str]) -> Cells:
    """A row as it is where it fits the header, else with its fault."""
    if row.fault:
        return row
    if len(row.cells) != len(header):
        fault = f"the row has {len(row.cells)} fields, the header {len(header)}"
        return Cells(row.line, (), fault)
    longest = max(map(len, row.cells))
    if longest > LONGEST_CELL:
        return Cells(row.line, (), f"a field has {longest} characters, more than {LONGEST_CELL}")
    # In front a column without a name holds the numbers of the rows; anywhere else it holds what
    # an unquoted separator cut off.
    for name, cell in list(zip(header, row.cells, strict=True))[1:]:
        if not name.strip() and cell.strip():
            return Cells(row.line, (), "there is text in a column without a name")
    return row


def records(text: str, separator: str, most: int | None = None) -> list[Cells]:
    """The rows of a table that are not blank, each with the line where it begins."""
    # Strict: an unclosed quote would otherwise swallow the rest of the file.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    found: list[Cells] = []
    with LIMIT:
        before = csv.field_size_limit(2**31 - 1)
        try:
            while most is None or len(found) < most:
                line = reader.line_num + 1
                try:
                    row = next(reader)
                except StopIteration:
                    break
                except csv.Error as error:
                    found.append(Cells(line, (), fault_of(str(error), line, reader.line_num)))
                    continue
                if row:
                    found.append(Cells(line, row))
        finally:
            csv.field_size_limit(before)
    return found


def fault_of(error: str, line: int, last: int) -> str:
    """What is wrong with a row; what a quote swallowed is said."""
    if error == "unexpected end of data":
        return "a quote of this row is never closed; nothing after it is read"
    more = f"; lines {line} to {last} are set aside with it" if last > line else ""
    return f"the row is not valid CSV: {error}{more}"


def refuse_table(file: File, keys: frozenset[str]) -> None:
    """Refuse a table under the name of a text: each of its lines would be asked whole.

    Raises:
        InputError: The first line reads as a header with a known name, or every line has as many
            tabs as every other.
    """
    lines = [line for line in re.split(r"[\r\n]+", file.text) if line.strip()]
    for separator in "\t,;":
        cells = [cell.strip().strip('"') for cell in lines[0].split(separator)] if lines else []
        named = len(cells) > 1 and all(NAME.fullmatch(cell) for cell in cells)
        if named and not keys.isdisjoint(map(folded_name, cells)):
            raise InputError(
                f"{file.path} looks like a table (its first line is {shown(lines[0])}): name it "
                f"{'.tsv' if separator == chr(9) else '.csv'}, or remove that line"
            )
    tabs = {line.strip().count("\t") for line in lines}
    if len(lines) > 1 and len(tabs) == 1 and 0 not in tabs:
        raise InputError(
            f"{file.path} looks like a table (every line has {tabs.pop()} tabs): give it a "
            "header and name it .tsv, or replace the tabs by spaces"
        )


def parquet_rows(file: File) -> list[Row]:
    """The rows of Parquet.

    Raises:
        MissingExtraError: pyarrow is not installed.
        InputError: The file is damaged, or has a column twice.
    """
    try:
        from pyarrow import BufferReader, parquet  # noqa: PLC0415 - optional, and slow to import
    except ImportError as error:
        raise MissingExtraError(f"{file.path} (Parquet)", "parquet") from error
    try:
        table = parquet.ParquetFile(BufferReader(file.data)).read(use_threads=False)
        names, values = table.column_names, table.to_pylist()
    except Exception as error:  # what a damaged file makes pyarrow raise is of many kinds
        reason = shown((str(error).strip() or type(error).__name__).splitlines()[0])
        raise InputError(
            f"{file.path} cannot be read as Parquet ({reason}): write it again"
        ) from error
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise InputError(f"{file.path} has two columns {shown(twice)!r}: rename one of them")
    return [Row(number, fields) for number, fields in enumerate(values, 1)]
