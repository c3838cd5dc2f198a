"""Finds which rows a file labels as safe or unsafe, and which columns may be labels unread."""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from sirl.prompts.files import folded_name, shown
from sirl.text import many

__all__ = ["LABEL_KEYS", "Fields", "Labels", "Wanted"]

Fields = Mapping[str, tuple[str, Any]]
"""Original name and value, by folded name."""
Wanted = Literal["safe", "unsafe"]

LABEL_KEYS = ("label", "promptlabel", "promptharmlabel", "safety", "safetylabel")
WORDS: Mapping[str, Wanted] = {
    "safe": "safe", "harmless": "safe", "benign": "safe", "unharmful": "safe",
    "unsafe": "unsafe", "harmful": "unsafe", "malicious": "unsafe",
}  # fmt: skip
"""Values of a label."""
LABELLING = re.compile(
    r"safe|harm|toxic|label|malicious|benign|jailbreak|verdict|refus|^class$|^expected", re.I
)
"""Names of columns that may label rows, whatever their values are."""
SURE, WEAK = 2, 1
MEANINGS: Mapping[int, re.Pattern[str]] = {
    SURE: re.compile(
        r"unsafe|harmful|malicious|toxic|contrast|jailbreaks?|refus(e[ds]?|als?)|reject(ed|s)?"
    ),
    -SURE: re.compile(r"safe|harmless|benign|unharmful|innocuous|compl(y|ie[ds]|iance|iant)"),
    WEAK: re.compile(
        r"adversarial|attack|bad|dangerous|harm|hateful|illegal|disallowed|forbidden|prohibited"
    ),
    -WEAK: re.compile(
        r"accept(able)?|allow(ed)?|answer(ed|s)?|clean|control|fine|good|helps?|neutral|normal|ok|ordinary"
        r"|regular|vanilla"
    ),
}
"""Words of values, positive for harmful; a weak one counts only beside a sure one of the other
sign. Names of topics, such as `harassment`, are left out: they say nothing about the row."""
FEW = 32
"""Maximum number of different values of a column that labels rows."""
SHORT = 40
"""Maximum characters of a value that labels its row."""
LISTED = 4
"""Values that a note lists."""


def meaning(value: str) -> int:
    """Whether a value means harmful (positive) or harmless (negative), and how surely.

    >>> meaning("contrast_homonyms"), meaning("Not harmful"), meaning("normal"), meaning("poems")
    (2, -2, -1, 0)
    """
    if len(value) > SHORT:
        return 0
    words = re.findall(r"[^\W\d_]+", re.sub(r"\bnon", "not ", value.casefold()))
    found = (m for word in words for m, p in MEANINGS.items() if p.fullmatch(word))
    strongest = max(found, key=lambda m: (abs(m), m), default=0)
    return -strongest if {"no", "not"} & {*words} else strongest


class Labels:
    """What the labels of a file say about its rows, and the columns that may be labels unread."""

    def __init__(self, path: Path, wanted: Wanted | None) -> None:
        self.path, self.wanted = path, wanted
        self.unwanted = 0
        self.unclear: dict[str, None] = {}
        """Labels that mean neither safe nor unsafe."""
        self.values: dict[str, Counter[str]] = {}
        """Number of used rows by value, of each column that is not read as a label."""

    def fault(self, fields: Fields) -> str:
        """Why a row is rejected by its label; empty if it is not."""
        for label in (fields[k][1] for k in LABEL_KEYS if k in fields):
            known = WORDS.get(label.strip().casefold()) if isinstance(label, str) else None
            if known is None and label not in (None, ""):
                self.unclear[shown(str(label))] = None
            if self.wanted and known not in (None, self.wanted):
                self.unwanted += 1
                return f"its label is {label.strip()}, and {self.wanted} prompts are expected"
        return ""

    def count(self, fields: Fields, read: Collection[str]) -> None:
        """Count the values of a used row, except those of the columns `read`, by folded name."""
        for key, (name, value) in fields.items():
            if key in read or (self.wanted and key in LABEL_KEYS):
                continue
            if isinstance(value, str | int | float) and (text := str(value).strip()):
                values = self.values.setdefault(name, Counter())
                # One more than a few shows that the column has too many.
                if text in values or len(values) <= FEW:
                    values[text] += 1

    def notes(self) -> tuple[str, ...]:
        """Warnings about labels in the file."""
        notes = []
        if self.unwanted:
            other = "unsafe" if self.wanted == "safe" else "safe"
            rows = many(self.unwanted, f"row of {self.path} is", f"rows of {self.path} are")
            notes.append(
                f"{rows} labelled {other} and skipped, since {self.wanted} prompts are expected"
            )
        if self.wanted and self.unclear:
            few = ", ".join(list(self.unclear)[:5])
            notes.append(
                f"labels of {self.path} are neither safe nor unsafe ({few}): they are ignored"
            )
        if unread := [name for name in self.values if self.may_label(name)]:
            few = ", ".join(f"{shown(name)}{listed(self.values[name])}" for name in unread[:5])
            one = "is not read as a label" if len(unread) == 1 else "are not read as labels"
            use = "; to use one, name it label and its values safe and unsafe"
            notes.append(
                f"{few} of {self.path} may label harmful rows, but {one}: all rows are used"
                f"{use if self.wanted else ''}"
            )
        return tuple(notes)

    def may_label(self, name: str) -> bool:
        """Whether a column may label harmful rows, by its name or its values."""
        named = LABELLING.search(name) and folded_name(name) not in LABEL_KEYS
        return bool(named) or self.tells(self.values[name])

    def tells(self, values: Counter[str]) -> bool:
        """Whether values tell harmful rows from harmless ones, or are all of the unwanted kind."""
        if len(values) > FEW:
            return False
        if any(f"contrast_{value}" in values for value in values):  # as XSTest's types
            return True
        found = {meaning(value) for value in values}
        if min(found) < 0 < max(found):
            return SURE in map(abs, found)
        return found == {SURE if self.wanted == "safe" else -SURE} and self.wanted is not None


def listed(values: Counter[str]) -> str:
    """The number of harmful rows, where values tell, and the commonest values with their numbers.

    >>> listed(Counter(harmful=3, benign=2))
    ' (3 of 5: harmful 3, benign 2)'
    """
    if len(values) > FEW:
        return ""
    harmful = sum(n for value, n in values.items() if meaning(value) > 0)
    order: Sequence[str] = sorted(values, key=lambda value: (-meaning(value), -values[value]))
    few = ", ".join(f"{shown(value)} {values[value]:,}" for value in order[:LISTED])
    more = ", ..." if len(order) > LISTED else ""
    return f" ({f'{harmful:,} of {values.total():,}: ' if harmful else ''}{few}{more})"
