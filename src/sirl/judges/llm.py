"""Judges that ask a model: a rubric of `rubrics`, and anything that answers conversations.

A call that fails and a reply that cannot be read leave the answer unscored, with the reason: never
safe.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sirl.judges.quoting import LONGEST, TextModel, quoted, script, visible
from sirl.judges.rubrics import Material, Rubric
from sirl.models.thoughts import answer_of
from sirl.types import Attempt, Message, Question, Verdict

__all__ = ["RubricJudge"]


@dataclass(frozen=True)
class RubricJudge:
    """A model that judges by a rubric; satisfies `sirl.roles.BatchJudge`."""

    name: str
    rubric: Rubric
    model: TextModel
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
        found = self.rubric.read(answer_of(reply))
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
    attack = "" if plain else script(attempt.messages)
    texts, mark, note = quoted({"request": request, "attack": attack, "answer": answer}, longest)
    return Material(**texts, mark=mark), note
