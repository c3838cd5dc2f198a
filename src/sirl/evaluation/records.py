"""Records on disk: one line per answer, with a key of what determines it.

A record's key is a hash of the target's identity, the rendered prompt, the sampling settings and
the item, so answers of other weights are never reused. A finished search on one behaviour leaves a
line in `items.jsonl`; an interrupted one is replayed from the answers on disk.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

from pydantic import TypeAdapter

from sirl.errors import InputError, first_line
from sirl.runs import Run, RunReader
from sirl.types import Message, Question, Record, Sampling

__all__ = [
    "ITEMS",
    "RECORDS",
    "Log",
    "RecordLog",
    "SearchResult",
    "asked_by",
    "read_items",
    "read_record",
    "read_records",
    "record_row",
]

RECORDS, ITEMS = "records.jsonl", "items.jsonl"
SCHEMA = 2
"""Of the lines of `records.jsonl`."""


@dataclass(frozen=True)
class SearchResult:
    """A finished search on one behaviour."""

    key: str
    model: str
    attack: str
    family: str
    behaviour_id: str
    queries: int
    """Target calls spent, those without an answer included."""
    tokens: int
    """Tokens written by the target."""
    broken_at: int | None
    """Calls spent when the defence broke; None while it held."""
    records: tuple[str, ...]
    """Keys of its records, in order."""
    untried: Mapping[str, str] = field(default_factory=dict)
    """Sampling settings that the target does not accept, and its message."""


Line = TypeVar("Line", Record, SearchResult)
KNOWN_RECORD, KNOWN_RESULT = TypeAdapter(Record), TypeAdapter(SearchResult)
"""What reads each, values of other types refused."""


class Log:
    """The records of one model, in memory alone."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.items: dict[str, SearchResult] = {}

    def add(self, records: Sequence[Record]) -> None:
        """Keep records."""
        self.records |= {r.key: r for r in records}

    def finish(self, item: SearchResult) -> None:
        """Keep a finished search."""
        self.items[item.key] = item


class RecordLog(Log):
    """The records of one model in a run folder; append-only while an evaluation runs."""

    def __init__(self, run: Run, model: str) -> None:
        super().__init__()
        self.run = run
        self.records = {r.key: r for r in read_records(run) if r.model == model}
        self.items = {i.key: i for i in read_items(run) if i.model == model}

    def add(self, records: Sequence[Record]) -> None:
        """Write records in one go."""
        if records:
            self.run.append(RECORDS, *map(record_row, records))
        super().add(records)

    def finish(self, item: SearchResult) -> None:
        """Write a finished search."""
        self.run.append(ITEMS, asdict(item))
        super().finish(item)


def record_row(record: Record) -> dict[str, Any]:
    """The line of a record."""
    return {"schema": SCHEMA, **asdict(record)}


def asked_by(label: str) -> Question:
    """What a judge was asked who gives such labels; the first question where nobody can tell."""
    return "harm" if label in ("harmless", "harmful") else "refusal"


def upgraded(row: Mapping[str, Any]) -> dict[str, Any]:
    """The line of a record of any schema as one of this.

    Schema 1, which was not written down, kept the name of a benchmark in the place of the judge.

    Raises:
        TypeError: The schema is of a later version.
    """
    found = dict(row)
    schema = found.pop("schema", 1)
    if schema not in (1, SCHEMA):
        raise TypeError(f"schema {schema} is of a later version of sirl")
    if schema == 1:
        task = found["kind"] == "capability"
        found |= {"benchmark": found["judge"], "judge": ""} if task else {}
        if not task and found["judge"]:
            found["question"] = asked_by(found["label"])
    return found


def read_record(row: Mapping[str, Any]) -> Record:
    """A record from its line.

    Raises:
        TypeError: It has fields that this version does not know.
    """
    nan = float("nan")
    row = upgraded(row)
    filled: dict[str, Any] = {
        **row,
        "messages": tuple(Message(**m) for m in row["messages"]),
        "sampling": Sampling(**row["sampling"]),
        **{name: tuple(row[name]) for name in ("entropies", "pieces", "trace")},
    }
    filled |= {k: nan for k in ("score", "mean_entropy") if row[k] is None}
    if unknown := filled.keys() - {f.name for f in fields(Record)}:
        raise TypeError(f"unknown: {', '.join(sorted(unknown))}")
    return KNOWN_RECORD.validate_python(filled)


def read_item(row: Mapping[str, Any]) -> SearchResult:
    """A finished search from its line."""
    return KNOWN_RESULT.validate_python(
        SearchResult(**{**row, "records": tuple(row["records"])}).__dict__
    )


def read_records(run: RunReader) -> list[Record]:
    """All records of a run, each once.

    Raises:
        InputError: A line lacks what a record has.
    """
    return read_lines(run, RECORDS, read_record)


def read_items(run: RunReader) -> list[SearchResult]:
    """All finished searches of a run, each once.

    Raises:
        InputError: A line lacks what an item has.
    """
    return read_lines(run, ITEMS, read_item)


def read_lines(run: RunReader, name: str, made: Callable[[Mapping[str, Any]], Line]) -> list[Line]:
    """What the lines of a log hold; of several with one key the last counts, and that is said."""
    rows = run.rows(name)
    found: dict[tuple[str, str], Line] = {}
    for number, row in enumerate(rows, 1):
        try:
            line = made(row)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{run.path / name}:{number} lacks what this version keeps: "
                f"{first_line(error)}; evaluate again"
            ) from error
        found[line.model, line.key] = line
    if len(found) < len(rows):
        run.disk.once(
            f"{run.path / name} holds {len(rows) - len(found)} lines twice; each counts once"
        )
    return list(found.values())
