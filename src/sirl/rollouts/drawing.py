"""How tokens are drawn, whoever computes the logits; engines in this process share it.

The uniform that picks a token is a function of (run seed, step, prompt id, sample, position),
never of the batch; a token is picked by inverting the cumulative distribution. The last bit of a
logit does depend on the batch and moves a choice where a uniform falls on the edge between two
tokens: seldom where the model is sure or the vocabulary small, and 4 times in 8,349 tokens of a
small English model that doubts among 8,192.
What is noted of a token is taken from the very logits that it was drawn from, at temperature 1
and before anything is ruled out.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from sirl.entropy import token_numbers
from sirl.errors import InputError
from sirl.models.chat import ChatModel
from sirl.models.memory import out_of_memory
from sirl.types import Completion, Finish, Prompt, Sampling

__all__ = [
    "Decoder",
    "Row",
    "check_room",
    "draw",
    "kept",
    "left_padded",
    "like_lengths",
    "pick",
    "row_key",
    "sampled",
    "uniforms",
]

GOLDEN = 0x9E3779B97F4A7C15
"""2^64 over the golden ratio: SplitMix64's step."""
FREE = Sampling()
"""The model's own distribution."""


@dataclass
class Row:
    """One completion while it is being written."""

    prompt: Prompt
    prompt_ids: tuple[int, ...]
    sample: int
    key: int
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    entropies: list[float] = field(default_factory=list)
    certainties: list[float] = field(default_factory=list)
    finish: Finish = "length"


@runtime_checkable
class Decoder(Protocol):
    """An engine as what writes rows to their end."""

    @property
    def chat(self) -> ChatModel:
        """The model that is sampled from."""
        ...

    @property
    def seed(self) -> int:
        """Seed of the run."""
        ...

    @property
    def new_tokens(self) -> int:
        """Longest completion, in tokens."""
        ...

    @property
    def rows(self) -> int:
        """Completions decoded together."""
        ...

    def decode(self, prompts: Sequence[tuple[int, ...]], rows: list[Row], group: int) -> None:
        """Write all rows to their end. Rows are prompts x group, siblings adjacent."""
        ...


def sampled(
    engine: Decoder, prompts: Sequence[Prompt], *, group: int, step: int
) -> list[Completion]:
    """`group` completions of each prompt, siblings adjacent, in the order of the prompts.

    A batch that does not fit the memory is read as two halves, and so on down to one prompt.

    Raises:
        InputError: A prompt leaves no room for an answer; it is never cut.
    """
    rendered = [engine.chat.render(p.messages) for p in prompts]
    for prompt, ids in zip(prompts, rendered, strict=True):
        check_room(engine.chat, engine.new_tokens, prompt, ids)
    done: dict[tuple[int, int], Completion] = {}
    waiting = like_lengths([len(ids) for ids in rendered], max(1, engine.rows // group))
    while waiting:
        chosen = waiting.pop(0)
        rows = [
            Row(prompts[i], rendered[i], s, row_key(engine.seed, step, prompts[i].id, s))
            for i in chosen
            for s in range(group)
        ]
        try:
            engine.decode([rendered[i] for i in chosen], rows, group)
        except RuntimeError as error:
            if not out_of_memory(error) or len(chosen) == 1:
                raise
            waiting[:0] = halves(chosen)  # uniforms do not depend on the batch
            continue
        places = ((i, s) for i in chosen for s in range(group))
        written = (completion(engine.chat, engine.seed, row) for row in rows)
        done.update(zip(places, written, strict=True))
    return [done[i, s] for i in range(len(prompts)) for s in range(group)]


def check_room(chat: ChatModel, new_tokens: int, prompt: Prompt, ids: Sequence[int]) -> None:
    """Refuse a prompt that leaves no room for an answer."""
    if len(ids) + new_tokens > chat.context:
        raise InputError(
            f"prompt {prompt.id} has {len(ids)} tokens; with {new_tokens} new ones it "
            f"exceeds the context of {chat.context}: shorten it or lower new_tokens"
        )


def completion(chat: ChatModel, seed: int, row: Row) -> Completion:
    """The finished row as a value."""
    return Completion(
        prompt_id=row.prompt.id,
        prompt_ids=row.prompt_ids,
        token_ids=tuple(row.token_ids),
        text=chat.decode(row.token_ids[: -1 if row.finish == "stop" else None]),
        logprobs=tuple(row.logprobs),
        entropies=tuple(row.entropies),
        finish=row.finish,
        sample=row.sample,
        seed=seed,
        certainties=tuple(row.certainties),
        version=chat.version,
    )


def draw(
    logits: Tensor, rows: Sequence[Row], position: int, sampling: Sampling, ends: frozenset[int]
) -> Tensor:
    """The next token of every row, noted where the row still runs."""
    draws = uniforms([row.key for row in rows], position)
    token_ids = pick(logits, torch.from_numpy(draws).to(logits.device), sampling)
    numbers = token_numbers(logits, token_ids)
    columns = zip(rows, token_ids.tolist(), *(column.tolist() for column in numbers), strict=True)
    for row, token, logprob, entropy, certainty in columns:
        if row.finish == "stop":
            continue
        row.token_ids.append(token)
        row.logprobs.append(logprob)
        row.entropies.append(entropy)
        row.certainties.append(certainty)
        if token in ends:
            row.finish = "stop"
    return token_ids


def left_padded(chat: ChatModel, prompts: Sequence[tuple[int, ...]]) -> tuple[Tensor, Tensor]:
    """Prompts padded on the left, and which are tokens (prompts x longest prompt)."""
    width = max(len(ids) for ids in prompts)
    input_ids = torch.full((len(prompts), width), chat.pad_id)
    is_token = torch.zeros_like(input_ids)
    for row, ids in enumerate(prompts):
        input_ids[row, width - len(ids) :] = torch.tensor(ids)
        is_token[row, width - len(ids) :] = 1
    return input_ids.to(chat.device), is_token.to(chat.device)


def like_lengths(lengths: Sequence[int], most: int) -> list[list[int]]:
    """Indices of prompts that are read together: at most `most`, less than half of it padding.

    >>> like_lengths([40, 900, 30, 50, 1000], most=2)
    [[2, 0], [3], [1, 4]]
    """
    batches: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        last = batches[-1] if batches else []
        if last and len(last) < most and lengths[i] < 2 * lengths[last[0]]:
            last.append(i)
        else:
            batches.append([i])
    return batches


def row_key(seed: int, step: int, prompt_id: str, sample: int) -> int:
    """The 64-bit key of a completion's stream of uniforms."""
    name = f"{seed}\0{step}\0{sample}\0{prompt_id}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big")


def uniforms(keys: Sequence[int], position: int) -> np.ndarray:
    """One float64 in [0, 1) per key: the SplitMix64 hash (Steele et al., 2014) of key, position."""
    with np.errstate(over="ignore"):
        x = np.array(keys, dtype=np.uint64) + np.uint64((position + 1) * GOLDEN % 2**64)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x = x ^ (x >> np.uint64(31))
    uniform: np.ndarray = (x >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return uniform


def pick(logits: Tensor, uniform: Tensor, sampling: Sampling = FREE) -> Tensor:
    """Token of each row where its uniform cuts the cumulative distribution.

    Never a token of probability zero, whatever the rounding: the cut stays below the total.
    """
    wide = logits.float()
    if sampling.temperature == 0:
        return wide.argmax(dim=-1)
    probs = kept((wide / sampling.temperature).softmax(dim=-1), sampling)
    cumulative = probs.cumsum(dim=-1)
    total = cumulative[:, -1:]
    cut = torch.minimum(
        uniform.float().unsqueeze(1) * total, torch.nextafter(total, torch.zeros_like(total))
    )
    return torch.searchsorted(cumulative, cut, right=True).squeeze(1).clamp(max=wide.shape[-1] - 1)


def kept(probs: Tensor, sampling: Sampling) -> Tensor:
    """The probabilities with those that top-k and top-p rule out at zero; not normalised.

    Top-p keeps the fewest likeliest tokens whose sum reaches it, one at least.
    """
    if sampling.top_k:
        least = probs.topk(min(sampling.top_k, probs.shape[-1]), dim=-1).values[:, -1:]
        probs = probs.where(probs >= least, 0.0)
    if sampling.top_p < 1:
        ordered, order = probs.sort(dim=-1, descending=True, stable=True)
        before = ordered.cumsum(dim=-1) - ordered
        ruled_out = before >= sampling.top_p * ordered.sum(dim=-1, keepdim=True)
        ruled_out[:, 0] = False
        probs = probs.masked_fill(torch.zeros_like(ruled_out).scatter(1, order, ruled_out), 0.0)
    return probs


def halves(chosen: list[int]) -> list[list[int]]:
    """A batch as two, for a second try with less memory."""
    middle = len(chosen) // 2
    return [chosen[:middle], chosen[middle:]]
