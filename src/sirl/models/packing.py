"""Completions side by side without padding, each distinct prompt read once.

A transformer mixes tokens in its attention alone. All else runs on one row that holds the tokens
of a micro-batch, prompts first; attention fetches from it the queries and keys that belong
together, a prompt once and the tokens of its completions after it. A completion of T tokens is
read up to its last but one: the last is only predicted.

`tokens` counts read tokens, prompts and completions; `seq` predicted tokens, row after row.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding, scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from sirl.types import Completion

__all__ = ["PACKED", "Layout", "Packed", "pack"]

PACKED = "sirl_packed"
"""Name of the attention: as `sdpa`, and packed where a layout is handed to it."""


@dataclass(frozen=True)
class Layout:
    """Where attention finds what belongs together; indices into the row of tokens."""

    prompt: Tensor
    """prompts x longest prompt, padded at the right with 0."""
    own: Tensor
    """completions x longest completion, padded at the right with 0."""
    keys: Tensor
    """completions x (longest prompt and completion): what each may look back at, as `own`."""
    before: Tensor
    """completions: length of the prompt."""
    back: Tensor
    """tokens: place of each among the padded queries, those of prompts first."""

    masks: dict[int | None, Tensor] = field(default_factory=dict, init=False)
    """Of completions, by window; every layer asks for the same."""

    def own_mask(self, window: int | None) -> Tensor:
        """Which keys a completion's queries see: completions x 1 x queries x keys."""
        if window not in self.masks:
            keys = torch.arange(self.keys.shape[1], device=self.keys.device)
            queries = torch.arange(self.own.shape[1], device=self.keys.device)
            here = self.before.view(-1, 1, 1) + queries.view(1, -1, 1)
            self.masks[window] = seen(here, keys.view(1, 1, -1), window).unsqueeze(1)
        return self.masks[window]

    def prompt_mask(self, window: int | None) -> Tensor | None:
        """Which keys a prompt's queries see; None for all before them."""
        width = self.prompt.shape[1]
        if window is None or window >= width:
            return None
        places = torch.arange(width, device=self.prompt.device)
        return seen(places.view(-1, 1), places.view(1, -1), window)


def seen(here: Tensor, there: Tensor, window: int | None) -> Tensor:
    """Whether a query here sees a key there: not after it, and within the window."""
    past = there <= here
    return past if window is None else past & (here - there < window)


@dataclass(frozen=True)
class Packed:
    """A micro-batch as one row."""

    input_ids: Tensor
    """tokens."""
    positions: Tensor
    """tokens: each sequence counts from 0."""
    layout: Layout
    predicting: Tensor
    """seq: the token whose logits predicted each."""
    token_ids: Tensor
    """seq: what was predicted."""


def pack(completions: Sequence[Completion], device: torch.device) -> Packed:
    """The completions as one row, in their order; none is empty."""
    ids: list[int] = []
    positions: list[int] = []
    predicting: list[int] = []
    prompts: dict[tuple[int, ...], range] = {}
    for prompt in dict.fromkeys(c.prompt_ids for c in completions):
        prompts[prompt] = range(len(ids), len(ids) + len(prompt))
        ids += prompt
        positions += range(len(prompt))
    own: list[range] = []
    for c in completions:
        own.append(range(len(ids), len(ids) + len(c.token_ids) - 1))
        ids += c.token_ids[:-1]
        positions += range(len(c.prompt_ids), len(c.prompt_ids) + len(own[-1]))
        predicting += [prompts[c.prompt_ids][-1], *own[-1]]
    layout = layout_of(list(prompts.values()), own, [prompts[c.prompt_ids] for c in completions])

    def tensor(values: Sequence[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.long).to(device)

    return Packed(
        tensor(ids),
        tensor(positions),
        Layout(*(part.to(device) for part in layout)),
        tensor(predicting),
        tensor([i for c in completions for i in c.token_ids]),
    )


def layout_of(
    prompts: Sequence[range], own: Sequence[range], before: Sequence[range]
) -> tuple[Tensor, ...]:
    """The fields of a layout of tokens at these places; `before` is each completion's prompt."""
    first, then = padded(prompts), padded(own)
    back: list[int] = []
    for offset, places, spans in ((0, first, prompts), (first.numel(), then, own)):
        for n, span in enumerate(spans):
            start = offset + n * places.shape[1]
            back += range(start, start + len(span))
    keys = padded([[*a, *b] for a, b in zip(before, own, strict=True)])
    lengths = torch.tensor([len(a) for a in before])
    return first, then, keys, lengths, torch.tensor(back)


def padded(rows: Sequence[Sequence[int]]) -> Tensor:
    """Rows of indices, padded at the right with 0, at least one wide."""
    places = torch.zeros(len(rows), max(1, *map(len, rows)), dtype=torch.long)
    for n, row in enumerate(rows):
        places[n, : len(row)] = torch.tensor(row, dtype=torch.long)
    return places


def attention(  # noqa: PLR0913, PLR0917 - the interface of transformers
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    sirl_layout: Layout | None = None,
    **options: Any,  # noqa: ANN401 - whatever a model hands through
) -> tuple[Tensor, None]:
    """Attention of transformers' interface: 1 x heads x tokens x width, returned heads last."""
    if sirl_layout is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **options
        )
    states, lay = (query, key, value), sirl_layout
    first = attend(states, lay.prompt, lay.prompt, lay.prompt_mask(sliding_window), scaling)
    own = attend(states, lay.own, lay.keys, lay.own_mask(sliding_window), scaling)
    return torch.cat([first, own])[lay.back].unsqueeze(0), None


def attend(
    states: tuple[Tensor, Tensor, Tensor],
    asking: Tensor,
    asked: Tensor,
    mask: Tensor | None,
    scaling: float | None,
) -> Tensor:
    """Queries at some places over keys at others: (rows x queries) x heads x width."""
    query, key, value = states
    out = scaled_dot_product_attention(
        fetched(query, asking),
        fetched(key, asked),
        fetched(value, asked),
        attn_mask=mask,
        is_causal=mask is None,
        scale=scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return out.transpose(1, 2).reshape(-1, query.shape[1], out.shape[-1])


def fetched(states: Tensor, places: Tensor) -> Tensor:
    """States (1 x heads x tokens x width) at places (rows x seq): rows x heads x seq x width."""
    _, heads, tokens, width = states.shape
    table = states[0].transpose(0, 1).reshape(tokens, heads * width)
    # As an embedding: its backward pass adds up in a fixed order, on all cores.
    return embedding(places, table).view(*places.shape, heads, width).transpose(1, 2)


AttentionInterface.register(PACKED, attention)
AttentionMaskInterface.register(PACKED, sdpa_mask)
