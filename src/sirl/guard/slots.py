"""The rows of a decoding batch: streams join and leave between two steps.

All rows end at the same column of the KV cache; shorter ones are padded on the left. What a row
draws is a function of its seed, prompt and position, so it does not depend on the other rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import DynamicCache

from sirl.entropy import token_numbers
from sirl.models.chat import ChatModel
from sirl.models.forward import next_logits
from sirl.models.head import Factor
from sirl.rollouts.local import left_padded
from sirl.rollouts.token_draws import pick, row_key, uniforms
from sirl.types import Sampling

__all__ = ["DecodingBatch", "Drawn", "Layers", "Stream", "behind", "prefix"]

WINDOW = 64
"""Positions per block of uniforms."""
Layers = list[tuple[Tensor, Tensor]]
"""Keys and values (rows x heads x length x width) of each layer."""


class Drawn(NamedTuple):
    """A token, with its numbers at temperature 1."""

    token_id: int
    entropy: float
    logprob: float
    top: tuple[tuple[int, float], ...] = ()
    """Likeliest tokens with their log-probabilities."""


@dataclass(eq=False)
class Stream:
    """One answer in the batch."""

    prompt_ids: tuple[int, ...]
    max_tokens: int
    sampling: Sampling = Sampling()
    seed: int = 0
    index: int = 0
    logit_bias: dict[int, float] = field(default_factory=dict)
    top: int = 0
    turn: "Stream | None" = None
    """The last turn of the prompt by itself, which is read but not decoded; None if it is the only
    one."""
    token_ids: list[int] = field(default_factory=list)
    parked: Layers | None = None
    """Its own part of the cache, without padding, while it is not in the batch: before it joins,
    what has been run of a long prompt; once it has left, all of it."""
    _window: range = range(0)
    _uniforms: Tensor = field(default_factory=lambda: torch.zeros(0))

    @property
    def cached(self) -> int:
        """Tokens in the cache: all but the last one drawn."""
        return len(self.prompt_ids) + max(0, len(self.token_ids) - 1)

    @property
    def read(self) -> "tuple[Stream, ...]":
        """The prompts that are run for this stream."""
        return (self,) if self.turn is None else (self.turn, self)

    @property
    def unread(self) -> int:
        """Tokens of the prompt that have not been run, before it joins."""
        return len(self.prompt_ids) - (self.parked[0][0].shape[2] if self.parked else 0)

    def draws(self, position: int) -> Tensor:
        """The uniforms of a position."""
        if position not in self._window:
            self._window = range(position, position + WINDOW)
            prompt = " ".join(map(str, self.prompt_ids))  # else all prompts share their uniforms
            key = row_key(self.seed, 0, prompt, self.index)
            self._uniforms = torch.from_numpy(uniforms([key], self._window))[0].float()
        return self._uniforms[position - self._window.start]


class DecodingBatch:
    """The streams that are being decoded.

    Args:
        chat: A model with a plain KV cache that takes left padding.
        factor: Its prepared head, if it is a plain one.
    """

    def __init__(self, chat: ChatModel, factor: Factor | None) -> None:
        self.chat = chat
        self.factor = factor
        self.streams: list[Stream] = []
        self.layers: Layers = []
        self.is_token = torch.zeros(0, 0, dtype=torch.long, device=chat.device)
        """rows x columns."""
        self.logits = torch.zeros(0, 0, device=chat.device)
        """Of the next token, rows x vocab."""

    def prefill(self, stream: Stream, tokens: int) -> None:
        """Run so many more tokens of the prompt of a stream, before it joins."""
        _, cache, _ = self.run_prompts([stream], tokens)
        stream.parked = layers_of(cache)

    def join(self, streams: Sequence[Stream]) -> None:
        """Add streams and run (the rest of) their prompts.

        Several at once only if nothing of their prompts has been run.
        """
        logits, cache, is_token = self.run_prompts(streams)
        for stream in streams:
            stream.parked = None
        joined = layers_of(cache)
        if self.streams:
            wide = max(is_token.shape[1], self.is_token.shape[1])
            joined = [
                (torch.cat(keys), torch.cat(values))
                for keys, values in (
                    zip(*pairs, strict=True)
                    for pairs in zip(widened(self.layers, wide), widened(joined, wide), strict=True)
                )
            ]
            masks = [pad(m, (wide - m.shape[1], 0)) for m in (self.is_token, is_token)]
            is_token, logits = torch.cat(masks), torch.cat([self.logits, logits])
        self.layers, self.is_token, self.logits = joined, is_token, logits
        self.streams += streams

    def run_prompts(
        self, streams: Sequence[Stream], tokens: int | None = None
    ) -> tuple[Tensor, DynamicCache, Tensor]:
        """Run the unread part of prompts, or its first tokens.

        Returns:
            Logits after it (rows x vocab), the cache, and where that holds tokens (rows x columns).
        """
        rows = [s.prompt_ids[-s.unread :][:tokens] for s in streams]
        input_ids, is_token = left_padded(self.chat, rows)
        cache = behind(streams[0].parked or [])
        past = cache.get_seq_length()
        is_token = pad(is_token, (past, 0), value=1)
        logits = next_logits(
            self.chat,
            self.factor,
            input_ids=input_ids,
            attention_mask=is_token,
            position_ids=(is_token.cumsum(dim=1) - 1).clamp(min=0)[:, past:],
            past_key_values=cache,
            use_cache=True,
        )
        return logits, cache, is_token

    def cache_of(self, turn: Stream) -> Layers:
        """The cache of a last turn, of which (the rest of) the tokens are run."""
        _, cache, _ = self.run_prompts([turn])
        turn.parked = None
        return layers_of(cache)

    def draw(self) -> list[Drawn]:
        """Draw the next token of every stream.

        The numbers are of the raw logits, in float32; the draw follows the stream's own sampling.
        """
        places = torch.stack([s.draws(len(s.token_ids)) for s in self.streams])
        places = places.to(self.logits.device)
        logits = biased(self.logits, self.streams)
        token_ids = torch.zeros(len(self.streams), dtype=torch.long, device=self.logits.device)
        for sampling in {s.sampling for s in self.streams}:
            rows = [n for n, s in enumerate(self.streams) if s.sampling == sampling]
            token_ids[rows] = pick(logits[rows], places[rows], sampling)
        numbers = token_numbers(self.logits, token_ids)
        found = []
        for n, (stream, token_id, entropy, logprob) in enumerate(
            zip(
                self.streams,
                token_ids.tolist(),
                numbers.entropies.tolist(),
                numbers.logprobs.tolist(),
                strict=True,
            )
        ):
            stream.token_ids.append(token_id)
            found.append(Drawn(token_id, entropy, logprob, likeliest(self.logits[n], stream.top)))
        return found

    def leave(self, streams: Sequence[Stream], *, keep: bool) -> None:
        """Take streams out of the batch; with `keep` each takes its part of the cache along."""
        if keep:
            for stream in streams:
                stream.parked = self.part(stream, stream.cached)
        rows = [n for n, s in enumerate(self.streams) if s not in streams]
        self.streams = [self.streams[n] for n in rows]
        at = torch.tensor(rows, dtype=torch.long, device=self.logits.device)
        self.is_token, self.logits = self.is_token[at], self.logits[at]
        # Columns that are padding in every row go too.
        start = int(self.is_token.any(dim=0).long().argmax()) if rows else 0
        self.is_token = self.is_token[:, start:]
        self.layers = [(k[at][:, :, start:], v[at][:, :, start:]) for k, v in self.layers]

    def part(self, stream: Stream, length: int) -> Layers:
        """The cache of a stream's first tokens, without padding."""
        if stream.parked is not None:
            return prefix(stream.parked, 0, length)
        row = self.streams.index(stream)
        start = self.is_token.shape[1] - int(self.is_token[row].sum())
        own = [(k[row : row + 1], v[row : row + 1]) for k, v in self.layers]
        return prefix(own, start, start + length)

    def advance(self) -> None:
        """Run the tokens that were drawn last."""
        ids = torch.tensor([[s.token_ids[-1]] for s in self.streams], device=self.logits.device)
        self.is_token = pad(self.is_token, (0, 1), value=1)
        cache = behind(self.layers)
        self.logits = next_logits(
            self.chat,
            self.factor,
            input_ids=ids,
            attention_mask=self.is_token,
            position_ids=self.is_token.sum(dim=1, keepdim=True) - 1,
            past_key_values=cache,
            use_cache=True,
        )
        self.layers = layers_of(cache)


def biased(logits: Tensor, streams: Sequence[Stream]) -> Tensor:
    """Logits (rows x vocab) with the bias of each stream."""
    if not any(s.logit_bias for s in streams):
        return logits
    logits = logits.float().clone()
    for row, stream in enumerate(streams):
        for token_id, bias in stream.logit_bias.items():
            logits[row, token_id] += bias
    return logits


def likeliest(logits: Tensor, count: int) -> tuple[tuple[int, float], ...]:
    """The likeliest tokens of one row, with their log-probabilities."""
    if not count:
        return ()
    best = logits.float().log_softmax(dim=0).topk(count)
    return tuple(zip(best.indices.tolist(), best.values.tolist(), strict=True))


def layers_of(cache: DynamicCache) -> Layers:
    """The tensors of a cache."""
    layers: list[Any] = cache.layers
    return [(layer.keys, layer.values) for layer in layers]


def behind(layers: Layers) -> DynamicCache:
    """A cache that holds these tensors; running a model with it leaves them as they are."""
    cache = DynamicCache()
    for n, (keys, values) in enumerate(layers):
        cache.update(keys, values, n)
    return cache


def prefix(layers: Layers, start: int, stop: int) -> Layers:
    """Some columns of a cache."""
    return [(k[:, :, start:stop], v[:, :, start:stop]) for k, v in layers]


def widened(layers: Layers, wide: int) -> Layers:
    """A cache that is padded on the left to so many columns."""
    return [
        (pad(k, (0, 0, wide - k.shape[2], 0)), pad(v, (0, 0, wide - v.shape[2], 0)))
        for k, v in layers
    ]
