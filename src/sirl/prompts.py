"""Prompt sets from files: CSV, JSONL or plain text, with every unusable row named.

A row that cannot be used is set aside with file, line and reason; the file as a whole is refused
only when nothing in it can be used. Text is never cut and never repaired.
"""

import csv
import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, get_args

from sirl.errors import InputError
from sirl.text import normalised
from sirl.types import Message, Prompt, Role

__all__ = [
    "PromptSet",
    "Rejected",
    "Row",
    "check",
    "json_rows",
    "next_row",
    "read_bytes",
    "read_prompts",
    "read_targets",
    "rejected_rows",
    "text_fault",
    "text_rows",
]

TEXT_KEYS = ("prompt", "goal", "instruction", "behavior", "Behavior")
ID_KEYS = ("id", "BehaviorID", "index", "key")
CATEGORY_KEYS = ("category", "SemanticCategory", "type")
CONTEXT_KEY = "ContextString"
LONGEST = 1 << 20
"""Bytes of the longest line read; no prompt that fits a context comes near."""
ROLES = get_args(Role)


@dataclass(frozen=True)
class Rejected:
    """A row that was set aside."""

    file: str
    line: int
    """Counted from 1; 0 where the row is at fault only for this model."""
    reason: str


@dataclass(frozen=True)
class PromptSet:
    """The usable prompts of a file, and what became of the others."""

    prompts: tuple[Prompt, ...]
    rejected: tuple[Rejected, ...]
    """Duplicates, whose text but for case and spacing stands further up, are among them."""
    source: str
    sha256: str


class Row(NamedTuple):
    """A line of input as it was found: its fields, or the reason why it has none."""

    line: int
    fields: Mapping[str, Any]
    fault: str = ""


def read_prompts(path: Path, *, strict: bool = False) -> PromptSet:
    """The prompts of a file, by its ending: .csv, .jsonl (or .json lines), anything else as text.

    Raises:
        InputError: The file is missing, no text, empty, without a prompt column, or holds no
            usable row; or, when strict, its first unusable row.
    """
    data = read_bytes(path)
    readers = {".csv": csv_rows, ".jsonl": json_rows, ".json": json_rows}
    rows = readers.get(path.suffix.lower(), text_rows)(path, data)
    prompts: list[Prompt] = []
    rejected: list[Rejected] = []
    lines: dict[str, int] = {}
    ids: set[str] = set()
    for row in rows:
        prompt, fault = read_row(path, row, ids)
        if prompt is not None:
            text = normalised(" ".join(m.content for m in prompt.messages))
            if (first := lines.setdefault(text, row.line)) != row.line:
                fault = f"the same prompt stands in line {first}"
        if prompt is None or fault:
            rejected.append(Rejected(str(path), row.line, fault))
            continue
        ids.add(prompt.id)
        prompts.append(prompt)
    check(path, prompts, rejected, strict=strict)
    digest = hashlib.sha256(data).hexdigest()
    return PromptSet(tuple(prompts), tuple(rejected), str(path), digest)


def rejected_rows(rejected: Sequence[Rejected]) -> list[dict[str, Any]]:
    """The rejected rows as lines of `rejected.jsonl`; what is no line of a file has no number."""
    return [{k: v for k, v in asdict(row).items() if k != "line" or v} for row in rejected]


def read_bytes(path: Path) -> bytes:
    """The bytes of a text file."""
    if path.is_dir():
        raise InputError(f"{path} is a folder: give a CSV, JSONL or text file of prompts")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; check the path") from error
    if not data.strip():
        raise InputError(f"{path} is empty: give a file with at least one prompt")
    if is_binary(data):
        raise InputError(f"{path} is no text file: save it as UTF-8 CSV, JSONL or plain text")
    return data.removeprefix(b"\xef\xbb\xbf")


def read_targets(path: Path) -> dict[str, str]:
    """First words of compliant answers: JSON lines of behavior_id and target, by behaviour id.

    Raises:
        InputError: The file cannot be read, or a row names no behaviour or no words.
    """
    found = {}
    for row in json_rows(path, read_bytes(path)):
        name, text = row.fields.get("behavior_id"), row.fields.get("target")
        if row.fault or name is None or not isinstance(text, str) or not text.strip():
            reason = row.fault or "behavior_id or target is missing"
            raise InputError(f"{path}:{row.line}: {reason}; mend the row")
        found[str(name)] = text
    return found


def is_binary(data: bytes) -> bool:
    """Whether most of the beginning is not text: many NULs or bytes that are not UTF-8.

    A single bad byte spoils its row only, so a few are let through to be rejected by line.
    """
    head = data[:8192]
    strange = head.count(b"\0") + head.decode("utf-8", "replace").count("\ufffd")
    return strange > max(4, len(head) // 20)


def lines_of(data: bytes) -> Iterator[tuple[int, str, str]]:
    """Line number, text and fault of every line that is not blank."""
    for number, raw in enumerate(data.split(b"\n"), 1):
        if len(raw) > LONGEST:
            yield number, "", f"the line has {len(raw)} bytes, more than {LONGEST}"
            continue
        try:
            text = raw.decode("utf-8").strip("\r\n")
        except UnicodeDecodeError as error:
            yield number, "", f"byte {error.start} is not UTF-8"
            continue
        if text.strip():
            yield number, text, ""


def text_rows(_: Path, data: bytes) -> Iterator[Row]:
    """Plain text: one prompt a line."""
    for number, text, fault in lines_of(data):
        yield Row(number, {"prompt": text}, fault)


def json_rows(_: Path, data: bytes) -> Iterator[Row]:
    """JSON lines: one object a line."""
    for number, text, fault in lines_of(data):
        if fault:
            yield Row(number, {}, fault)
            continue
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError):
            yield Row(number, {}, "the line is not JSON")
            continue
        if isinstance(fields, dict):
            yield Row(number, fields)
        else:
            yield Row(number, {}, "the line is no JSON object")


def csv_rows(path: Path, data: bytes) -> Iterator[Row]:
    """CSV with a header; fields may hold line breaks."""
    text = data.decode("utf-8", "surrogateescape")
    # Strict: an unclosed quote would otherwise swallow the rest of the file.
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header = next_row(reader) or []
    if isinstance(header, str) or not set(header) & set(TEXT_KEYS):
        found = header if isinstance(header, str) else ", ".join(header)[:200]
        raise InputError(
            f"{path} has no column {', '.join(TEXT_KEYS)} (found: {found}): name one in its header"
        )
    while (line := reader.line_num + 1) and (row := next_row(reader)) is not None:
        if isinstance(row, str):
            yield Row(line, {}, row)
        elif row:
            yield Row(line, dict(zip(header, row, strict=False)))


def next_row(reader: Any) -> list[str] | str | None:  # noqa: ANN401 - csv's reader has no public type
    """The next row, the reason why it cannot be read, or None at the end."""
    try:
        row: list[str] = next(reader)
    except StopIteration:
        return None
    except csv.Error as error:
        return f"the row is no CSV: {error}"
    return row


def read_row(path: Path, row: Row, ids: set[str]) -> tuple[Prompt | None, str]:
    """The prompt of a row, or the reason why there is none."""
    if row.fault:
        return None, row.fault
    messages, fault = read_messages(row.fields)
    if fault:
        return None, fault
    named = next((str(row.fields[k]) for k in ID_KEYS if row.fields.get(k) not in (None, "")), "")
    id_ = named or f"{path.stem}-{row.line}"
    if id_ in ids:
        id_ = f"{id_}-line-{row.line}"
    category = next((str(row.fields[k]) for k in CATEGORY_KEYS if row.fields.get(k)), "")
    if fault := text_fault(id_ + category):
        return None, fault
    return Prompt(id_, messages, str(path), category), ""


def read_messages(fields: Mapping[str, Any]) -> tuple[tuple[Message, ...], str]:
    """The conversation of a row, or the reason why there is none."""
    if "messages" in fields:
        return read_turns(fields["messages"])
    key = next((k for k in TEXT_KEYS if k in fields), None)
    if key is None:
        return (), f"none of {', '.join(TEXT_KEYS)}, messages is there"
    text, context = fields[key], fields.get(CONTEXT_KEY) or ""
    if not isinstance(text, str) or not isinstance(context, str):
        return (), f"{key} is no text"
    # Contextual behaviours carry their material in front, as HarmBench renders them.
    whole = f"{context}\n\n---\n\n{text}" if context.strip() else text
    return (Message("user", whole.strip()),), text_fault(whole)


def read_turns(turns: Any) -> tuple[tuple[Message, ...], str]:  # noqa: ANN401 - whatever JSON held
    """Chat messages, or the reason why they are none."""
    if not isinstance(turns, list) or not turns:
        return (), "messages is no list of turns"
    messages = []
    for turn in turns:
        if not isinstance(turn, dict) or turn.get("role") not in ROLES:
            return (), f"a turn has no role of {', '.join(ROLES)}"
        if not isinstance(turn.get("content"), str):
            return (), "a turn has no text as content"
        if fault := text_fault(turn["content"]):
            return (), fault
        messages.append(Message(turn["role"], turn["content"]))
    if messages[-1].role != "user":
        return (), "the last turn is not the user's"
    return tuple(messages), ""


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
    path: Path, prompts: Sequence[Prompt], rejected: Sequence[Rejected], *, strict: bool
) -> None:
    """Refuse a file without prompts and, when strict, one with an unusable row."""
    if rejected and (strict or not prompts):
        first = rejected[0]
        where = f"{first.file}:{first.line}: {first.reason}"
        if prompts:
            raise InputError(f"{where}; mend the row, or leave --strict out to set it aside")
        raise InputError(f"{path} holds no usable prompt; the first fault is {where}")
    if not prompts:
        raise InputError(f"{path} holds no prompt: give a file with at least one")
