"""JSON: one object a line, objects over several lines, an array, or an object around an array."""

import bisect
import json
import re
from typing import Any

from sirl.errors import InputError
from sirl.prompts.files import ENDS, File, Row, folded_name, lines_of, shown

__all__ = ["is_object", "json_rows", "starts_as_json"]

BLANKS = re.compile(r"[ \t\r\n]*")
WRAPPERS = ("data", "rows", "prompts", "examples")
"""Names under which a document keeps its rows, beside numbers and texts about itself."""


class Document:
    """JSON values of a text, one after the other, with the lines where they begin."""

    def __init__(self, file: File) -> None:
        self.path, self.text = file.path, file.text
        self.starts = [0, *(end.end() for end in ENDS.finditer(file.text))]
        self.twice: list[str] = []
        """Keys that stand twice in an object of the value read last."""
        self.decoder = json.JSONDecoder(object_pairs_hook=self.pairs)

    def pairs(self, found: list[tuple[str, Any]]) -> dict[str, Any]:
        """An object; JSON itself takes the last of two keys without a word."""
        fields = dict(found)
        if len(fields) < len(found):
            names = [name for name, _ in found]
            self.twice.append(next(name for name in names if names.count(name) > 1))
        return fields

    def line(self, at: int) -> int:
        """The line of a place, from 1."""
        return bisect.bisect_right(self.starts, at)

    def skip(self, at: int) -> int:
        """The next place that is not blank."""
        found = BLANKS.match(self.text, at)
        return found.end() if found else at

    def value(self, at: int) -> tuple[Any, int]:
        """The value that begins at a place, and where it ends."""
        self.twice.clear()
        return self.decoder.raw_decode(self.text, at)

    def fail(self, at: int, error: BaseException | None = None) -> InputError:
        """The error of a text that is not valid JSON."""
        where = self.line(getattr(error, "pos", at))
        said = getattr(error, "msg", "") or "it continues where it should end"
        return InputError(f"{self.path}:{where}: this is not valid JSON ({said}): fix it there")

    def row(self, at: int) -> tuple[Row, int]:
        """The row that begins at a place, and where it ends."""
        try:
            value, end = self.value(at)
        except (ValueError, RecursionError) as error:
            raise self.fail(at, error) from error
        return row_of(self.line(at), value, self.twice), end

    def array(self, at: int) -> tuple[list[Row], int]:
        """The rows of an array, each with its own line, and where it ends."""
        rows: list[Row] = []
        at = self.skip(at + 1)
        if self.text[at : at + 1] == "]":
            return rows, at + 1
        while True:
            row, at = self.row(at)
            rows.append(row)
            at = self.skip(at)
            if self.text[at : at + 1] == "]":
                return rows, at + 1
            if self.text[at : at + 1] != ",":
                raise self.fail(at)
            at = self.skip(at + 1)

    def wrapped(self, at: int, name: str) -> list[Row]:
        """The rows under a name of the object that begins at a place."""
        at = self.skip(at + 1)
        while True:
            key, at = self.value(at)
            at = self.skip(self.skip(at) + 1)
            if key == name:
                return self.array(at)[0]
            _, at = self.value(at)
            at = self.skip(self.skip(at) + 1)

    def stream(self, at: int) -> list[Row]:
        """The rows of objects that stand one after the other."""
        rows = []
        while at < len(self.text):
            row, at = self.row(at)
            rows.append(row)
            at = self.skip(at)
        return rows


def row_of(line: int, value: Any, twice: list[str]) -> Row:  # noqa: ANN401 - whatever JSON held
    """A row of a JSON value; a text alone is a prompt."""
    if twice:
        return Row(line, {}, f"the key {shown(twice[0])!r} appears twice")
    if isinstance(value, dict):
        return Row(line, value)
    if isinstance(value, str):
        return Row(line, {"prompt": value})
    return Row(line, {}, "the line is not a JSON object")


def json_rows(file: File) -> list[Row]:
    """The rows of JSON, told by what the file holds and not by its name.

    Raises:
        InputError: An array or a document cannot be read to its end.
    """
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
    # An object over several lines is none that a line holds.
    if document.line(end) > document.line(at):
        return document.stream(at)
    return line_rows(file, document)


def wrapper(value: Any) -> str:  # noqa: ANN401 - whatever JSON held
    """Under which name an object holds rows, where nothing else in it could."""
    if not isinstance(value, dict):
        return ""
    inner = [name for name, held in value.items() if isinstance(held, list | dict)]
    if len(inner) != 1 or inner[0] not in WRAPPERS or not isinstance(value[inner[0]], list):
        return ""
    return str(inner[0])


def line_rows(file: File, document: Document) -> list[Row]:
    """One object a line; a line that is none spoils nothing but itself."""
    rows = []
    for number, text, fault in lines_of(file.text):
        if fault:
            rows.append(Row(number, {}, fault))
            continue
        document.twice.clear()
        try:
            value = document.decoder.decode(text)
        except (ValueError, RecursionError):
            if text.rstrip().endswith(",") and is_object(text.rstrip()[:-1]):
                raise InputError(
                    f"{file.path}:{number}: the object ends with a comma: put all of them in [ "
                    "], or remove the commas"
                ) from None
            rows.append(Row(number, {}, "the line is not JSON"))
            continue
        rows.append(row_of(number, value, document.twice))
    return rows


def is_object(text: str) -> bool:
    """Whether a text is one JSON object."""
    if not text.lstrip().startswith("{"):
        return False
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def starts_as_json(file: File, known: frozenset[str]) -> bool:
    """Whether a text begins with an object that has a known key, or with an array of such."""
    document = Document(file)
    at = document.skip(0)
    if document.text[at : at + 1] not in ("{", "["):
        return False
    try:
        value, end = document.value(at)
    except (ValueError, RecursionError):
        return False
    rest = document.skip(end)
    if rest < len(document.text) and document.line(rest) == document.line(end):
        return False
    first = value[0] if isinstance(value, list) and value else value
    if wrapper(first):
        return True
    return isinstance(first, dict) and not known.isdisjoint(map(folded_name, first))
