"""Reads the first-token refusal mass of an evaluated local model."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sirl.analysis.first_tokens import (
    find_refusal_openers,
    first_answers,
    summarise_mass,
)
from sirl.analysis.summary import by_refusal
from sirl.evaluation.suite import ModelResults
from sirl.evaluation.target import Target
from sirl.roles import Progress
from sirl.types import Completion, Message
from sirl.workflows.console import parts

if TYPE_CHECKING:
    from torch import Tensor

    from sirl.models.chat import ChatModel

__all__ = ["read_masses", "refusal_mass"]

TOGETHER = 64
"""Prompts between two reports of progress."""


def refusal_mass(evaluation: ModelResults, target: Target, progress: Progress) -> dict[str, Any]:
    """The figures of `summarise_mass`, read in one forward pass per prompt."""
    openers = find_refusal_openers(evaluation.records)
    searches = {item.attack for item in evaluation.items}
    asked = first_answers(by_refusal(evaluation), searches)
    if openers.reason:
        return summarise_mass(openers, asked, {})
    chat = target.chat
    what, ids = f"first tokens of {target.name}", ids_of(chat, openers.pieces)
    masses = read_masses(chat, [(r.key, r.messages) for r in asked], ids, what, progress)
    return summarise_mass(openers, asked, {key: min(1.0, float(m.sum())) for key, m in masses})


def read_masses(
    chat: "ChatModel",
    prompts: Sequence[tuple[str, Sequence[Message]]],
    openers: Sequence[int],
    what: str,
    progress: Progress,
) -> "Iterator[tuple[str, Tensor]]":
    """The probability of each opener at the first token of an answer, by key of the prompt."""
    from sirl.models.forward import next_logprobs  # noqa: PLC0415 - it needs torch

    for part in parts(what, prompts, TOGETHER, progress):
        asked = [Completion(key, chat.render(m), (), "", (), (), "stop") for key, m in part]
        for (key, _), logprobs in zip(part, next_logprobs(chat, asked), strict=True):
            yield key, logprobs[list(openers)].exp()


def ids_of(chat: "ChatModel", pieces: Sequence[str]) -> list[int]:
    """All tokens that read as one of these pieces alone."""
    known = min(len(chat.tokenizer), chat.rows)
    return [n for n, piece in enumerate(chat.pieces(range(known))) if piece in pieces]
