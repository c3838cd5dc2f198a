"""Base of the engines for local models: batching, and what is recorded per token.

Log-probability and entropy come from the logits that the token was drawn from, at temperature 1
and before top-k and top-p. They stay on the device until the rows end, so sampling does not
synchronise with it.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sirl.entropy import TokenNumbers, token_numbers
from sirl.errors import InputError, ModelError
from sirl.models.chat import ChatModel
from sirl.models.memory import out_of_memory
from sirl.rollouts.token_draws import DRAWS, pick, row_key, tiles, uniforms
from sirl.types import Completion, Prompt, Sampling

__all__ = ["BatchRow", "LocalEngine", "SampleBuffer", "check_room", "left_padded", "like_lengths"]

WINDOW = 64
"""Positions per block of uniforms."""


@dataclass(frozen=True)
class BatchRow:
    """One completion to sample."""

    prompt: Prompt
    prompt_ids: tuple[int, ...]
    sample: int
    key: int


class SampleBuffer:
    """Buffer of completions being sampled, on the device of the logits."""

    def __init__(
        self, rows: Sequence[BatchRow], chat: ChatModel, new_tokens: int, sampling: Sampling
    ) -> None:
        self.rows = rows
        self.sampling = sampling
        size, device = (len(rows), new_tokens), chat.device
        self.window = range(0)
        """Positions of the current block of uniforms."""
        self.uniforms = torch.zeros(len(rows), 0, DRAWS, device=device)
        """rows x window x draws, in [0, 1]."""
        self.ends = torch.tensor(sorted(chat.end_ids), device=device)
        self.token_ids = torch.zeros(size, dtype=torch.long, device=device)
        self.numbers = torch.zeros(len(TokenNumbers._fields), *size, device=device)
        """Log-probability, entropy and certainty (3 x rows x new_tokens), in nats."""
        self.lengths = torch.zeros(len(rows), dtype=torch.long, device=device)
        self.running = torch.ones(len(rows), dtype=torch.bool, device=device)

    def draw(self, logits: Tensor, position: int, alive: Tensor) -> Tensor:
        """Draw and record the next token of the rows `alive`.

        Rows that have ended may be included; they keep their length.
        """
        if position not in self.window:
            self.window = range(position, position + WINDOW)
            draws = torch.from_numpy(uniforms([row.key for row in self.rows], self.window))
            self.uniforms = draws.float().to(logits.device)
        draws, found = self.uniforms[alive, position - self.window.start], []
        for part in tiles(logits):
            token_ids = pick(logits[part], draws[part], self.sampling)
            found.append((token_ids, *token_numbers(logits[part], token_ids)))
        token_ids, *numbers = (torch.cat(column) for column in zip(*found, strict=True))
        self.token_ids[alive, position] = token_ids
        self.numbers[:, alive, position] = torch.stack(numbers).float()
        self.lengths[alive] += self.running[alive]
        self.running[alive] &= ~torch.isin(token_ids, self.ends)
        return token_ids

    def completions(self, chat: ChatModel, seed: int) -> list[Completion]:
        """The finished rows as completions.

        Raises:
            ModelError: Logits were not finite.
        """
        columns = (self.token_ids, *self.numbers, self.lengths, self.running)
        found = []
        for row, ids, logprobs, entropies, certainties, length, runs in zip(
            self.rows, *(column.tolist() for column in columns), strict=True
        ):
            check_finite(chat, row, (*logprobs[:length], *entropies[:length]))
            found.append(
                Completion(
                    prompt_id=row.prompt.id,
                    prompt_ids=row.prompt_ids,
                    token_ids=tuple(ids[:length]),
                    text=chat.decode(ids[: length if runs else length - 1]),
                    logprobs=tuple(logprobs[:length]),
                    entropies=tuple(entropies[:length]),
                    finish="length" if runs else "stop",
                    sample=row.sample,
                    seed=seed,
                    certainties=tuple(certainties[:length]),
                    version=chat.version,
                )
            )
        return found


@dataclass(frozen=True)
class LocalEngine(ABC):
    """Samples from a local model; satisfies `sirl.roles.Engine`."""

    chat: ChatModel
    seed: int
    """Seed of the run."""
    new_tokens: int
    """Maximum new tokens."""
    sampling: Sampling = Sampling()
    """Sampling settings; entropies are always of the full distribution at temperature 1."""
    batch_size: int = 256
    """Completions per batch."""

    @abstractmethod
    def decode(self, prompts: Sequence[tuple[int, ...]], draft: SampleBuffer, group: int) -> None:
        """Sample all rows to their end. Rows are prompts x group, grouped by prompt."""

    def sample(
        self, prompts: Sequence[Prompt], *, group: int = 1, step: int = 0
    ) -> list[Completion]:
        """Sample `group` completions per prompt, grouped in the order of the prompts.

        A batch that does not fit in memory is halved, down to one prompt.

        Raises:
            InputError: A prompt leaves no room for an answer; prompts are never cut.
        """
        rendered = [self.chat.render(p.messages) for p in prompts]
        for prompt, ids in zip(prompts, rendered, strict=True):
            check_room(self.chat, self.new_tokens, prompt, ids)
        done: dict[tuple[int, int], Completion] = {}
        lengths, most = [len(ids) for ids in rendered], max(1, self.batch_size // group)
        waiting = like_lengths(lengths, most, same=self.chat.manner.like_prompts)
        while waiting:
            chosen = waiting.pop(0)
            rows = [
                BatchRow(prompts[i], rendered[i], s, row_key(self.seed, step, prompts[i].id, s))
                for i in chosen
                for s in range(group)
            ]
            try:
                draft = SampleBuffer(rows, self.chat, self.new_tokens, self.sampling)
                self.decode([rendered[i] for i in chosen], draft, group)
            except RuntimeError as error:
                if not out_of_memory(error) or len(chosen) == 1:
                    raise
                waiting[:0] = halves(chosen)  # uniforms do not depend on the batch
                continue
            places = ((i, s) for i in chosen for s in range(group))
            done.update(zip(places, draft.completions(self.chat, self.seed), strict=True))
        return [done[i, s] for i in range(len(prompts)) for s in range(group)]


def check_finite(chat: ChatModel, row: BatchRow, numbers: Sequence[float]) -> None:
    """Reject a completion sampled from non-finite logits."""
    if not all(map(math.isfinite, numbers)):
        raise ModelError(
            f"{chat.name} gave logits that are not finite (NaN or infinity) for prompt "
            f"{row.prompt.id}: its weights are damaged, or too large for this dtype; restore them, "
            "or use dtype=float32"
        )


def check_room(chat: ChatModel, new_tokens: int, prompt: Prompt, ids: Sequence[int]) -> None:
    """Reject a prompt that leaves no room for an answer."""
    if len(ids) + new_tokens > chat.context:
        raise InputError(
            f"prompt {prompt.id} has {len(ids)} tokens; with {new_tokens} new ones it "
            f"exceeds the context of {chat.context}: shorten it or lower new_tokens"
        )


def left_padded(chat: ChatModel, prompts: Sequence[tuple[int, ...]]) -> tuple[Tensor, Tensor]:
    """Left-padded prompts and their attention mask (prompts x longest prompt)."""
    width = max(len(ids) for ids in prompts)
    input_ids = torch.full((len(prompts), width), chat.pad_id)
    is_token = torch.zeros_like(input_ids)
    for row, ids in enumerate(prompts):
        input_ids[row, width - len(ids) :] = torch.tensor(ids)
        is_token[row, width - len(ids) :] = 1
    return input_ids.to(chat.device), is_token.to(chat.device)


def like_lengths(lengths: Sequence[int], most: int, *, same: bool = False) -> list[list[int]]:
    """Indices of prompts per batch: at most `most` prompts, less than half padding.

    With `same`, no padding.

    >>> like_lengths([40, 900, 30, 50, 1000], most=2)
    [[2, 0], [3], [1, 4]]
    >>> like_lengths([40, 41, 40], most=2, same=True)
    [[0, 2], [1]]
    """
    batches: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        last = batches[-1] if batches else []
        longest = lengths[last[0]] * (1 if same else 2) - (not same) if last else 0
        if last and len(last) < most and lengths[i] <= longest:
            last.append(i)
        else:
            batches.append([i])
    return batches


def halves(chosen: list[int]) -> list[list[int]]:
    """Split a batch in two, to retry with less memory."""
    middle = len(chosen) // 2
    return [chosen[:middle], chosen[middle:]]
