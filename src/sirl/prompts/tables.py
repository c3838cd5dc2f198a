"""Reads CSV, TSV and Parquet tables; detects the format of a file."""

import csv
import io
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

from sirl.errors import InputError, MissingExtraError
from sirl.prompts.documents import json_rows, starts_as_json
from sirl.prompts.files import (
    ENDS,
    File,
    Row,
    folded_name,
    is_parquet,
    shown,
)
from sirl.prompts.texts import MARKDOWN, is_list, list_rows, refuse_keys, text_rows

__all__ = ["SUFFIXES", "Cells", "Format", "Table", "any_rows", "object_rows", "read_table"]

Format = Literal["text", "list", "json", "table", "parquet"]
LONGEST_CELL = 131072
"""Maximum characters of a cell, the default of Python's csv module."""
SEPARATORS = {".csv": ",;\t", ".tsv": "\t,;", ".tab": "\t,;"}
"""Candidate separators by file suffix, the usual one first."""
JSON = (".json", ".jsonl", ".ndjson", ".jsonlines")
FOREIGN = (
    ".arrow", ".bz2", ".feather", ".gz", ".htm", ".html", ".ods", ".pickle", ".pkl", ".toml",
    ".xls", ".xlsx", ".xml", ".xz", ".yaml", ".yml", ".zip", ".zst",
)  # fmt: skip
SUFFIXES = frozenset({*SEPARATORS, *JSON, *MARKDOWN, *FOREIGN, ".parquet", ".txt"})
"""Of files that a user may give, formats that sirl cannot read among them."""
NAME = re.compile(r"[^\W\d][\w .-]{0,39}")
"""A cell that may be a column name."""
USUAL = frozenset({
    "answer", "behaviorid", "behaviourid", "category", "completion", "context", "id", "index",
    "input", "key", "label", "note", "output", "query", "reference", "request", "response",
    "source", "system", "tags", "target", "text", "type", "uid",
})  # fmt: skip
"""Folded names of columns that stand beside prompts."""
WAYS = {
    "\t": "name it .tsv", ",": "name it .csv", ";": "name it .csv",
    "|": "separate its columns by tabs and name it .tsv",
}  # fmt: skip
"""How a table in a file named as text can be read, by its separator."""
SAID_SEPARATOR = re.compile(r'\A"?sep=([^"\r\n])"?[ \t]*(?=[\r\n])', re.IGNORECASE)
"""The first line of a table in which Excel is told the separator."""
TABLE_RULE = re.compile(r"[|:\s-]*-[|:\s-]*")
"""The line under the header of a Markdown table."""
FRAMED = re.compile(r"\|.*\|")
"""The beginning of a row of a table with `|` at its edge."""
LIMIT = threading.Lock()
"""Guards the field size limit, which is global to the csv module."""


class Cells(NamedTuple):
    """A table row: as many cells as the header, or a fault."""

    line: int
    cells: Sequence[str]
    fault: str = ""


@dataclass(frozen=True)
class Table:
    """A table with a header."""

    header: tuple[str, ...]
    rows: tuple[Cells, ...]


def any_rows(file: File, known: Sequence[str]) -> tuple[Format, Iterable[Row]]:
    """The format and rows of a file, detected from content and suffix.

    A table or object must have one of the `known` columns. Lines of plain text become the field
    `prompt`.

    Raises:
        InputError: The format is not supported, the content is invalid, or a file named as text
            contains a table, YAML or TOML.
    """
    ending = file.path.suffix.lower()
    keys = frozenset(map(folded_name, known))
    if is_parquet(file.data):
        return "parquet", parquet_rows(file)
    if ending in FOREIGN:
        raise InputError(
            f"{file.path} is a {ending} file, which sirl cannot read: save it as CSV, TSV, "
            "JSON lines, Parquet or plain text"
        )
    if ending in SEPARATORS:
        return "table", named_rows(read_table(file, known))
    if ending in JSON or starts_as_json(file, keys):
        return "json", json_rows(file)
    refuse_table(file, keys)
    refuse_keys(file, keys)
    return ("list", list_rows(file)) if is_list(file) else ("text", text_rows(file))


def object_rows(file: File) -> Iterable[Row]:
    """The rows of a JSON or Parquet file, whose fields may be more than text.

    Raises:
        InputError: The file is invalid.
    """
    return parquet_rows(file) if is_parquet(file.data) else json_rows(file)


def named_rows(table: Table) -> Iterator[Row]:
    """The rows of a table, with cells by column name."""
    for line, cells, fault in table.rows:
        pairs = zip(table.header, cells, strict=False)
        yield Row(line, {name: cell for name, cell in pairs if name.strip()}, fault)


def read_table(file: File, known: Sequence[str]) -> Table:
    """Read a table with a header; the separator is the first that yields a known column name.

    Raises:
        InputError: The header is invalid, has no known name, or has a name twice, or a table with
            another header follows.
    """
    separators, text = SEPARATORS.get(file.path.suffix.lower(), ",;\t"), file.text
    if said := SAID_SEPARATOR.match(text):
        separators, text = said[1], text[said.end() :]
    keys = frozenset(map(folded_name, known))
    headers = [header_of(text, s) for s in separators]
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
    rows = [row for row in records(text, separator) if row.line > line]
    if other := next((row for row in rows if is_other_header(row, names, keys)), None):
        raise InputError(
            f"{file.path}:{other.line}: a second table begins here, with the header "
            f"{shown(', '.join(other.cells))} and not {found}: put it into a file of its own"
        )
    return Table(tuple(names), tuple(fitted(row, names, separator) for row in rows))


def is_other_header(row: Cells, header: Sequence[str], keys: frozenset[str]) -> bool:
    """Whether a row is the header of another table.

    It is if its cells may all be names and most are usual ones (all, if none is one of the `keys`),
    but the names or their order are not those of the header.
    """
    names = [folded_name(cell) for cell in row.cells if cell.strip()]
    if not names[1:] or len({*names}) < len(names):
        return False
    ours = list(map(folded_name, header))
    known = sum(name in keys or name in USUAL or name in ours for name in names)
    named = all(NAME.fullmatch(cell.strip()) for cell in row.cells if cell.strip())
    usual = known == len(names) if keys.isdisjoint(names) else 2 * known > len(names)
    return named and usual and names != [name for name in ours if name]


def folded_names(header: Cells) -> set[str]:
    """The folded names of a header."""
    return set(map(folded_name, header.cells))


def header_of(text: str, separator: str) -> Cells:
    """The first non-blank row of a table."""
    head = text[: 1 << 16]  # called per separator, so do not parse a long file
    found = records(head, separator, most=1)
    if len(head) < len(text) and (not found or found[0].fault or not ENDS.search(head)):
        found = records(text, separator, most=1)
    return found[0] if found else Cells(1, ())


def fitted(row: Cells, header: Sequence[str], separator: str) -> Cells:
    """A row if it fits the header, else its fault."""
    fault = row.fault or misfit(row, header, separator)
    return Cells(row.line, (), fault) if fault else row


def misfit(row: Cells, header: Sequence[str], separator: str) -> str:
    """Why a row does not fit the header; empty if it does."""
    if fault := stray_quotes(row, separator, len(header)):
        return fault
    if len(row.cells) != len(header):
        return f"the row has {len(row.cells)} fields, the header {len(header)}"
    if list(map(folded_name, row.cells)) == list(map(folded_name, header)):
        return "the row is the header again"
    longest = max(map(len, row.cells))
    if longest > LONGEST_CELL:
        return f"a field has {longest} characters, more than {LONGEST_CELL}"
    # A first column without a name holds row numbers; in any other one, text was cut off by an
    # unquoted separator.
    columns = zip(header[1:], row.cells[1:], strict=True)
    if any(cell.strip() and not name.strip() for name, cell in columns):
        return "there is text in a column without a name"
    return ""


def stray_quotes(row: Cells, separator: str, columns: int) -> str:
    """Why a row holds those that follow it, since two stray quotes make them one cell; or empty."""
    broken = [cell for cell in row.cells if ENDS.search(cell)]
    if not broken:
        return ""
    last = row.line + sum(len(ENDS.findall(cell)) for cell in broken)
    lost = f"; lines {row.line} to {last} are lost with it"
    if separator == "\t" and columns > 1 and any("\t" in cell for cell in broken):
        return (
            f"a quote opens a cell with tabs that ends in line {last}: remove the quote, or write "
            f"the tabs as spaces{lost}"
        )
    if holds_numbered(row, separator):
        return (
            f"a quote opens a cell that ends in line {last} and holds the next rows: remove it, or "
            f"write a quote in a cell as two{lost}"
        )
    return ""


def holds_numbered(row: Cells, separator: str) -> bool:
    r"""Whether a cell goes on with rows whose first column continues the number of its row.

    >>> holds_numbered(Cells(2, ("1", "How do I rob the mill?\n2,How do I burn it")), ",")
    True
    """
    number = row.cells[0].strip() if row.cells else ""
    if not (number.isascii() and number.isdigit()):
        return False
    inner = [ENDS.split(cell)[1:] for cell in row.cells[1:]]
    return any(
        lines and all(x.startswith(f"{int(number) + n}{separator}") for n, x in enumerate(lines, 1))
        for lines in inner
    )


def records(text: str, separator: str, most: int | None = None) -> list[Cells]:
    """The non-blank rows of a table, each with its first line.

    A blank before a quote makes the quote a part of its cell. Blanks are skipped where that leaves
    fewer rows invalid, or as few and all such cells are quoted as a whole.
    """
    rows = parsed(text, separator, most)
    cells = [c.strip() for row in rows for c in row.cells if c.startswith(" ") and '"' in c[:9]]
    if not any(c.startswith('"') for c in cells):
        return rows
    others = parsed(text, separator, most, skips=True)
    gain = invalid(rows) - invalid(others)
    whole = all(len(c) > 1 and c[0] == c[-1] == '"' for c in cells if c.startswith('"'))
    return others if gain > 0 or (not gain and whole) else rows


def invalid(rows: Sequence[Cells]) -> int:
    """How many rows are faulty, or have another number of cells than the first."""
    return sum(bool(row.fault) or len(row.cells) != len(rows[0].cells) for row in rows)


def parsed(text: str, separator: str, most: int | None, *, skips: bool = False) -> list[Cells]:
    """The rows of a table; `skips` skips blanks in front of cells."""
    # Strict: an unclosed quote would otherwise swallow the rest of the file.
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=skips, strict=True
    )
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
    """Why a row is invalid, and which lines are lost with it."""
    more = f"; lines {line} to {last} are lost with it" if last > line else ""
    if error == "unexpected end of data":
        return f"a quote in this row is never closed{more}"
    return f"the row is not valid CSV: {error}{more}"


def refuse_table(file: File, keys: frozenset[str]) -> None:
    """Raise InputError for a table in a file named as text, whose lines would become prompts.

    Raises:
        InputError: The first line is a header with a known name, a line is the rule under the
            header of a Markdown table, or all lines have the same number of tabs, or of `|` in
            front and behind it.
    """
    text = SAID_SEPARATOR.sub("", file.text)
    lines = [line.strip() for line in ENDS.split(text) if line.strip()] or [""]
    for separator in "\t,;|":
        cells = [cell.strip().strip('"') for cell in lines[0].strip("|").split(separator)]
        named = len(cells) > 1 and all(NAME.fullmatch(cell) for cell in cells)
        if named and not keys.isdisjoint(map(folded_name, cells)):
            raise InputError(
                f"{file.path} looks like a table (its first line is {shown(lines[0])}): "
                f"{WAYS[separator]}, or remove that line"
            )
    for header, rule in pairwise(lines):
        if "|" in header and "|" in rule and TABLE_RULE.fullmatch(rule):
            raise InputError(
                f"{file.path} holds a table (under {shown(header)}): {WAYS['|']}, or give its "
                "prompts one a line"
            )
    for separator, name in (("\t", "tabs"), ("|", "'|'")):
        counts = {line.count(separator) for line in lines}
        # In code and logic a `|` is ordinary, and a single one in front is a margin.
        framed = separator != "|" or all(FRAMED.match(line) for line in lines)
        if len(lines) > 1 and len(counts) == 1 and 0 not in counts and framed:
            raise InputError(
                f"{file.path} looks like a table (every line has {counts.pop()} {name}): give it "
                f"a header and {WAYS[separator]}, or replace the {name} by spaces"
            )


def parquet_rows(file: File) -> list[Row]:
    """The rows of a Parquet file.

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
    except Exception as error:  # pyarrow raises many types for damaged files
        reason = shown((str(error).strip() or type(error).__name__).splitlines()[0])
        raise InputError(
            f"{file.path} cannot be read as Parquet ({reason}): write it again"
        ) from error
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise InputError(f"{file.path} has two columns {shown(twice)!r}: rename one of them")
    return [Row(number, fields) for number, fields in enumerate(values, 1)]
