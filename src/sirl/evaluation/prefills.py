"""Requests with the first tokens of a compliant answer as prefill, at several depths.

`own_prefill` begins with the model's own help: the longest answer to the request that broke the
defence in this evaluation. `target_prefill` begins with the target prefix of the behaviour, which
the user gives. Their answers are records of the kind `prefill` and not part of the attack rates.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from sirl.evaluation.asked import Query
from sirl.evaluation.target import Target
from sirl.types import OWN_PREFILL, Attempt, Message, Prompt, Record

__all__ = ["DEPTHS", "Help", "begun", "longest", "prefill_queries", "untold"]

DEPTHS = (1, 2, 4, 8, 16, 24, 48, 100)
"""Tokens that an answer is begun with."""


class Help(NamedTuple):
    """A compliant answer to an unsafe request."""

    behaviour_id: str
    tokens: int
    text: str


def prefill_queries(
    name: str,
    behaviours: Sequence[Prompt],
    target: Target,
    answers: Sequence[Record],
    openers: Mapping[str, str],
) -> list[Query]:
    """The questions of a curve: each behaviour at the depths that its compliant answer has.

    Args:
        name: One of `PREFILLS`.
        behaviours: What is asked.
        target: A local model, whose tokens are counted.
        answers: Its judged answers so far.
        openers: Target prefix by behaviour id.
    """
    texts = own_help(answers) if name == OWN_PREFILL else openers
    return [
        query
        for behaviour in behaviours
        if (text := texts.get(behaviour.id))
        for query in begun(name, behaviour, text, target)
        if not target.read(query.prompt).fault
    ]


def untold(name: str) -> str:
    """Why a curve has no question."""
    if name == OWN_PREFILL:
        return "no attack made the model help, so that there is no answer to begin with"
    return "no behaviour has a target prefix: give --targets"


def own_help(answers: Sequence[Record]) -> dict[str, str]:
    """The longest help of the model itself, by behaviour id; none to answers that were begun."""
    return longest(
        Help(record.behaviour_id, record.tokens, record.completion)
        for record in answers
        if record.kind == "attack" and record.broke and record.messages[-1].role != "assistant"
    )


def longest(found: Iterable[Help]) -> dict[str, str]:
    """The text of the longest help with each behaviour; of equally long ones the first."""
    best: dict[str, Help] = {}
    for own in found:
        before = best.get(own.behaviour_id)
        if before is None or own.tokens > before.tokens:
            best[own.behaviour_id] = own
    return {behaviour_id: own.text for behaviour_id, own in best.items()}


def begun(
    name: str, behaviour: Prompt, text: str, target: Target, depths: Sequence[int] = DEPTHS
) -> Iterator[Query]:
    """The request with an answer begun with the first tokens of a text, at each depth it has."""
    ids = target.chat.encode(text)
    goes_on = int(
        name == OWN_PREFILL
    )  # behind the whole of an own answer there is nothing left to say
    for depth in depths:
        start = target.chat.decode(ids[:depth]).rstrip("\ufffd")
        if len(ids) >= depth + goes_on and start.strip():
            attack = f"{name}_{depth}"
            turns = (*behaviour.messages, Message("assistant", start))
            yield Query("prefill", attack, name, Attempt(behaviour, attack, turns))
