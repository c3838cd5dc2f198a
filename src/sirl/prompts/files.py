"""Decodes files into text and lines; detects unusable text."""

import codecs
import hashlib
import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any, NamedTuple

from sirl.errors import InputError
from sirl.text import is_blank

__all__ = [
    "ID_KEYS",
    "File",
    "Rejected",
    "Row",
    "check",
    "first_name",
    "folded",
    "folded_name",
    "is_missing",
    "is_parquet",
    "lines_of",
    "load",
    "place_of",
    "rejected_rows",
    "shown",
    "text_fault",
    "unused_id",
]

ID_KEYS = ("id", "behaviorid", "behaviourid", "index", "key")
"""Folded names of columns that name a row, in order of preference."""
LONGEST = 1 << 20
"""Maximum bytes of a line; far more than a prompt that fits a context."""
ENDS = re.compile(r"\r\n|\r|\n")
SAVE = "save the file as UTF-8 (in Excel: CSV UTF-8)"
"""What mends a file in another encoding."""
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Byte order marks, longer ones first: the UTF-16 mark is a prefix of the UTF-32 mark."""
LINE_MARKS = re.compile("(^|[\r\n])\ufeff+")
"""Byte order marks of files that were joined, each at the beginning of a line."""
MISSING = re.compile(
    r"[-\u2013\u2014]+"
    r"|[<(\[]?(#?n/?a|n\.a|nan|nil|no[ _]?input|none|not applicable|null)[>)\]]?\.?",
    re.IGNORECASE,
)
"""What stands in a cell that has no value."""


@dataclass(frozen=True)
class File:
    """The content of a file."""

    path: Path
    data: bytes
    text: str
    """Without byte order marks; invalid UTF-8 bytes become lone surrogates. Empty for Parquet."""
    sha256: str
    """Hash of `data`."""


@dataclass(frozen=True)
class Rejected:
    """A row that was skipped."""

    file: str
    line: int
    """Line from 1, or row in Parquet; 0 if the row is unusable only for this model."""
    reason: str
    prompts: int = 0
    """Number of skipped prompts if other prompts of the request are used; else 0."""


class Row(NamedTuple):
    """An input row: its fields, or the reason why it has none."""

    line: int
    """First line of the row, from 1; in Parquet the row number."""
    fields: Mapping[str, Any]
    fault: str = ""
    nth: int = 1
    """Number of the row among those that begin in its line."""

    @property
    def place(self) -> str:
        """Where the row is, for ids."""
        return place_of(self.line, self.nth)


def place_of(line: int, nth: int) -> str:
    """A line, with the number of the row in it unless the row is its first.

    >>> place_of(3, 1), place_of(3, 2)
    ('3', '3.2')
    """
    return f"{line}.{nth}" if nth > 1 else f"{line}"


def unused_id(id_: str, path: Path, place: str, taken: Container[str]) -> str:
    """An id that is not taken, from the one that a row gives and the row's place.

    >>> unused_id("7", Path("a.csv"), "3", {"7"})
    '7-line-3'
    """
    more = (f"{path}:{place}-{n}" for n in count(2))
    names = chain((id_, f"{id_}-line-{place}", f"{path}:{place}"), more)
    return next(name for name in names if name not in taken)


def load(path: Path, holds: str = "prompt") -> File:
    """Read a file: UTF-8, or UTF-16 or UTF-32 with a byte order mark, or Parquet.

    `holds` names a row in error messages.

    Raises:
        InputError: The file is missing, a folder, empty, or not text.
    """
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder: give a CSV, JSONL or text file of {holds}s")
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{shown(str(path))} cannot be read: {reason}; check the path") from error
    if not data.strip():
        raise InputError(f"{path} is empty: give a file with at least one {holds}")
    digest = hashlib.sha256(data).hexdigest()
    return File(path, data, "" if is_parquet(data) else decoded(path, data), digest)


def decoded(path: Path, data: bytes) -> str:
    """Decode bytes, without byte order marks; raises InputError if they are damaged or binary."""
    return LINE_MARKS.sub(r"\1", with_marks(path, data))


def with_marks(path: Path, data: bytes) -> str:
    """Decode bytes; raises InputError if they are damaged or binary."""
    for mark, encoding in MARKS.items():
        if data.startswith(mark):
            try:
                return data.decode(encoding)
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{path} is damaged {encoding.upper()} (byte {error.start}): save it as UTF-8"
                ) from error
    if is_binary(data):
        raise InputError(f"{path} is not a text file: save it as CSV UTF-8, JSONL or plain text")
    return data.decode("utf-8", "surrogateescape")


def is_parquet(data: bytes) -> bool:
    """Whether the bytes begin like Parquet."""
    return data.startswith(b"PAR1")


def is_binary(data: bytes) -> bool:
    """Whether more than 5% of the first 8 KiB are NULs or invalid UTF-8.

    Up to four are accepted here, so that only their rows are rejected.
    """
    head = data[:8192]
    strange = head.count(b"\0") + head.decode("utf-8", "replace").count("\ufffd")
    return strange > max(4, len(head) // 20)


def lines_of(text: str) -> Iterator[tuple[int, str, str]]:
    """Line number, text and fault of every non-blank line; LF, CRLF and CR end lines."""
    for number, line in enumerate(ENDS.split(text), 1):
        if is_blank(line):
            continue
        size = len(line.encode("utf-8", "surrogateescape"))
        if size > LONGEST:
            yield number, "", f"the line has {size} bytes, more than {LONGEST}"
            continue
        try:
            line.encode("utf-8")
        except UnicodeEncodeError as error:
            at = len(line[: error.start].encode("utf-8"))
            yield number, "", f"byte {at} is not UTF-8: {SAVE}"
            continue
        yield number, line, ""


def folded(fields: Mapping[str, Any]) -> tuple[dict[str, tuple[str, Any]], str]:
    """Original name and value by folded name; a fault if two names fold to the same.

    >>> folded({"Context_String": "a"})
    ({'contextstring': ('Context_String', 'a')}, '')
    """
    found: dict[str, tuple[str, Any]] = {}
    for name, value in fields.items():
        key = folded_name(name)
        if key in found:
            return {}, f"{shown(found[key][0])!r} and {shown(name)!r} are the same name: rename one"
        found[key] = (name, value)
    return found, ""


def folded_name(name: str) -> str:
    """A name in lower case, without blanks, `_` and `-`."""
    return re.sub(r"[\s_-]+", "", name.casefold())


def shown(text: str) -> str:
    """User text for a message: on one line, at most 200 characters."""
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[:200])
    return line + "..." if len(text) > 200 else line


def is_missing(value: Any) -> bool:  # noqa: ANN401 - any JSON value
    """Whether a value is none, or stands for none.

    >>> is_missing("N/A"), is_missing("<noinput>"), is_missing(float("nan")), is_missing("No.")
    (True, True, True, False)
    """
    if isinstance(value, str):
        return is_blank(value) or bool(MISSING.fullmatch(value.strip()))
    return value is None or value != value or value in ([], {})  # noqa: PLR0124 - NaN


def first_name(values: Iterable[Any]) -> str:
    """The first value that can be an id or a category, as text; empty if there is none.

    >>> first_name([None, float("nan"), "N/A", ["a"], 7])
    '7'
    """
    named = (v for v in values if not is_missing(v) and not isinstance(v, list | dict))
    return next(map(str, named), "")


def text_fault(text: str) -> str:
    """Why a text is unusable; empty if it is usable."""
    if is_blank(text):
        return "the prompt is empty"
    if "\0" in text:
        return "the prompt holds a NUL byte"
    if len(text) > LONGEST:
        return f"the prompt has {len(text)} characters, more than {LONGEST}"
    if any("\udc80" <= c <= "\udcff" for c in text):
        return f"the row is not UTF-8: {SAVE}"
    if any("\ud800" <= c <= "\udfff" for c in text):
        return "the prompt holds a lone surrogate"
    return ""


def check(
    path: Path, usable: Sequence[object], rejected: Sequence[Rejected], *, strict: bool
) -> None:
    """Raise InputError if a file has no usable row or, when strict, any unusable row."""
    if rejected and (strict or not usable):
        first = rejected[0]
        where = f"{first.file}:{first.line}: {first.reason}"
        if usable:
            raise InputError(f"{where}; fix the row, or drop --strict to skip it")
        raise InputError(f"{path} holds no usable prompt; the first fault is {where}")
    if not usable:
        raise InputError(f"{path} holds no prompt: give a file with at least one")


def rejected_rows(rejected: Sequence[Rejected]) -> list[dict[str, Any]]:
    """Rejected rows as objects for `rejected.jsonl`, without zero `line` and `prompts`."""
    left_out = ("line", "prompts")
    return [{k: v for k, v in asdict(row).items() if v or k not in left_out} for row in rejected]
