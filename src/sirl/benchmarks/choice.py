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
LETTER = r"[(\[]?(?P<letter>[A-Za-z])(?P<mark>[)\].:]*)(?!\w|'\w)"
BOX = "\u25a1"
"""Stands for what LaTeX draws a box around."""
BOXED = re.compile(r"boxed\{(?:(?:text|math)\w*\{)?([^{}]*)\}+")
BARE = re.compile(rf"\W*?(?:(?:option|choice|answer|letter) )?{LETTER}", re.IGNORECASE)
"""A letter at the beginning of a line."""
STATED = re.compile(
    rf"(?:{BOX}|(?:^|[.!?]\s{{1,9}}|, (?=so|therefore|thus|hence))[^\w\n]{{0,9}}"
    r"(?:(?:so|therefore|thus|hence),? )?"
    r"(?:i (?:choose|pick|select)|(?:the |my )?(?:(?:final|right|correct|best) )?"
    r"(?:answer|choice|option)(?: is:?|:)) *"
    rf"(?:(?:the )?(?:option|choice|answer|letter) )?{BOX}?){LETTER}",
    re.IGNORECASE | re.MULTILINE,
)
"""A letter that a sentence calls the answer."""
REASON = re.compile(r"[\s,;\u2013\u2014-]*(?:because|since|not|rather than)\b", re.IGNORECASE)
CORRECT = re.compile(
    r" is (?:the )?(?:right|correct|best)(?: (?:answer|choice|option|one))?(?=[.!,]|$)",
    re.IGNORECASE,
)
MARKUP = str.maketrans("", "", "*_`$\\")


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
    r"""The letter that an answer ends with; None if there is none.

    The last line may have words like 'the answer is', brackets, a full stop, emphasis, the exact
    text of the choice after its letter, and a reason. If it has no letter, the last sentence that
    calls a letter the answer counts, or the last box, unless another letter is named behind it.

    >>> chosen("Paris is in France.\nThe answer is **(B)**.", ("Oslo", "Paris"))
    'B'
    >>> chosen("B. Paris", ("Oslo", "Paris"))
    'B'
    >>> chosen(r"It is \boxed{B}. I hope this helps.", ("Oslo", "Paris"))
    'B'
    >>> chosen("A or B", ("Oslo", "Paris"))
    """
    text = BOXED.sub(rf"{BOX}\1", answer.translate(MARKUP)).rstrip()
    bare = BARE.match(text, text.rfind("\n") + 1)
    *_, stated = [None, *STATED.finditer(text)]
    for found in (bare, stated):
        if found and (letter := letter_of(found, text[found.end() :], choices, found is stated)):
            return letter
    return None


def letter_of(
    found: re.Match[str], behind: str, choices: tuple[str, ...], stated: bool
) -> str | None:
    """The letter of a match, if what stands behind it neither adds to it nor contradicts it."""
    letter, mark = found["letter"].upper(), found["mark"]
    place = ascii_uppercase.index(letter)
    if place >= len(choices):
        return None
    texts = [normalised(choice.translate(MARKUP)).rstrip(".") for choice in choices]
    line, _, later = behind.partition("\n")
    said = normalised(line).strip(" .)")
    if mark and said == texts[place].strip(" .)"):
        line = said = ""
    others = ascii_uppercase[: len(choices)].replace(letter, "")
    if re.search(named(others), f"{line}\n{later}"):
        return None
    if mark and said and any(begins(said, other) for other in texts):
        return None
    reason = (stated or mark) and REASON.match(line)
    sentence = stated and "." in mark
    return letter if not said or reason or sentence or CORRECT.match(line) else None


def begins(text: str, words: str) -> bool:
    """Whether a text begins with these whole words."""
    return re.match(rf"{re.escape(words)}(?!\w)", text) is not None


def named(letters: str) -> str:
    """Pattern of one of these letters as a choice: a capital alone, not an article or pronoun."""
    return rf"(?<![\w'])(?![AI] (?!is |or |and |was )[a-z])[{letters}](?![\w'])"
