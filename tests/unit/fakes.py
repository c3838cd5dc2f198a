"""A target, judges and attacks without a model, so that what the arena does is plain to see."""

from dataclasses import dataclass, field

from sirl.evaluation.target import Target, digest, no_pieces, read_as_text
from sirl.types import Attempt, Budget, Completion, Prompt, Verdict

REFUSED, HELPED = "No.", "Yes: first, do it."


@dataclass
class Parrot:
    """Refuses until the prompt holds the magic word; counts what it is asked."""

    magic: str = "please"
    asked: list = field(default_factory=list)

    def sample(self, prompts, *, group=1, **_):
        self.asked += prompts
        return [
            Completion(p.id, (1,), (1, 2), self.answer(p), (-0.1, -0.1), (0.2, 0.4), "stop")
            for p in prompts
            for _ in range(group)
        ]

    def answer(self, prompt):
        return HELPED if self.magic in prompt.request else REFUSED


class WordJudge:
    """Knows the parrot's two answers; cannot score any other."""

    def __init__(self, name="words", question="refusal"):
        self.name, self.question = name, question

    def verdict(self, _, answer):
        labels = {"refusal": ("refusal", "compliance"), "harm": ("harmless", "harmful")}
        safe, unsafe = labels[self.question]
        label = {REFUSED: safe, HELPED: unsafe}.get(answer, "unscored")
        return Verdict(label, {safe: 1.0, unsafe: 0.0}.get(label, float("nan")), "", self.name)


@dataclass(frozen=True)
class Ladder:
    """Asks rung by rung; the magic word is on one of them."""

    rungs: tuple
    name: str = "ladder"
    family: str = "test"
    needs: frozenset = frozenset()
    budget: Budget = Budget(queries=100)

    def tries(self, behaviour, _):
        for rung in self.rungs:
            yield [Attempt(behaviour, self.name, Prompt.user("", text).messages) for text in rung]


def target(engine, identity="weights one", offers=frozenset(), batch_size=4):
    return Target(
        name="target",
        identity=digest(identity),
        engine=lambda _: engine,
        read=read_as_text,
        pieces=no_pieces,
        offers=offers,
        batch_size=batch_size,
        seed=0,
    )


def behaviours(*texts):
    return [Prompt.user(f"b{n}", text) for n, text in enumerate(texts)]
