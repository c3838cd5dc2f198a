"""Teacher-forced forward passes: log-probabilities and entropies of given completions.

Rows are padded so that completions begin in the same column: prompts on the left, completions
on the right. Only the logits of completion positions are asked for, a micro-batch at a time.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sirl.entropy import TokenNumbers, token_logprobs, token_numbers
from sirl.models.loading import ChatModel
from sirl.types import Completion, Message

__all__ = [
    "Batch",
    "answer_likelihoods",
    "completion_logprobs",
    "micro_batches",
    "pad",
    "score",
    "score_logprobs",
]


class Batch(NamedTuple):
    """Padded completions; `seq` counts completion positions only."""

    input_ids: Tensor
    """rows x (prompt + seq)."""
    is_token: Tensor
    """rows x (prompt + seq): not padding."""
    token_ids: Tensor
    """rows x seq."""
    is_completion: Tensor
    """rows x seq. The end-of-turn token counts even where it shares its id with the padding."""


def pad(completions: Sequence[Completion], chat: ChatModel) -> Batch:
    """The completions as one batch, prompts left-padded, completions right-padded."""
    prompt = max(len(c.prompt_ids) for c in completions)
    seq = max(len(c.token_ids) for c in completions)
    input_ids = torch.full((len(completions), prompt + seq), chat.pad_id)
    is_token = torch.zeros_like(input_ids, dtype=torch.bool)
    for row, c in enumerate(completions):
        start, end = prompt - len(c.prompt_ids), prompt + len(c.token_ids)
        input_ids[row, start:end] = torch.tensor([*c.prompt_ids, *c.token_ids])
        is_token[row, start:end] = True
    input_ids, is_token = input_ids.to(chat.device), is_token.to(chat.device)
    return Batch(input_ids, is_token, input_ids[:, prompt:], is_token[:, prompt:])


def completion_logits(chat: ChatModel, batch: Batch) -> Tensor:
    """Logits that produced each completion token: rows x seq x vocab.

    The row before the first completion token is the last of the prompt; the row after the last
    token predicts nothing that was sampled and is dropped.
    """
    seq = batch.token_ids.shape[1]
    positions = (batch.is_token.long().cumsum(dim=1) - 1).clamp(min=0)
    with chat.precision():
        logits: Tensor = chat.model(
            input_ids=batch.input_ids,
            attention_mask=batch.is_token.long(),
            position_ids=positions,
            use_cache=False,
            logits_to_keep=seq + 1,
        ).logits
    return logits[:, :-1]


def completion_logprobs(chat: ChatModel, batch: Batch) -> Tensor:
    """Log-probability of each completion token, with gradient where one is recorded."""
    return token_logprobs(completion_logits(chat, batch), batch.token_ids)


def score(
    chat: ChatModel, completions: Sequence[Completion], *, token_budget: int = 16384
) -> list[TokenNumbers]:
    """Per completion: log-probability, entropy and certainty of its tokens, in the given order."""
    rows = measured(chat, completions, token_budget, token_numbers)
    return [TokenNumbers(*row) for row in rows]


def score_logprobs(
    chat: ChatModel, completions: Sequence[Completion], *, token_budget: int = 16384
) -> list[Tensor]:
    """Per completion: log-probabilities of its tokens alone, which is all that a leash needs."""

    def alone(logits: Tensor, token_ids: Tensor) -> tuple[Tensor]:
        return (token_logprobs(logits, token_ids),)

    return [logprobs for (logprobs,) in measured(chat, completions, token_budget, alone)]


def answer_likelihoods(
    chat: ChatModel, conversations: Sequence[tuple[Message, ...]], answer: str
) -> list[float]:
    """Mean log-probability per token (nats) of an answer's text after each conversation.

    The answer is tokenized by itself, as it would be written from an open assistant turn.
    """
    ids = tuple(chat.tokenizer(answer, add_special_tokens=False)["input_ids"])
    given = [
        Completion("", chat.render(messages), ids, answer, (), (), "length")
        for messages in conversations
    ]
    return [float(logprobs.mean()) for logprobs in score_logprobs(chat, given)]


@torch.no_grad()
def measured(
    chat: ChatModel,
    completions: Sequence[Completion],
    token_budget: int,
    numbers: Callable[[Tensor, Tensor], Sequence[Tensor]],
) -> list[list[Tensor]]:
    """What `numbers` makes of logits and token ids, cut to each completion, in the given order."""
    found: dict[int, list[Tensor]] = {}
    for rows in micro_batches(completions, token_budget):
        batch = pad([completions[i] for i in rows], chat)
        columns = numbers(completion_logits(chat, batch), batch.token_ids)
        for place, i in enumerate(rows):
            found[i] = [column[place, : len(completions[i].token_ids)] for column in columns]
    return [found[i] for i in range(len(completions))]


def micro_batches(completions: Sequence[Completion], token_budget: int) -> list[list[int]]:
    """Indices of the completions, of like lengths together, each at most the budget when padded.

    A completion longer than the budget stands alone. The order inside is by length: whoever
    reads results back must put them where the indices say.
    """
    lengths = [(len(c.prompt_ids), len(c.token_ids)) for c in completions]
    order = sorted(range(len(completions)), key=lambda i: (sum(lengths[i]), i))
    batches: list[list[int]] = []
    prompt = seq = 0
    for i in order:
        wide = max(prompt, lengths[i][0]) + max(seq, lengths[i][1])
        if batches and wide * (len(batches[-1]) + 1) <= token_budget:
            batches[-1].append(i)
            prompt, seq = max(prompt, lengths[i][0]), max(seq, lengths[i][1])
        else:
            batches.append([i])
            prompt, seq = lengths[i]
    return batches
