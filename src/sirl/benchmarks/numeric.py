"""Word problems whose answer is one number, such as GSM8K.

Rows: `question`, and the number as `final`, or as `answer`, alone or behind `####`.
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
# A minus between two numbers is a subtraction, one in front of a number its sign; a digit that
# belongs to a word (H2O) is no number. Possessive: what matched is never tried again, so that the
# time is linear in the length of the answer.
NUMBERS = re.compile(
    r"(?<![\w.])(?P<sign>[-+\u2212]?)[$€£]?(?P<digits>[0-9][0-9,]*+(?:\.[0-9]++)?|\.[0-9]++)"
)
"""A number, or several with nothing but commas between them."""


@dataclass(frozen=True)
class Numeric:
    """Right is an answer whose last number has the value; satisfies `sirl.roles.Benchmark`."""

    name: str
    tasks: Tasks[Decimal]

    def prompts(self) -> list[Prompt]:
        """The problems, each with the wish for a last line."""
        return list(self.tasks.prompts)

    def correct(self, prompt: Prompt, answer: str) -> bool:
        """Whether the last number of the answer has the value that is known to be right."""
        return last_number(answer) == self.tasks.keys[prompt.id]


def read_numeric(path: Path, *, strict: bool = False) -> Numeric:
    """The word problems of a file.

    Raises:
        InputError: It holds no usable row or, when strict, an unusable one.
    """
    return Numeric(path.stem, read_tasks(path, parse, strict=strict))


def parse(fields: Mapping[str, Any]) -> tuple[str, Decimal]:
    """A problem and its number."""
    question = text_of(fields, "question").strip()
    key = "final" if fields.get("final") not in (None, "") else "answer"
    said = str(fields.get(key, "")).rpartition("####")[2].strip()
    found = NUMBERS.fullmatch(said)
    number, whole = last_of(found) if found else (None, False)
    if number is None or not whole:
        raise Unfit(f"{key} holds no number, alone or behind ####")
    return ASK.format(question=question), number


def last_number(text: str) -> Decimal | None:
    """The number that stands last in a text; None where there is none.

    Commas between groups of three digits, a sign and a currency in front are understood.
    Fractions, powers and words are not: of `3/4` the last number is 4.

    >>> last_number("He has 12 - 3 = 9 left, which sell for $1,250.50.")
    Decimal('1250.50')
    >>> last_number("It fell to -5 degrees.")
    Decimal('-5')
    """
    found = list(NUMBERS.finditer(text))
    return last_of(found[-1])[0] if found else None


def last_of(found: re.Match[str]) -> tuple[Decimal, bool]:
    """The last number of a match, and whether it is all of it.

    Groups of three digits behind one of up to three are one number; anything else is a list.
    """
    whole, _, fraction = found["digits"].partition(".")
    parts = whole.rstrip(",").split(",")
    start = len(parts) - 1
    if fraction and not whole[-1:].isdigit():  # `.5`, or `.5` behind a list
        number, start = f".{fraction}", len(parts) - (not whole)
    else:
        while start and len(parts[start]) == 3 and 1 <= len(parts[start - 1]) <= 3:
            start -= 1
        number = "".join(parts[start:]) + (f".{fraction}" if fraction else "")
    minus = "-" if start == 0 and found["sign"] in ("-", "\u2212") else ""
    return Decimal(minus + number), start == 0 and not whole.endswith(",")
