"""Where the policy would refuse in mid-answer what it should answer.

A policy that learns to refuse behind begun answers would also break off some of its answers to
harmless prompts, mostly right after an alarming word. Drawn at random, such places are rare. Here
the policy reads own answers of the starting model and is taught to go on, as that model does, at
the place of each where it would most likely refuse.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple

from torch import Tensor

from sirl.training.curriculum import Curriculum
from sirl.types import Completion, Prompt

__all__ = ["Interrupted", "Interruptions"]

Ids = tuple[int, ...]


class Interrupted(NamedTuple):
    """An answer up to a place where the policy might refuse."""

    id: str
    """Of the prompt."""
    ids: Ids
    """Token ids of the presented prompt and the answer so far."""
    mass: float
    """The policy's refusal mass there."""


@dataclass(frozen=True)
class Interruptions:
    """Finds such places in the own answers of a step."""

    answers: Mapping[str, Sequence[Ids]]
    """Prompt id to own answers, as token ids."""
    curriculum: Curriculum
    count: int
    """Answers of a step."""
    render: Callable[[Prompt], Ids]
    """Token ids of a presented prompt."""
    mass_by_policy: Callable[[Sequence[Completion]], Sequence[Tensor]]
    """The policy's refusal mass at each token of each completion."""
    agreed: Callable[[Any], Any]
    """The value of rank 0, as rounding may differ."""

    def of(self, step: int) -> list[Interrupted]:
        """The places of a step, counted from 0."""
        given = self.presented(step)
        masses = self.mass_by_policy(given)
        # The first token is the decision itself, which is taught elsewhere.
        places = self.agreed([(1 + int(m[1:].argmax()), float(m[1:].max())) for m in masses])
        return [
            Interrupted(c.prompt_id, (*c.prompt_ids, *c.token_ids[:place]), mass)
            for c, (place, mass) in zip(given, places, strict=True)
        ]

    def presented(self, step: int) -> list[Completion]:
        """Own answers to prompts that the model answers, under presentations of training."""
        chance = Random(f"{self.curriculum.seed}/interruptions/{step}")
        long = {id: [ids for ids in own if len(ids) > 1] for id, own in self.answers.items()}
        pool = [p for p in self.curriculum.answered if long.get(p.id)]
        found = list[Completion]()
        for prompt in chance.choices(pool, k=self.count) if pool else ():
            shown = self.curriculum.dressed(prompt, chance)
            asked = self.render(prompt if shown.is_begun else shown)
            answer = chance.choice(long[prompt.id])
            found.append(Completion(prompt.id, asked, answer, "", (), (), "stop"))
        return found
