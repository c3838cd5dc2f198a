"""Reads the first-token refusal mass of an evaluated local model."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sirl.analysis.first_tokens import (
    Openers,
    find_refusal_openers,
    first_answers,
    summarise_mass,
)
from sirl.analysis.summary import by_refusal
from sirl.evaluation.suite import Evaluation
from sirl.evaluation.target import Target
from sirl.roles import Progress
from sirl.types import Completion, Record

if TYPE_CHECKING:
    from sirl.models.chat import ChatModel

__all__ = ["refusal_mass"]

TOGETHER = 64
"""Prompts between two reports of progress."""


def refusal_mass(evaluation: Evaluation, target: Target, progress: Progress) -> dict[str, Any]:
    """The figures of `summarise_mass`, read in one forward pass per prompt."""
    openers = find_refusal_openers(evaluation.records)
    searches = {item.attack for item in evaluation.items}
    asked = first_answers(by_refusal(evaluation), searches)
    masses = {} if openers.reason else read_masses(target, openers, asked, progress)
    return summarise_mass(openers, asked, masses)


def read_masses(
    target: Target, openers: Openers, asked: Sequence[Record], progress: Progress
) -> dict[str, float]:
    """The probability that an answer begins with an opener, by key of its record."""
    from sirl.models.forward import next_logprobs  # noqa: PLC0415 - it needs torch

    chat, what = target.chat, f"first tokens of {target.name}"
    ids = ids_of(chat, openers.pieces)
    found: dict[str, float] = {}
    for start in range(0, len(asked), TOGETHER):
        progress(what, start, len(asked))
        part = asked[start : start + TOGETHER]
        prompts = [Completion("", chat.render(r.messages), (), "", (), (), "stop") for r in part]
        for record, logprobs in zip(part, next_logprobs(chat, prompts), strict=True):
            found[record.key] = min(1.0, float(logprobs[ids].exp().sum()))
    progress(what, len(asked), len(asked))
    return found


def ids_of(chat: "ChatModel", pieces: Sequence[str]) -> list[int]:
    """All tokens that read as one of these pieces alone."""
    known = min(len(chat.tokenizer), chat.rows)
    return [n for n, piece in enumerate(chat.pieces(range(known))) if piece in pieces]
