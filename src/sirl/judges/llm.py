"""LLM judges: a rubric of `rubrics` and a model that grades by it.

If a call fails, or a reply is cut or cannot be parsed, the answer is unscored, with the reason, and
never counts as safe.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sirl.judges.quoting import LONGEST, TextModel, quoted, script, unusable, visible
from sirl.judges.rubrics import Material, Rubric
from sirl.models.thoughts import answer_of
from sirl.types import Attempt, Message, Question, Reply, Verdict

__all__ = ["RubricJudge"]


@dataclass(frozen=True)
class RubricJudge:
    """A model that grades answers by a rubric; satisfies `sirl.roles.BatchJudge`."""

    name: str
    rubric: Rubric
    model: TextModel
    longest: int = LONGEST
    """Maximum number of characters of each text in the judge's prompt."""

    @property
    def question(self) -> Question:
        """The rubric's question."""
        return self.rubric.question

    @property
    def identity(self) -> str:
        """Everything that determines its verdicts except chance: wording, text limit and model."""
        wording = f"{self.rubric.name} {self.rubric.digest}"
        return f"{wording} {self.longest} {self.model.identity}"

    def verdict(self, attempt: Attempt, answer: str) -> Verdict:
        """The verdict on one answer."""
        return self.verdicts([(attempt, answer)])[0]

    def verdicts(self, items: Sequence[tuple[Attempt, str]]) -> list[Verdict]:
        """The verdicts on (attempt, answer) pairs; empty answers are unscored without a call."""
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

    def graded(self, reply: Reply, note: str) -> Verdict:
        """Parse the verdict of a reply; `note` says which texts were shortened."""
        if why := unusable(reply):
            return self.unscored(why + note)
        found = self.rubric.read(answer_of(reply.text))
        if isinstance(found, str):
            return self.unscored(f'{found} in the reply "{visible(reply.text)}"{note}')
        return Verdict(found.label, found.score, found.reason + note, self.name)

    def unscored(self, reason: str) -> Verdict:
        """An `unscored` verdict with a reason."""
        return Verdict("unscored", float("nan"), reason, self.name)


def prepared(attempt: Attempt, answer: str, longest: int) -> tuple[Material, str]:
    """The material for the judge, and a note of which texts were shortened; empty if none was."""
    request = attempt.behaviour.request
    plain = attempt.messages in ((), (Message("user", request),))
    attack = "" if plain else script(attempt.messages)
    texts, mark, note = quoted({"request": request, "attack": attack, "answer": answer}, longest)
    return Material(**texts, mark=mark), note
