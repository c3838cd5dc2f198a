"""Multiple choice: the model names a letter.

Rows: `question`, `choices` (a list of texts), and `answer`, an index from 0 or a letter.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from sirl.benchmarks.reading import Tasks, Unfit, read_tasks, text_of
from sirl.text import normalised
from sirl.types import Prompt

__all__ = ["Choice", "chosen", "read_choice"]

ASK = "{question}\n\n{choices}\n\nWrite the letter of the right choice alone on the last line."
LEAD = re.compile(
    r"(?:(?:so|therefore|thus|hence),? )?(?:the |my )?(?:(?:final|right|correct|best) )?"
    r"(?:answer|choice|option)(?: is:?|:) *",
    re.IGNORECASE,
)
LETTER = re.compile(r"\(?(?P<letter>[A-Z])(?:[).:]+ *(?P<text>.*))?", re.IGNORECASE)
MARKUP = str.maketrans("", "", "*_`")


@dataclass(frozen=True)
class Question:
    """The choices and the letter of the right one."""

    choices: tuple[str, ...]
    right: str


@dataclass(frozen=True)
class Choice:
    """An answer is correct if it names the right letter; satisfies `sirl.roles.Benchmark`."""

    name: str
    tasks: Tasks[Question]

    def prompts(self) -> list[Prompt]:
        """The questions with their choices."""
        return list(self.tasks.prompts)

    def correct(self, prompt: Prompt, answer: str) -> bool:
        """Whether the letter of the answer is right; an answer without a letter is wrong."""
        question = self.tasks.keys[prompt.id]
        return chosen(answer, question.choices) == question.right


def read_choice(path: Path, *, strict: bool = False) -> Choice:
    """Read the multiple-choice questions of a file.

    Raises:
        InputError: The file has no valid row or, when strict, an invalid one.
    """
    return Choice(path.stem, read_tasks(path, parse, strict=strict))


def parse(fields: Mapping[str, Any]) -> tuple[str, Question]:
    """The text of a question with its choices, and the right letter."""
    question = text_of(fields, "question").strip()
    choices = fields.get("choices")
    if not isinstance(choices, list) or not 2 <= len(choices) <= len(ascii_uppercase):
        raise Unfit("choices is not a list of 2 to 26 texts")
    if not all(isinstance(c, str) and c.strip() for c in choices):
        raise Unfit("a choice is empty or not text")
    texts = tuple(c.strip() for c in choices)
    letters = ascii_uppercase[: len(texts)]
    lines = "\n".join(f"{letter}. {text}" for letter, text in zip(letters, texts, strict=True))
    right = right_letter(fields.get("answer"), letters)
    return ASK.format(question=question, choices=lines), Question(texts, right)


def right_letter(answer: object, letters: str) -> str:
    """The right letter of a row, given as an index from 0 or as a letter."""
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(letters):
        return letters[answer]
    if isinstance(answer, str) and len(answer.strip()) == 1 and answer.strip().upper() in letters:
        return answer.strip().upper()
    raise Unfit(f"answer is neither an index from 0 to {len(letters) - 1} nor one of {letters}")


def chosen(answer: str, choices: tuple[str, ...]) -> str | None:
    r"""The letter on the last line; None if there is none.

    The line may also have words like 'the answer is', brackets, a full stop, emphasis, and the
    exact text of the choice after its letter, but nothing else.

    >>> chosen("Paris is in France.\nThe answer is **(B)**.", ("Oslo", "Paris"))
    'B'
    >>> chosen("B. Paris", ("Oslo", "Paris"))
    'B'
    >>> chosen("A or B", ("Oslo", "Paris"))
    """
    lines = [line for line in answer.translate(MARKUP).splitlines() if line.strip()]
    last = lines[-1].strip() if lines else ""
    found = LETTER.fullmatch(LEAD.sub("", last, count=1) if LEAD.match(last) else last)
    if found is None:
        return None
    place = ascii_uppercase.index(found["letter"].upper())
    if place >= len(choices):
        return None
    said = (found["text"] or "").strip()
    right = normalised(choices[place].translate(MARKUP)).rstrip(".")
    if said and normalised(said).rstrip(".") != right:
        return None
    return ascii_uppercase[place]
