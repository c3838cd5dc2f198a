"""Records on the disk: one line per answer, found again by what determines it.

A record's key is a hash of the target's identity, the prompt as it is read, the sampling and
the item, so that nothing stale is ever taken for an answer of weights that have moved since. A
search on one behaviour that has come to its end leaves a line in `items.jsonl`; one that was
killed is played again from the answers it had already got.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sirl.runs import Run
from sirl.types import Message, Record, Sampling

__all__ = [
    "ITEMS",
    "RECORDS",
    "Item",
    "Log",
    "RecordLog",
    "read_items",
    "read_record",
    "read_records",
]

RECORDS, ITEMS = "records.jsonl", "items.jsonl"


@dataclass(frozen=True)
class Item:
    """An attack on one behaviour that has come to its end."""

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
    """Settings that the target does not take, and what says so."""


class Log:
    """The records of one model, in memory alone."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.items: dict[str, Item] = {}

    def add(self, records: Sequence[Record]) -> None:
        """Keep records."""
        self.records |= {r.key: r for r in records}

    def finish(self, item: Item) -> None:
        """Keep that a search has come to its end."""
        self.items[item.key] = item


class RecordLog(Log):
    """The records of one model in a run folder; append-only while an evaluation runs."""

    def __init__(self, run: Run, model: str) -> None:
        super().__init__()
        self.run = run
        rows, items = run.rows(RECORDS), run.rows(ITEMS)
        self.records = {r["key"]: read_record(r) for r in rows if r["model"] == model}
        self.items = {i["key"]: read_item(i) for i in items if i["model"] == model}

    def add(self, records: Sequence[Record]) -> None:
        """Write records in one go."""
        if records:
            self.run.append(RECORDS, *(asdict(r) for r in records))
        super().add(records)

    def finish(self, item: Item) -> None:
        """Write that a search has come to its end."""
        self.run.append(ITEMS, asdict(item))
        super().finish(item)


def read_record(row: Mapping[str, Any]) -> Record:
    """A record from its line."""
    nan = float("nan")
    filled: dict[str, Any] = {
        **row,
        "messages": tuple(Message(**m) for m in row["messages"]),
        "sampling": Sampling(**row["sampling"]),
        **{name: tuple(row[name]) for name in ("entropies", "pieces", "trace")},
    }
    filled |= {k: nan for k in ("score", "mean_entropy") if row[k] is None}
    return Record(**filled)


def read_item(row: Mapping[str, Any]) -> Item:
    """A finished search from its line."""
    return Item(**{**row, "records": tuple(row["records"])})


def read_records(run: Run) -> list[Record]:
    """All records of a run."""
    return [read_record(row) for row in run.rows(RECORDS)]


def read_items(run: Run) -> list[Item]:
    """All finished searches of a run."""
    return [read_item(row) for row in run.rows(ITEMS)]
