"""Turns rows into prompts, and reports which columns were used."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, get_args

from sirl.prompts.documents import value_of
from sirl.prompts.files import (
    File,
    Rejected,
    Row,
    check,
    folded,
    folded_name,
    load,
    shown,
    text_fault,
    unused_id,
)
from sirl.prompts.labels import LABEL_KEYS, Fields, Labels, Wanted
from sirl.prompts.tables import Format, any_rows
from sirl.prompts.texts import ITEM
from sirl.text import many, normalised
from sirl.types import Message, Prompt, Role

__all__ = [
    "ID_KEYS",
    "SEPARATOR",
    "TURN_KEYS",
    "Elsewhere",
    "PromptSet",
    "Reader",
    "asked_text",
    "first",
    "read_prompts",
    "read_rows",
]

TURN_KEYS = ("messages", "conversations", "conversation")
TEXT_KEYS = ("prompt", "goal", "instruction", "question", "behavior", "behaviour")
"""In order of preference."""
ID_KEYS = ("id", "behaviorid", "behaviourid", "index", "key")
CATEGORY_KEYS = ("category", "semanticcategory", "type")
SEPARATOR = "\n\n---\n\n"
"""Separates context and request of a contextual behaviour."""
CONTEXT_KEYS = ("contextstring", "context")
"""Material that stands in front of its request."""
INPUT_KEYS = ("input",)
"""Material that stands behind an instruction, as in Alpaca's rows."""
FRONT_KEYS, BACK_KEYS = ("passage", "document", "article", "paragraph"), ("input", "inputs")
"""Other names of material in front of a request and behind it, if they hold words."""
SYSTEM_KEYS = ("systemprompt", "system")
PARTS = ("choices", "options", "history")
"""Columns with parts of a request that prompts do not support."""
LISTED = 5
"""Columns that are not used and are listed."""
ROLES: Mapping[str, Role] = {
    **{role: role for role in get_args(Role)},
    "developer": "system", "human": "user", "gpt": "assistant", "chatgpt": "assistant",
}  # fmt: skip
"""Roles by name; OpenAI's developer speaks as the system, and the last three are from ShareGPT."""
TEXT_PARTS = ("text", "input_text", "output_text")
"""Types of parts of OpenAI's messages that are text."""
TURNS = re.compile(r"\s*\[\s*\{\s*['\"](role|content|from|value)['\"]\s*:")


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


class Found(NamedTuple):
    """The messages of a row and the names of the fields they were read from."""

    messages: tuple[Message, ...] = ()
    names: tuple[str, ...] = ()
    fault: str = ""


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
            prompt column or without a usable row; when strict, also if any row is unusable.
        MissingExtraError: The file is Parquet, and pyarrow is not installed.
    """
    file = load(path)
    format, rows = any_rows(file, (*TEXT_KEYS, *TURN_KEYS))
    return read_rows(file, rows, Reader(path, format, wanted, elsewhere), strict=strict)


def read_rows(file: File, rows: Iterable[Row], reader: "Reader", *, strict: bool) -> PromptSet:
    """The prompts of rows of a file.

    Raises:
        InputError: No row is usable; when strict, also if any row is unusable.
    """
    before = reader.elsewhere.repeated
    for row in rows:
        reader.take(row)
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
        self.labels = Labels(path, wanted)

    def take(self, row: Row) -> None:
        """Add the prompt of a row, or reject the row."""
        fields, fault = folded(row.fields)
        found = Found()
        if not (fault := row.fault or fault):
            found = self.found(row, fields)
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
            if k not in read and value not in (None, [], {}) and str(value).strip()
        }
        self.labels.count(fields, {*used, *ID_KEYS, *TURN_KEYS, *TEXT_KEYS})

    def read(self) -> str:
        """A sentence: the columns or lines read, and the number of prompts."""
        n = len(self.prompts)
        prompts = many(n, "prompt")
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
    """The first non-empty value of some fields, as text."""
    return next(
        (str(fields[k][1]) for k in keys if fields.get(k, ("", ""))[1] not in (None, "")), ""
    )


def read_fields(fields: Fields) -> Found:
    """The conversation of a row, or its fault."""
    parts = [fields[k][0] for k in PARTS if k in fields and fields[k][1] not in (None, "", [], {})]
    if parts:
        return Found(fault=f"{shown(parts[0])} is part of the request but is not read")
    system, fault = one_text(fields, SYSTEM_KEYS)
    if fault:
        return Found(fault=fault)
    front = (Message("system", system[1]),) if system else ()
    for key in TURN_KEYS:
        if key in fields and fields[key][1] not in (None, ""):
            return with_system(front, system, read_turns(*fields[key]))
    key = next((k for k in TEXT_KEYS if k in fields), "")
    if not key:
        listed = next((f"; {texts_in(*held)}" for held in fields.values() if texts_in(*held)), "")
        return Found(fault=f"none of {', '.join((*TEXT_KEYS, *TURN_KEYS))} is present{listed}")
    name, value = fields[key]
    if isinstance(value, list) or (isinstance(value, str) and TURNS.match(value)):
        return with_system(front, system, read_turns(name, value))
    return with_system(front, system, read_text(fields, key))


def with_system(front: tuple[Message, ...], system: tuple[str, str] | None, found: Found) -> Found:
    """A conversation with the system turn of its row in front."""
    if found.fault or system is None:
        return found
    if found.messages[0].role == "system":
        return Found(fault=f"{shown(system[0])} and a system turn are both given: remove one")
    return Found((*front, *found.messages), (*found.names, system[0]))


def read_text(fields: Fields, key: str) -> Found:
    """A single-turn request with its material."""
    name, text = fields[key]
    if not isinstance(text, str):
        return Found(fault=f"{shown(name)} is not text")
    context, fault = one_text(fields, CONTEXT_KEYS)
    given, other = one_text(fields, INPUT_KEYS if key == "instruction" else ())
    context = context or worded(fields, FRONT_KEYS)
    given = given or worded(fields, BACK_KEYS)
    if fault := fault or other or ("" if text.strip() else text_fault(text)):
        return Found(fault=fault)
    names = [name]
    if given:
        text = f"{text.strip()}\n\n{given[1]}"
        names.append(given[0])
    if context:
        # Contextual behaviours: the context comes first, as in HarmBench.
        text = f"{context[1]}{SEPARATOR}{text}"
        names.append(context[0])
    return Found((Message("user", text.strip()),), tuple(names), text_fault(text))


def worded(fields: Fields, keys: Sequence[str]) -> tuple[str, str] | None:
    """Name and text of the first of these fields that holds words, not a number or a list."""
    held = (fields[k] for k in keys if k in fields)
    return next(
        ((name, v) for name, v in held if isinstance(v, str) and re.search(r"[^\W\d_]", v)), None
    )


def one_text(fields: Fields, keys: Sequence[str]) -> tuple[tuple[str, str] | None, str]:
    """Name and text of the non-empty one of these fields, or its fault."""
    held = [fields[k] for k in keys if k in fields and fields[k][1] not in (None, "")]
    held = [(name, v) for name, v in held if not isinstance(v, str) or v.strip()]
    if not held:
        return None, ""
    name, value = held[0]
    if any(v != value for _, v in held):
        return None, f"{shown(name)} and {shown(held[1][0])} differ: remove one"
    if not isinstance(value, str):
        return None, f"{shown(name)} is not text"
    return (name, value), text_fault(value)


def read_turns(name: str, turns: Any) -> Found:  # noqa: ANN401 - any JSON value
    """Chat messages, or their fault; table cells hold them as JSON."""
    if isinstance(turns, str):
        try:
            turns = json.loads(turns)
        except (ValueError, RecursionError):
            return Found(fault=f"{shown(name)} is not a list of turns in JSON")
    if not isinstance(turns, list) or not turns:
        return Found(fault=f"{shown(name)} is not a list of turns")
    if fault := texts_in(name, turns):
        return Found(fault=fault)
    messages = []
    for turn in turns:
        message, fault = read_turn(turn)
        if message is None or fault:
            return Found(fault=fault)
        messages.append(message)
    if messages[-1].role != "user":
        return Found(fault="the last turn is not the user's")
    return Found(tuple(messages), (name,))


def texts_in(name: str, value: Any) -> str:  # noqa: ANN401 - any JSON value
    """The fault of a list of texts where a row has one request; empty for any other value."""
    if not isinstance(value, list) or not value or not all(isinstance(v, str) for v in value):
        return ""
    way = 'give each text a row of its own, such as {"prompt": "..."}'
    return f"{shown(name)} is a list of {many(len(value), 'text')}: {way}"


def read_turn(turn: Any) -> tuple[Message | None, str]:  # noqa: ANN401 - any JSON value
    """A turn given as `role` and `content` or as `from` and `value`, or its fault."""
    said = turn.get("role", turn.get("from")) if isinstance(turn, dict) else None
    known = ", ".join(get_args(Role))
    if not isinstance(said, str):
        return None, f"a turn has no role: give it one of {known}"
    role = ROLES.get(said)
    if role is None:
        return None, f"a turn has the role {shown(said)!r}, which is none of {known}"
    text, fault = joined(turn.get("content", turn.get("value")))
    return Message(role, text), fault or text_fault(text)


def joined(content: Any) -> tuple[str, str]:  # noqa: ANN401 - any JSON value
    """The content of a turn, whose text may be in parts as in OpenAI's messages, or its fault."""
    parts = content if isinstance(content, list) else [content]
    texts = [part.get("text") if isinstance(part, dict) else part for part in parts]
    kinds = [part.get("type", "text") for part in parts if isinstance(part, dict)]
    if other := next((str(kind) for kind in kinds if kind not in TEXT_PARTS), ""):
        return "", f"a turn has a part of type {shown(other)}, and sirl asks text alone"
    said = [text for text in texts if isinstance(text, str)]
    if not said or len(said) < len(texts):
        return "", "a turn has no text as content"
    return "\n".join(said), ""
