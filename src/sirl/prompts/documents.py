"""Reads JSON: one object per line, multi-line objects, an array, or an object around an array."""

import bisect
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from sirl.errors import InputError
from sirl.prompts.files import ENDS, File, Row, folded_name, lines_of, shown

__all__ = ["json_rows", "starts_as_json", "value_of"]

BLANKS = re.compile(r"[ \t\r\n]*")
WRAPPERS = ("data", "rows", "prompts", "examples")
"""Keys of the array of rows in a document; its other values are metadata."""
OPENED = ("[", "{", "[{")
"""First lines of a value over several lines."""


class Document:
    """Parser of consecutive JSON values that knows the line of each."""

    def __init__(self, file: File) -> None:
        self.path, self.text = file.path, file.text
        self.starts = [0, *(end.end() for end in ENDS.finditer(file.text))]
        self.twice: list[str] = []
        """Duplicate keys in the objects of the last value."""
        self.decoder = json.JSONDecoder(object_pairs_hook=self.pairs)

    def pairs(self, found: list[tuple[str, Any]]) -> dict[str, Any]:
        """Build an object and note duplicate keys, which `json` would silently overwrite."""
        fields = dict(found)
        if len(fields) < len(found):
            names = [name for name, _ in found]
            self.twice.append(next(name for name in names if names.count(name) > 1))
        return fields

    def line(self, at: int) -> int:
        """Line number, from 1, of an offset in the text."""
        return bisect.bisect_right(self.starts, at)

    def skip(self, at: int) -> int:
        """Offset of the next character that is not blank."""
        return blanks_end(self.text, at)

    def value(self, at: int) -> tuple[Any, int]:
        """The value that starts at an offset, and the offset after it."""
        self.twice.clear()
        return self.decoder.raw_decode(self.text, at)

    def fail(self, at: int, error: BaseException | None = None) -> InputError:
        """The error for invalid JSON."""
        where = self.line(getattr(error, "pos", at))
        said = getattr(error, "msg", "") or "unexpected text after a value"
        return InputError(f"{self.path}:{where}: this is not valid JSON ({said}): fix it there")

    def row(self, at: int, what: str = "the value") -> tuple[Row, int]:
        """The row that starts at an offset, called `what`, and the offset after it."""
        try:
            value, end = self.value(at)
        except (ValueError, RecursionError) as error:
            raise self.fail(at, error) from error
        return row_of(self.line(at), value, self.twice, what), end

    def array(self, at: int) -> tuple[list[Row], int]:
        """The rows of an array, each with its line number, and the offset after the array."""
        rows: list[Row] = []
        at = self.skip(at + 1)
        if self.text[at : at + 1] == "]":
            return rows, at + 1
        while True:
            row, at = self.row(at, f"item {len(rows) + 1} of the array")
            rows.append(row)
            at = self.skip(at)
            if self.text[at : at + 1] == "]":
                return rows, at + 1
            if self.text[at : at + 1] != ",":
                raise self.fail(at)
            at = self.skip(at + 1)

    def wrapped(self, at: int, name: str) -> list[Row]:
        """The array of rows under a key of the object that starts at an offset."""
        at = self.skip(at + 1)
        while True:
            key, at = self.value(at)
            at = self.skip(self.skip(at) + 1)
            if key == name:
                return self.array(at)[0]
            _, at = self.value(at)
            at = self.skip(self.skip(at) + 1)

    def in_line(self, number: int, line: str) -> list[Row]:
        """The rows of a line: usually one, several where files were joined."""
        rows, at = [], 0
        while (at := blanks_end(line, at)) < len(line):
            self.twice.clear()
            value, at = self.decoder.raw_decode(line, at)
            rows.append(row_of(number, value, self.twice, "the line"))
        return rows

    def stream(self, at: int) -> list[Row]:
        """The rows of consecutive objects."""
        rows = []
        while at < len(self.text):
            row, at = self.row(at)
            rows.append(row)
            at = self.skip(at)
        return rows


def blanks_end(text: str, at: int) -> int:
    """Offset of the next character of a text that is not blank."""
    found = BLANKS.match(text, at)
    return found.end() if found else at


def row_of(line: int, value: Any, twice: list[str], what: str) -> Row:  # noqa: ANN401 - any JSON value
    """The row of a JSON value, called `what` in its fault; a string is a prompt."""
    if twice:
        return Row(line, {}, f"the key {shown(twice[0])!r} appears twice")
    if isinstance(value, dict):
        return Row(line, value)
    if isinstance(value, str):
        return Row(line, {"prompt": value})
    kind = "an array" if isinstance(value, list) else f"the value {shown(json.dumps(value))}"
    return Row(line, {}, f"{what} is {kind}, not a JSON object: write each row as an object")


def json_rows(file: File) -> list[Row]:
    """The rows of a JSON file, those that begin in the same line numbered.

    Raises:
        InputError: An array or a multi-line document is not valid JSON.
    """
    return list(numbered(rows_in(file)))


def numbered(rows: Iterable[Row]) -> Iterator[Row]:
    """The rows, each with its number among those that begin in its line."""
    in_line: Counter[int] = Counter()
    for row in rows:
        in_line[row.line] += 1
        yield row._replace(nth=in_line[row.line])


def rows_in(file: File) -> list[Row]:
    """The rows of a JSON file; the layout is detected from the content, not the name."""
    document = Document(file)
    at = document.skip(0)
    if document.text[at : at + 1] == "[":
        rows, end = document.array(at)
        if (end := document.skip(end)) < len(document.text):
            raise document.fail(end)
        return rows
    try:
        value, end = document.value(at)
    except (ValueError, RecursionError):
        return line_rows(file, document)
    if document.skip(end) == len(document.text) and (name := wrapper(value)):
        return document.wrapped(at, name)
    # JSON lines cannot hold an object that spans several lines.
    if document.line(end) > document.line(at):
        return document.stream(at)
    return line_rows(file, document)


def wrapper(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """The key of the rows in an object, if that is its only nested value; else empty."""
    if not isinstance(value, dict):
        return ""
    inner = [name for name, held in value.items() if isinstance(held, list | dict)]
    if len(inner) != 1 or inner[0] not in WRAPPERS or not isinstance(value[inner[0]], list):
        return ""
    return str(inner[0])


def line_rows(file: File, document: Document) -> list[Row]:
    """The rows of JSON lines; an invalid line is a faulty row and does not affect the others."""
    rows = []
    for number, text, fault in lines_of(file.text):
        if fault:
            rows.append(Row(number, {}, fault))
            continue
        try:
            rows += document.in_line(number, text)
        except (ValueError, RecursionError):
            if text.rstrip().endswith(",") and isinstance(value_of(text.rstrip()[:-1]), dict):
                raise InputError(
                    f"{file.path}:{number}: the object ends with a comma: put all of them in [ "
                    "], or remove the commas"
                ) from None
            rows.append(Row(number, {}, "the line is not JSON"))
    return rows


def value_of(text: str) -> Any:  # noqa: ANN401 - any JSON value
    """The JSON value that a text is; None for any other text."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def starts_as_json(file: File, known: frozenset[str]) -> bool:
    """Whether a file of any name holds JSON rather than lines of text.

    It does if it is strings, one a line or in an array; if it begins with an object that has a
    known key, or with an array of such objects; or if it is one value over several lines.
    """
    lines = (text for _, text, _ in lines_of(file.text))
    begin = next(lines, "")
    if begin.strip() in OPENED or (is_string(begin) and all(map(is_string, lines))):
        return True
    document = Document(file)
    at = document.skip(0)
    if document.text[at : at + 1] not in ("{", "["):
        return False
    try:
        value, end = document.value(at)
    except (ValueError, RecursionError):
        return False
    rest = document.skip(end)
    if document.text[rest : rest + 1] not in ("", "{") and document.line(rest) == document.line(
        end
    ):
        return False
    first = value[0] if isinstance(value, list) and value else value
    named = isinstance(first, dict) and not known.isdisjoint(map(folded_name, first))
    several = rest == len(document.text) and document.line(end) > document.line(at)
    return several or named or isinstance(first, str) or bool(wrapper(first))


def is_string(text: str) -> bool:
    """Whether a text is one JSON string."""
    return text.lstrip().startswith('"') and isinstance(value_of(text), str)
