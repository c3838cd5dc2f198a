"""Recorded attacks: sheets of finished prompts, and user turns of human conversations.

A behaviour without a recorded prompt is not covered by that attack: it is left out and does not
count as held. Unusable rows are set aside with line and reason, as in prompt files.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from sirl.errors import InputError
from sirl.prompts import (
    File,
    Rejected,
    Row,
    check,
    first_name,
    folded,
    folded_name,
    load,
    object_rows,
    place_of,
    read_table,
    text_fault,
)
from sirl.roles import Access, Tries
from sirl.text import normalised
from sirl.types import Attempt, Budget, Message, Need, Prompt

__all__ = ["Replay", "Sheet", "Transcripts", "read_sheet", "read_transcripts"]

META = (
    "", "index", "id", "behaviorid", "behaviourid", "goal", "target", "behavior", "behaviour",
    "category", "source",
)  # fmt: skip
"""Columns of a sheet that are not attacks; a column without a name is the row number."""
TABLES = (".csv", ".tsv", ".tab")
OBJECTS = (".json", ".jsonl", ".ndjson", ".jsonlines")
ID_KEYS = ("behaviourid", "behaviorid", "id", "index")
GOAL_KEYS = ("goal", "request", "behavior", "behaviour")
"""Fields of the bare request in transcripts; sheets use only the first."""


@dataclass(frozen=True)
class Replay:
    """One attack of a sheet: a recorded prompt per behaviour."""

    name: str
    attempts: Mapping[str, str]
    """Prompts by behaviour id."""
    goals: Mapping[str, str]
    """Bare requests by behaviour id; compared too, because other files may reuse the ids."""
    family: str = "replay"
    needs: frozenset[Need] = frozenset()

    def covers(self, behaviour: Prompt) -> bool:
        """Whether a prompt was recorded for this behaviour."""
        goal = self.goals.get(behaviour.id)
        return goal is not None and normalised(goal) == normalised(behaviour.request)

    def attempt(self, behaviour: Prompt) -> Attempt:
        """The recorded prompt of a covered behaviour."""
        turn = Message("user", self.attempts[behaviour.id])
        return Attempt(behaviour, self.name, (*behaviour.messages[:-1], turn))


@dataclass(frozen=True)
class Sheet:
    """The attacks of a file, their behaviours, and the rows that were set aside."""

    behaviours: tuple[Prompt, ...]
    attacks: tuple[Replay, ...]
    rejected: tuple[Rejected, ...]
    source: str
    sha256: str


@dataclass(frozen=True)
class Transcripts:
    """User turns of recorded conversations, replayed with the target's answers in between.

    Only the answer to the last turn of a conversation is judged.
    """

    behaviours: tuple[Prompt, ...]
    scripts: Mapping[str, Sequence[tuple[str, ...]]]
    """User turns of each conversation, by behaviour id."""
    rejected: tuple[Rejected, ...]
    source: str
    sha256: str
    name: str = "transcripts"
    family: str = "conversation"
    needs: frozenset[Need] = frozenset()

    @property
    def budget(self) -> Budget:
        """Enough queries for all conversations of any behaviour."""
        return Budget(queries=max(sum(map(len, scripts)) for scripts in self.scripts.values()))

    def covers(self, behaviour: Prompt) -> bool:
        """Whether a conversation about this behaviour was recorded."""
        asked = normalised(behaviour.request)
        return any(b.id == behaviour.id and normalised(b.request) == asked for b in self.behaviours)

    def tries(self, behaviour: Prompt, access: Access) -> Tries:  # noqa: ARG002 - the role's shape
        """One turn per round."""
        for script in self.scripts[behaviour.id]:
            history = behaviour.messages[:-1]
            for turn in script[:-1]:
                asked = (*history, Message("user", turn))
                (outcome,) = yield [Attempt(behaviour, self.name, asked, probe=True)]
                history = outcome.continued(asked)
            yield [Attempt(behaviour, self.name, (*history, Message("user", script[-1])))]


class Cells(NamedTuple):
    """A row of a sheet: its behaviour, and the prompt of each attack."""

    line: int
    """Line number; for a JailbreakBench artifact, the number of the jailbreak, from 1."""
    fields: Mapping[str, Any]
    """Fields that identify the behaviour, by folded name."""
    prompts: Mapping[str, Any]
    """Prompt by attack; None and empty texts mean that it is missing."""
    fault: str = ""
    nth: int = 1
    """Number of the row among those of its line."""

    @property
    def place(self) -> str:
        """Where the row is, for ids."""
        return place_of(self.line, self.nth)


@dataclass
class Behaviours:
    """The behaviours of a file, in order of first appearance."""

    path: Path
    goal_keys: Sequence[str]
    known: dict[str, Prompt] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    """Line of the first appearance, by id."""
    ids: dict[str, str] = field(default_factory=dict)
    """Ids by normalised goal, for rows without an id."""

    def find(self, place: str, fields: Mapping[str, Any]) -> tuple[Prompt | None, str]:
        """The behaviour of a row, or None and the reason."""
        goal = first(fields, self.goal_keys)
        if not isinstance(goal, str) or not goal.strip():
            return None, f"there is no text in {', '.join(self.goal_keys)}"
        # Without an id, the same goal is the same behaviour.
        by_goal = self.ids.get(normalised(goal), f"{self.path.stem}-{place}")
        id_ = first_name(map(fields.get, ID_KEYS)) or by_goal
        category = first_name([fields.get("category")])
        if fault := text_fault(id_ + category + goal):
            return None, fault
        if (known := self.known.get(id_)) is None:
            return Prompt.user(id_, goal.strip(), source=str(self.path), category=category), ""
        if normalised(known.request) != normalised(goal):
            return None, f"the id {id_!r} belongs to another goal in line {self.lines[id_]}"
        return known, ""

    def keep(self, line: int, behaviour: Prompt) -> None:
        """Remember the behaviour of a valid row."""
        if behaviour.id not in self.known:
            self.known[behaviour.id] = behaviour
            self.lines[behaviour.id] = line
            self.ids.setdefault(normalised(behaviour.request), behaviour.id)


@dataclass
class Column:
    """The prompts of one attack, collected while a sheet is read."""

    line: int
    """Line of the attack's first appearance."""
    prompts: dict[str, str] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)

    def fault(self, behaviour: Prompt, prompt: object) -> str:
        """Why a cell is unusable; empty if it is valid or missing."""
        if missing(prompt):
            return ""
        if not isinstance(prompt, str):
            return "the prompt is not text"
        if behaviour.id in self.prompts:
            line = self.lines[behaviour.id]
            return f"a prompt for the id {behaviour.id!r} is in line {line} already"
        return text_fault(prompt)


def read_sheet(path: Path, *, strict: bool = False) -> Sheet:
    """Read the recorded attacks of a file.

    A table has one column of prompts per attack. JSON and Parquet have one row with goal, attack
    and prompt per prompt. A JSON document may also be a JailbreakBench artifact.

    Raises:
        InputError: The file cannot be read, has no goal, no attack or no usable row; if strict,
            any row is unusable.
    """
    file = load(path, "recorded attack")
    behaviours = Behaviours(path, GOAL_KEYS[:1])
    columns: dict[str, Column] = {}
    rejected: list[Rejected] = []
    for cells in rows_of(file):
        if fault := cells.fault or add_row(behaviours, columns, cells):
            rejected.append(Rejected(str(path), cells.line, fault))
    for name, column in columns.items():
        if not column.prompts:
            rejected.append(Rejected(str(path), column.line, f"the attack {name!r} has no prompt"))
    check(path, tuple(behaviours.known.values()), rejected, strict=strict)
    attacks = tuple(
        Replay(f"replay_{name}", c.prompts, {i: behaviours.known[i].request for i in c.prompts})
        for name, c in columns.items()
        if c.prompts
    )
    if not attacks:
        raise InputError(f"{path} holds no recorded prompt: every cell of it is empty")
    known = tuple(behaviours.known.values())
    return Sheet(known, attacks, tuple(rejected), str(path), file.sha256)


def add_row(behaviours: Behaviours, columns: dict[str, Column], cells: Cells) -> str:
    """Add a row to the columns, completely or not at all; return the fault, empty if added."""
    behaviour, fault = behaviours.find(cells.place, cells.fields)
    if behaviour is None:
        return fault
    for name, prompt in cells.prompts.items():
        column = columns.setdefault(name, Column(cells.line))
        if fault := column.fault(behaviour, prompt):
            return f"{name}: {fault}"
    behaviours.keep(cells.line, behaviour)
    for name, prompt in cells.prompts.items():
        if not missing(prompt):
            columns[name].prompts[behaviour.id] = prompt
            columns[name].lines[behaviour.id] = cells.line
    return ""


def missing(prompt: object) -> bool:
    """Whether a cell is empty."""
    return prompt is None or (isinstance(prompt, str) and not prompt.strip())


def first(fields: Mapping[str, Any], keys: Sequence[str]) -> Any:  # noqa: ANN401 - whatever JSON held
    """The first non-empty value under the keys; None if there is none."""
    return next((fields[key] for key in keys if fields.get(key) not in (None, "")), None)


def values_of(fields: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Values by folded name, and a fault if two names fold to the same."""
    found, fault = folded(fields)
    return {key: value for key, (_, value) in found.items()}, fault


def attack_name(text: str) -> str:
    """The name of an attack, made safe for comma-separated lists of names."""
    return re.sub(r"[^\w.-]+", "_", text.strip())


def rows_of(file: File) -> Iterator[Cells]:
    """The rows of a sheet; the format follows from the file's extension and content."""
    ending = file.path.suffix.lower()
    if ending in TABLES and file.text:
        return table_cells(file)
    if ending not in OBJECTS and file.text:
        raise InputError(
            f"{file.path} is not a file of recorded attacks: give a .csv, .tsv, .jsonl, .json "
            "or Parquet file"
        )
    document = artefact(file.text)
    return json_cells(file) if document is None else artefact_cells(file.path, document)


def table_cells(file: File) -> Iterator[Cells]:
    """The rows of a table; every column not in `META` is an attack."""
    table = read_table(file, GOAL_KEYS[:1])
    attacks = attack_columns(file.path, table.header)
    named = [name if at not in attacks else f"attack {at}" for at, name in enumerate(table.header)]
    for line, row, unfit in table.rows:
        if unfit:
            yield Cells(line, {}, {}, unfit)
            continue
        fields, fault = values_of({n: c for n, c in zip(named, row, strict=True) if n.strip()})
        yield Cells(line, fields, {name: row[at] for at, name in attacks.items()}, fault)


def attack_columns(path: Path, header: Sequence[str]) -> dict[int, str]:
    """Column index -> attack name.

    Raises:
        InputError: There is no attack column, or two have the same name.
    """
    names = [folded_name(name) for name in header]
    attacks = {at: attack_name(header[at]) for at, name in enumerate(names) if name not in META}
    if not attacks:
        found = ", ".join(header)[:200]
        raise InputError(f"{path} has no column of an attack (found: {found}): add one per attack")
    twice = next((n for n in attacks.values() if list(attacks.values()).count(n) > 1), None)
    if twice:
        raise InputError(f"{path} has two columns for the attack {twice!r}: rename one of them")
    return attacks


def json_cells(file: File) -> Iterator[Cells]:
    """The rows of a file of objects with goal, attack and prompt."""
    for row in object_rows(file):
        fields, fault = values_of(row.fields)
        attack = fields.get("attack")
        if fault := row.fault or fault:
            yield Cells(row.line, {}, {}, fault)
        elif not isinstance(attack, str) or not attack.strip():
            yield Cells(row.line, {}, {}, "there is no text in attack")
        elif "prompt" not in fields:
            yield Cells(row.line, {}, {}, "there is no prompt")
        else:
            yield Cells(row.line, fields, {attack_name(attack): fields["prompt"]}, nth=row.nth)


def artefact(text: str) -> Mapping[str, Any] | None:
    """Parse a JailbreakBench artifact; None if the text is not one."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) and "jailbreaks" in document else None


def artefact_cells(path: Path, document: Mapping[str, Any]) -> Iterator[Cells]:
    """The jailbreaks of an artifact; a missing prompt means that none was found."""
    entries, parameters = document["jailbreaks"], document.get("parameters")
    if not isinstance(entries, list):
        raise InputError(f"{path} holds no list of jailbreaks: give a JailbreakBench artifact")
    method = first(parameters, ("method", "attack_type")) if isinstance(parameters, dict) else None
    name = attack_name(str(method or path.stem))
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict):
            yield Cells(number, {}, {}, "the jailbreak is not a JSON object")
            continue
        fields, fault = values_of(entry)
        yield Cells(number, fields, {name: fields.get("prompt")}, fault)


def read_transcripts(path: Path, *, strict: bool = False) -> Transcripts:
    """Read human conversations: rows with behaviour_id, goal, and the user's turns in order.

    Raises:
        InputError: The file cannot be read or has no usable row; if strict, any row is unusable.
    """
    file = load(path, "conversation")
    behaviours = Behaviours(path, GOAL_KEYS)
    scripts: dict[str, list[tuple[str, ...]]] = {}
    rejected: list[Rejected] = []
    for row in object_rows(file):
        behaviour, turns, fault = read_script(behaviours, row)
        if behaviour is None or fault:
            rejected.append(Rejected(str(path), row.line, fault))
            continue
        behaviours.keep(row.line, behaviour)
        scripts.setdefault(behaviour.id, []).append(turns)
    known = tuple(behaviours.known.values())
    check(path, known, rejected, strict=strict)
    return Transcripts(known, scripts, tuple(rejected), str(path), file.sha256)


def read_script(behaviours: Behaviours, row: Row) -> tuple[Prompt | None, tuple[str, ...], str]:
    """The behaviour and the user's turns of a row, and the fault of an unusable row."""
    fields, fault = values_of(row.fields)
    if fault := row.fault or fault:
        return None, (), fault
    turns = fields.get("turns")
    if not isinstance(turns, list) or not turns or not all(isinstance(t, str) for t in turns):
        return None, (), "turns is not a list of the user's texts"
    if fault := next((f for f in map(text_fault, turns) if f), ""):
        return None, (), f"a turn: {fault}"
    behaviour, fault = behaviours.find(row.place, fields)
    return behaviour, tuple(turns), fault
