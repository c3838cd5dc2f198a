"""Decodes a file into text and lines, and finds unusable text."""

import codecs
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sirl.errors import InputError

__all__ = [
    "File",
    "Rejected",
    "Row",
    "check",
    "folded",
    "folded_name",
    "is_parquet",
    "lines_of",
    "load",
    "rejected_rows",
    "shown",
    "text_fault",
    "text_rows",
]

LONGEST = 1 << 20
"""Bytes of the longest line read; no prompt that fits a context comes near."""
ENDS = re.compile(r"\r\n|\r|\n")
ODD_ENDS = {"\u2028": "U+2028", "\u2029": "U+2029", "\x85": "U+0085"}
"""Characters that end a line for some programs and not for others."""
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Marks at the beginning of a file, the longer ones first: one begins like another."""


@dataclass(frozen=True)
class File:
    """A file as it was read."""

    path: Path
    data: bytes
    text: str
    """Without a byte order mark; bytes that are not UTF-8 are lone surrogates. Empty of Parquet."""
    sha256: str
    """Of the bytes as they lie."""


@dataclass(frozen=True)
class Rejected:
    """A row that was set aside."""

    file: str
    line: int
    """Counted from 1, in Parquet the row; 0 where the row is at fault only for this model."""
    reason: str
    prompts: int = 0
    """Of a request that is asked otherwise, how many of its prompts; 0 where none of it is."""


class Row(NamedTuple):
    """A row of input as it was found: its fields, or the reason why it has none."""

    line: int
    """Where it begins, counted from 1; in Parquet the number of the row."""
    fields: Mapping[str, Any]
    fault: str = ""


def load(path: Path, holds: str = "prompt") -> File:
    """The text of a file: UTF-8, or UTF-16 or UTF-32 with a byte order mark; or Parquet.

    `holds` is what a row of it is called.

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
    """The text of bytes."""
    for mark, encoding in MARKS.items():
        if data.startswith(mark):
            try:
                return data.decode(encoding)
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{path} is damaged {encoding.upper()} (byte {error.start}): save it as UTF-8"
                ) from error
    if is_binary(data):
        raise InputError(f"{path} is not a text file: save it as UTF-8 CSV, JSONL or plain text")
    return data.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape")


def is_parquet(data: bytes) -> bool:
    """Whether a file says that it is Parquet."""
    return data.startswith(b"PAR1")


def is_binary(data: bytes) -> bool:
    """Whether most of the beginning is not text: many NULs or bytes that are not UTF-8.

    A single bad byte spoils its row only, so a few are let through to be rejected by line.
    """
    head = data[:8192]
    strange = head.count(b"\0") + head.decode("utf-8", "replace").count("\ufffd")
    return strange > max(4, len(head) // 20)


def lines_of(text: str) -> Iterator[tuple[int, str, str]]:
    """Line number, text and fault of every line that is not blank; LF, CRLF and CR end lines."""
    for number, line in enumerate(ENDS.split(text), 1):
        if not line.strip():
            continue
        size = len(line.encode("utf-8", "surrogateescape"))
        if size > LONGEST:
            yield number, "", f"the line has {size} bytes, more than {LONGEST}"
            continue
        try:
            line.encode("utf-8")
        except UnicodeEncodeError as error:
            at = len(line[: error.start].encode("utf-8"))
            yield number, "", f"byte {at} is not UTF-8"
            continue
        yield number, line, ""


RULE = re.compile(r"[ \t]*[-=*_|:+~`#>][-=*_|:+~`#> \t]*")
"""A line of Markdown that separates others: below a header, between parts, around code."""


def text_rows(file: File) -> Iterator[Row]:
    """Plain text: one prompt a line, as the field `prompt`."""
    for number, line, fault in lines_of(file.text):
        odd = next((name for end, name in ODD_ENDS.items() if end in line), "")
        unclear = (
            f"the line contains {odd}, which may end a line: replace it by a line feed or a space"
        )
        rule = "the line is a rule of marks and no prompt" if RULE.fullmatch(line) else ""
        yield Row(number, {"prompt": line}, unclear if odd else fault or rule)


def folded(fields: Mapping[str, Any]) -> tuple[dict[str, tuple[str, Any]], str]:
    """Name and value by the name without case, blanks, `_` and `-`; a fault where two are alike.

    >>> folded({"Context_String": "a"})
    ({'contextstring': ('Context_String', 'a')}, '')
    """
    found: dict[str, tuple[str, Any]] = {}
    for name, value in fields.items():
        key = folded_name(name)
        if key in found:
            return {}, f"{shown(found[key][0])!r} and {shown(name)!r} are one name: rename one"
        found[key] = (name, value)
    return found, ""


def folded_name(name: str) -> str:
    """A name without regard to case, blanks, `_` and `-`."""
    return re.sub(r"[\s_-]+", "", name.casefold())


def shown(text: str) -> str:
    """A text of the user's as it may stand in a sentence: on one line, and not endless."""
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[:200])
    return line + "..." if len(text) > 200 else line


def text_fault(text: str) -> str:
    """What makes a text unusable; empty when nothing does."""
    if not text.strip():
        return "the prompt is empty"
    if "\0" in text:
        return "the prompt holds a NUL byte"
    if len(text) > LONGEST:
        return f"the prompt has {len(text)} characters, more than {LONGEST}"
    if any("\udc80" <= c <= "\udcff" for c in text):
        return "the row is not UTF-8"
    if any("\ud800" <= c <= "\udfff" for c in text):
        return "the prompt holds a lone surrogate"
    return ""


def check(
    path: Path, usable: Sequence[object], rejected: Sequence[Rejected], *, strict: bool
) -> None:
    """Refuse a file without usable rows and, when strict, one with an unusable row."""
    if rejected and (strict or not usable):
        first = rejected[0]
        where = f"{first.file}:{first.line}: {first.reason}"
        if usable:
            raise InputError(f"{where}; fix the row, or drop --strict to skip it")
        raise InputError(f"{path} holds no usable prompt; the first fault is {where}")
    if not usable:
        raise InputError(f"{path} holds no prompt: give a file with at least one")


def rejected_rows(rejected: Sequence[Rejected]) -> list[dict[str, Any]]:
    """The rejected rows as lines of `rejected.jsonl`; what is no line of a file has no number."""
    left_out = ("line", "prompts")
    return [{k: v for k, v in asdict(row).items() if v or k not in left_out} for row in rejected]
