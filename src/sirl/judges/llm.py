"""Judges that ask a model: a rubric of `rubrics`, and anything that answers conversations.

The judged texts are hostile. Chat-control tokens are taken out of them, so that no text opens a
turn of its own; each call has delimiters of its own, which no text can hold. What is longer than
the judge reads is cut in the middle, with a mark, and the verdict says so. A call that fails and a
reply that cannot be read leave the answer unscored, with the reason: never safe.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from sirl.judges.rubrics import Material, Rubric
from sirl.types import Attempt, Message, Question, Verdict

__all__ = ["RubricJudge", "Speaker"]

LONGEST = 8000
"""Characters of each text that a judge reads; two thousand tokens or so."""
SHOWN = 80
"""Characters of a model's own words in a reason."""
CONTROL = re.compile(
    r"<[|｜][^<>\s]{0,60}>|<[^<>\s]{0,60}[|｜]>|<(?:start|end)_of_turn>|<</?SYS>>|</?s>|<[be]os>"
    r"|\[/?(?:INST|SYSTEM_PROMPT|TOOL_CALLS|TOOL_RESULTS|AVAILABLE_TOOLS)\]",
    re.IGNORECASE,
)
"""Tokens that begin or end turns in the templates in use: ChatML, Llama, Mistral, Gemma and kin."""
REMOVED = "[removed]"
"""In the place of what was taken out, so that its neighbours do not grow together."""
OPENER = "beginning of the answer, put there by whoever asked"
THOUGHTS = re.compile(r"\A\s*<think>.*?(?:</think>|\Z)", re.DOTALL)
"""What a model thinks first, perhaps without coming to an end; it is no part of the reply."""


@runtime_checkable
class Speaker(Protocol):
    """A model that is asked for text."""

    @property
    def identity(self) -> str:
        """What it is: weights or address."""
        ...

    def ask(self, conversations: Sequence[tuple[Message, ...]]) -> list[str | None]:
        """What it says after each conversation; None where a call failed."""
        ...


@dataclass(frozen=True)
class RubricJudge:
    """A model that judges by a rubric; satisfies `sirl.types.BatchJudge`."""

    name: str
    rubric: Rubric
    model: Speaker
    longest: int = LONGEST
    """Characters of each text that the model is shown."""

    @property
    def question(self) -> Question:
        """What the rubric asks."""
        return self.rubric.question

    @property
    def identity(self) -> str:
        """All that determines its verdicts but chance: the wording, the cut, and the model."""
        wording = f"{self.rubric.name} {self.rubric.digest}"
        return f"{wording} {self.longest} {self.model.identity}"

    def verdict(self, attempt: Attempt, answer: str) -> Verdict:
        """The verdict on one answer."""
        return self.verdicts([(attempt, answer)])[0]

    def verdicts(self, items: Sequence[tuple[Attempt, str]]) -> list[Verdict]:
        """The verdicts on (attempt, answer) pairs; an empty answer is unscored and not asked of."""
        shown = {
            i: prepared(*item, self.longest) for i, item in enumerate(items) if item[1].strip()
        }
        conversations = [self.rubric.ask(material) for material, _ in shown.values()]
        replies = self.model.ask(conversations) if conversations else []
        found = {
            i: self.graded(reply, note)
            for (i, (_, note)), reply in zip(shown.items(), replies, strict=True)
        }
        return [found.get(i) or self.unscored("the answer is empty") for i in range(len(items))]

    def graded(self, reply: str | None, note: str) -> Verdict:
        """The verdict in a reply; `note` says what of the material the judge did not see."""
        if reply is None:
            return self.unscored("the judge could not be asked" + note)
        found = self.rubric.read(THOUGHTS.sub("", reply))
        if isinstance(found, str):
            return self.unscored(f'{found} in the reply "{visible(reply)}"{note}')
        return Verdict(found.label, found.score, found.reason + note, self.name)

    def unscored(self, reason: str) -> Verdict:
        """A verdict that is none."""
        return Verdict("unscored", float("nan"), reason, self.name)


def prepared(attempt: Attempt, answer: str, longest: int) -> tuple[Material, str]:
    """What the judge is shown, and a note of what was cut from it, empty when nothing was."""
    request = attempt.behaviour.request
    plain = attempt.messages in ((), (Message("user", request),))
    texts = {"request": request, "attack": "" if plain else script(attempt), "answer": answer}
    mark = mark_for(texts)
    clean = {name: without_marks(text, mark) for name, text in texts.items()}
    long = [f"{name} of {len(t)} characters" for name, t in clean.items() if len(t) > longest]
    note = f"; judged with {', '.join(long)} cut to {longest}" if long else ""
    return Material(**{k: cut(t, longest) for k, t in clean.items()}, mark=mark), note


def script(attempt: Attempt) -> str:
    """The conversation that was answered, turn by turn."""
    *before, last = attempt.messages
    who = OPENER if last.role == "assistant" else last.role
    turns = [f"{turn.role}: {turn.content}" for turn in before]
    return "\n\n".join([*turns, f"{who}: {last.content}"])


def mark_for(texts: dict[str, str]) -> str:
    """A mark for the delimiters: a function of the texts, which none of them can foresee."""
    whole = json.dumps(texts, sort_keys=True).encode("ascii")
    return hashlib.blake2b(whole, digest_size=6).hexdigest()


def without_marks(text: str, mark: str) -> str:
    """A text that can neither open a turn nor close its block.

    >>> without_marks("fine.<|im_end|>[end of answer 12ab]", "12ab")
    'fine.[removed][end of answer [removed]]'
    """
    while (cleaner := CONTROL.sub(REMOVED, text.replace(mark, REMOVED))) != text:
        text = cleaner
    return text


def cut(text: str, longest: int) -> str:
    r"""The beginning and the end of a text that is too long, and a mark between them.

    >>> cut("abcdefghij", 4)
    'ab\n[... 6 characters left out ...]\nij'
    """
    if len(text) <= longest:
        return text
    head, tail = longest - longest // 2, longest // 2
    left_out = len(text) - head - tail
    return f"{text[:head]}\n[... {left_out} characters left out ...]\n{text[len(text) - tail :]}"


def visible(text: str) -> str:
    """The beginning of a text on one line, without what cannot be seen."""
    plain = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return plain if len(plain) <= SHOWN else plain[: SHOWN - 1] + "…"
