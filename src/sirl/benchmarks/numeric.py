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
# belongs to a word (H2O) is no number.
NUMBER = re.compile(
    r"(?<![\w.])(?P<sign>[-+\u2212]?)[$€£]?"
    r"(?P<digits>[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?(?![0-9,]*[0-9])|[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"
)


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
    number = NUMBER.fullmatch(said)
    if number is None:
        raise Unfit(f"{key} holds no number, alone or behind ####")
    return ASK.format(question=question), value(number)


def last_number(text: str) -> Decimal | None:
    """The number that stands last in a text; None where there is none.

    Commas between groups of three digits, a sign and a currency in front are understood.
    Fractions, powers and words are not: of `3/4` the last number is 4.

    >>> last_number("He has 12 - 3 = 9 left, which sell for $1,250.50.")
    Decimal('1250.50')
    >>> last_number("It fell to -5 degrees.")
    Decimal('-5')
    """
    numbers = list(NUMBER.finditer(text))
    return value(numbers[-1]) if numbers else None


def value(number: re.Match[str]) -> Decimal:
    """What a match is worth."""
    minus = "-" if number["sign"] in ("-", "\u2212") else ""
    return Decimal(minus + number["digits"].replace(",", ""))
