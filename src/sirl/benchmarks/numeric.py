"""Word problems with a number as the answer, such as GSM8K.

Rows: `question`, and the number in `final` or `answer`, alone or after `####`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from sirl.benchmarks.reading import Tasks, Unfit, read_tasks, text_of
from sirl.types import Prompt

__all__ = ["Numeric", "last_number", "read_numeric"]

ASK = "{question}\n\nThink step by step, then write the final number alone on the last line."
# A minus between two numbers is a subtraction, one before a number is its sign; a digit inside a
# word (H2O) is not a number. Possessive quantifiers avoid backtracking, so that the time is linear
# in the length of the answer.
NUMBERS = re.compile(
    r"(?<![\w.])(?P<sign>[-+\u2212]?)\\?[$€£]?"
    r"(?P<digits>[0-9][0-9,]*+(?:\.[0-9]++)?|\.[0-9]++)"
    r"(?:e(?P<power>[-+\u2212]?[0-9]{1,3})(?!\w)"
    r"| ?(?:[x×*·]|\\times|\\cdot) ?10(?:\^|\*\*)\{?"
    r"(?P<ten>[-+\u2212]?[0-9]{1,3})(?!\w)\}?)?",
    re.IGNORECASE,
)
"""A number, or several separated only by commas."""
SEPARATOR = re.compile(
    r"(?<=[0-9])(?:[\u00a0\u2007\u2009\u202f'\u2019_]|\{,\}|\\[,;:])(?=[0-9]{3}(?![0-9]))"
)
"""Other separators of thousands: blanks that do not break, apostrophes, and those of LaTeX."""


@dataclass(frozen=True)
class Numeric:
    """An answer is correct if its last number is right; satisfies `sirl.roles.Benchmark`."""

    name: str
    tasks: Tasks[Decimal]

    def prompts(self) -> list[Prompt]:
        """The problems, each with the request for a last line with the number."""
        return list(self.tasks.prompts)

    def correct(self, prompt: Prompt, answer: str) -> bool:
        """Whether the last number of the answer has the right value."""
        return last_number(answer) == self.tasks.keys[prompt.id]


def read_numeric(path: Path, *, strict: bool = False) -> Numeric:
    """Read the word problems of a file.

    Raises:
        InputError: The file has no valid row or, when strict, an invalid one.
    """
    return Numeric(path.stem, read_tasks(path, parse, strict=strict))


def parse(fields: Mapping[str, Any]) -> tuple[str, Decimal]:
    """The text of a problem and its number."""
    question = text_of(fields, "question").strip()
    key = "final" if fields.get("final") not in (None, "") else "answer"
    said = str(fields.get(key, "")).rpartition("####")[2].strip()
    found = NUMBERS.fullmatch(SEPARATOR.sub(",", said))
    number, whole = last_of(found) if found else (None, False)
    if number is None or not whole:
        raise Unfit(f"{key} has no number, alone or after ####")
    return ASK.format(question=question), number


def last_number(text: str) -> Decimal | None:
    """The last number in a text; None if there is none.

    Thousands separators, a sign, a currency symbol and powers of ten (`1e5`, `2 x 10^5`) are
    understood. Fractions, other powers and number words are not: the last number of `3/4` is 4.

    >>> last_number("He has 12 - 3 = 9 left, which sell for $1,250.50.")
    Decimal('1250.50')
    >>> last_number("It fell to -5 degrees.")
    Decimal('-5')
    """
    found = list(NUMBERS.finditer(SEPARATOR.sub(",", text)))
    return last_of(found[-1])[0] if found else None


def last_of(found: re.Match[str]) -> tuple[Decimal, bool]:
    """The last number of a match, and whether it is the whole match.

    Up to three digits followed by groups of three are one number; anything else is a list.
    """
    whole, _, fraction = found["digits"].partition(".")
    parts = whole.rstrip(",").split(",")
    start = len(parts) - 1
    if fraction and not whole[-1:].isdigit():  # `.5`, or `.5` after a list
        number, start = f".{fraction}", len(parts) - (not whole)
    else:
        while start and len(parts[start]) == 3 and 1 <= len(parts[start - 1]) <= 3:
            start -= 1
        number = "".join(parts[start:]) + (f".{fraction}" if fraction else "")
    minus = "-" if start == 0 and found["sign"] in ("-", "\u2212") else ""
    power = (found["power"] or found["ten"] or "0").replace("\u2212", "-")
    return Decimal(f"{minus}{number}e{power}"), start == 0 and not whole.endswith(",")
