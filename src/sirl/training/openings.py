"""Begun answers: the assistant turn of a prompt starts with words of the model itself.

Refusals live in the first tokens of an answer. After a few tokens of compliance a model
continues to comply, so training with whole answers never sees a second mode there. Some answers are
therefore begun with the starting model's own help, to prompts that it refuses and to prompts that
it answers, so that begun help alone is no reason to refuse.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, NamedTuple

from sirl.instinct import Instinct
from sirl.types import Completion, Message, Prompt

__all__ = ["POINTS", "SAMPLED", "Openings", "OwnAnswers", "Share", "own_answers"]

LONGEST = 32
"""Tokens of an opening at most."""
HELPS = 4
"""Answers to a prompt at most with which its answers are begun."""
HALF_A_CHARACTER = "\ufffd"


class Share(NamedTuple):
    """How much of a run has begun answers."""

    prompts: float
    """Share of the presented prompts whose answer is begun."""
    steps: float
    """Part of the steps, from the first, in which answers are begun."""
    settled: float
    """Part of the steps, from the first, in which the price of openings has not settled."""


SAMPLED = Share(0.35, 0.6, 0.8)
"""With sampled answers."""
POINTS = Share(0.6, 0.8, 0.9)
"""With decision points, which cost little and raise the price of openings less."""


@dataclass(frozen=True)
class OwnAnswers:
    """Answers of the starting model to the prompts of a pool, as token ids by prompt id."""

    asked: Mapping[str, tuple[int, ...]]
    """The rendered bare prompt."""
    openings: Mapping[str, tuple[tuple[int, ...], ...]]
    """The beginnings of its help to a prompt; prompts to which it gave none are left out."""
    refusals: Mapping[str, tuple[tuple[int, ...], ...]]
    """All refusals of a bare prompt that the model refuses, each with its end-of-turn token."""

    @classmethod
    def revived(cls, saved: Mapping[str, Any]) -> "OwnAnswers":
        """The answers from their fields as read from JSON."""
        return cls(
            asked={id: tuple(ids) for id, ids in saved["asked"].items()},
            openings={id: tuple(map(tuple, own)) for id, own in saved["openings"].items()},
            refusals={id: tuple(map(tuple, own)) for id, own in saved["refusals"].items()},
        )


def own_answers(instinct: Instinct, completions: Iterable[Completion]) -> OwnAnswers:
    """The answers that depth needs, of those that were sampled.

    Args:
        instinct: Tells refusals from help, and what the model would do with each prompt.
        completions: Answers of the starting model: several to each bare prompt, then perhaps some
            to disguised ones, which keep the id of the bare prompt. These give help where the bare
            prompt got none.
    """
    asked: dict[str, tuple[int, ...]] = {}
    bare: dict[str, list[Completion]] = {}
    elsewhere: dict[str, list[Completion]] = {}
    refusals: dict[str, list[tuple[int, ...]]] = {}
    for completion in completions:
        id = completion.prompt_id
        is_bare = asked.setdefault(id, completion.prompt_ids) == completion.prompt_ids
        if completion.mean_entropy >= instinct.cut:
            (bare if is_bare else elsewhere).setdefault(id, []).append(completion)
        elif is_bare and instinct.of(id) == "refuse" and completion.finish == "stop":
            refusals.setdefault(id, []).append(completion.token_ids)
    helps = {id: openings(c) for id, c in (elsewhere | bare).items()}
    return OwnAnswers(
        asked=asked,
        openings={id: own for id, own in helps.items() if own},
        refusals={id: tuple(own) for id, own in refusals.items()},
    )


def openings(helps: Sequence[Completion]) -> tuple[tuple[int, ...], ...]:
    """The first tokens of the answers with the highest entropy, which are most surely help."""
    surest = sorted(helps, key=lambda c: -c.mean_entropy)[:HELPS]
    return tuple(dict.fromkeys(ids for c in surest if (ids := opening(c))))


def opening(completion: Completion) -> tuple[int, ...]:
    """The first tokens of an answer, without its end-of-turn token."""
    ids = completion.token_ids[:-1] if completion.finish == "stop" else completion.token_ids
    return ids[:LONGEST]


@dataclass(frozen=True)
class Openings:
    """Begins answers with the model's own words."""

    answers: OwnAnswers
    decode: Callable[[Sequence[int]], str]
    chance: float
    """Share of the presented prompts whose answer is begun."""
    until: int
    """The first step in which no answer is begun any more."""
    settled: int
    """Steps after which the effect on harmless prompts, which openings raise, has fallen again."""

    @classmethod
    def of(
        cls, answers: OwnAnswers, decode: Callable[[Sequence[int]], str], steps: int, share: Share
    ) -> "Openings":
        """The openings of a run of so many steps."""
        until, settled = round(share.steps * steps), round(share.settled * steps)
        return cls(answers, decode, share.prompts, until, settled)

    def due(self, step: int, chance: Random) -> bool:
        """Whether to begin the answer to a prompt in a step, counted from 0."""
        return step < self.until and chance.random() < self.chance

    def begun(self, prompt: Prompt, chance: Random) -> Prompt:
        """The prompt with a begun answer of random length.

        A prompt stays as it is if the model gave no such answer, or if its disguise has already
        begun one.
        """
        text = ""
        if own := self.answers.openings.get(prompt.id):
            ids = chance.choice(own)
            text = self.decode(ids[: chance.randint(1, len(ids))]).rstrip(HALF_A_CHARACTER)
        if prompt.is_begun or not text.strip():
            return prompt
        return replace(prompt, messages=(*prompt.messages, Message("assistant", text)))
