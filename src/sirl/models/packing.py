"""Packing: one row per micro-batch without padding, each distinct prompt once.

Only attention mixes tokens. Everything else runs on one row with all tokens of a micro-batch,
prompts first; attention gathers the queries and keys that belong together, so that completions
share the keys of their prompt. The last token of a completion is only predicted, not an input.

`tokens` counts input tokens, `seq` predicted tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import embedding, scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from sirl.types import Completion

__all__ = ["PACKED", "Layout", "Packed", "Tree", "common_prefix", "pack", "pack_tree"]

SLACK = 1 << 14
"""Query-key pairs that cost less to waste than starting another attention block."""
PACKED = "sirl_packed"
"""Name of the attention function: `sdpa`, or packed if a layout is passed."""


@dataclass(frozen=True)
class Block:
    """Queries and keys of spans of similar length; attention runs block by block."""

    rows: int
    queries: int
    """Length of the longest span."""
    keys: int
    before: Tensor
    """rows: number of keys before the first query."""
    causal: bool
    """Whether all are 0."""
    masks: dict[int | None, Tensor] = field(default_factory=dict, init=False)
    """Masks by window, shared by the layers."""

    def mask(self, window: int | None) -> Tensor | None:
        """The attention mask (rows x 1 x queries x keys); None for a plain causal mask."""
        if self.causal and (window is None or window >= self.keys):
            return None
        if window not in self.masks:
            keys = torch.arange(self.keys, device=self.before.device)
            queries = torch.arange(self.queries, device=self.before.device)
            here = self.before.view(-1, 1, 1) + queries.view(1, -1, 1)
            self.masks[window] = seen(here, keys.view(1, 1, -1), window).unsqueeze(1)
        return self.masks[window]


@dataclass(frozen=True)
class Layout:
    """The gather indices of attention into the row of tokens."""

    blocks: tuple[Block, ...]
    asking: Tensor
    """Queries of all blocks, each rows x queries, padded at the right with 0."""
    asked: Tensor
    """Keys of all blocks, each rows x keys, padded likewise."""
    back: Tensor
    """tokens: position of each among the padded queries."""


def seen(here: Tensor, there: Tensor, window: int | None) -> Tensor:
    """Whether a query attends to a key: causal, and within the window."""
    past = there <= here
    return past if window is None else past & (here - there < window)


@dataclass(frozen=True)
class Packed:
    """A micro-batch as one row."""

    input_ids: Tensor
    """tokens."""
    positions: Tensor
    """tokens: position ids, from 0 in each sequence."""
    layout: Layout
    predicting: Tensor
    """seq: index of the token whose logits predict it."""
    token_ids: Tensor
    """seq: the predicted token ids."""


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
    spans = [Span(range(0), places) for places in prompts.values()]
    spans += [
        Span(prompts[c.prompt_ids], places) for c, places in zip(completions, own, strict=True)
    ]

    tensor = partial(tensor_on, device)
    return Packed(
        tensor(ids),
        tensor(positions),
        layout_of(spans, device),
        tensor(predicting),
        tensor([i for c in completions for i in c.token_ids]),
    )


class Tree(NamedTuple):
    """Rows of tokens as one row, each common beginning once."""

    input_ids: Tensor
    """tokens."""
    positions: Tensor
    """tokens: position ids, from 0 in each row."""
    layout: Layout
    last: Tensor
    """rows: index of the last token of each."""


def pack_tree(rows: Sequence[Sequence[int]], device: torch.device) -> Tree:
    """Rows of tokens as one row; in lexicographic order, each beginning that they share is once.

    No row is empty, and no two are equal.
    """
    ids: list[int] = []
    positions: list[int] = []
    spans: list[Span] = []
    previous: Sequence[int] = ()
    path: list[int] = []
    for row in rows:
        known = common_prefix(previous, row)
        own = range(len(ids), len(ids) + len(row) - known)
        spans.append(Span(path[:known], own))
        ids += row[known:]
        positions += range(known, len(row))
        previous, path = row, [*path[:known], *own]

    tensor = partial(tensor_on, device)
    last = [span.own[-1] for span in spans]
    return Tree(tensor(ids), tensor(positions), layout_of(spans, device), tensor(last))


def tensor_on(device: torch.device, values: Sequence[int]) -> Tensor:
    """Integers as a tensor on a device."""
    return torch.tensor(values, dtype=torch.long).to(device)


class Span(NamedTuple):
    """Tokens that are run, with the indices of those before them in the same sequence."""

    before: Sequence[int]
    own: range

    @property
    def pairs(self) -> int:
        """Queries times keys."""
        return len(self.own) * (len(self.before) + len(self.own))


def layout_of(spans: Sequence[Span], device: torch.device) -> Layout:
    """The layout of these spans."""
    blocks: list[Block] = []
    asking: list[Tensor] = []
    asked: list[Tensor] = []
    back = torch.zeros(sum(len(span.own) for span in spans), dtype=torch.long)
    offset = 0
    for chosen in like_spans(spans):
        queries = padded([span.own for span in chosen])
        keys = padded([[*span.before, *span.own] for span in chosen])
        for n, span in enumerate(chosen):
            start = offset + n * queries.shape[1]
            back[span.own.start : span.own.stop] = torch.arange(start, start + len(span.own))
        before = torch.tensor([len(span.before) for span in chosen], device=device)
        causal = not any(span.before for span in chosen)
        blocks.append(Block(len(chosen), queries.shape[1], keys.shape[1], before, causal))
        asking.append(queries.flatten())
        asked.append(keys.flatten())
        offset += queries.numel()
    places_asking, places_asked = (torch.cat(part).to(device) for part in (asking, asked))
    return Layout(tuple(blocks), places_asking, places_asked, back.to(device))


def like_spans(spans: Sequence[Span]) -> list[list[Span]]:
    """Group spans into attention blocks, prompts separately; skips empty spans.

    A block may waste up to half of the query-key pairs of its spans, plus a constant, since each
    call has a cost too.
    """
    found: list[list[Span]] = []
    pairs = longest = 0
    asking = [span for span in spans if span.own]
    for span in sorted(asking, key=lambda s: (bool(s.before), len(s.before) + len(s.own))):
        keys = len(span.before) + len(span.own)  # no span before it had more
        longest, pairs = max(longest, len(span.own)), pairs + span.pairs
        same = bool(found) and bool(found[-1][0].before) == bool(span.before)
        if same and (len(found[-1]) + 1) * longest * keys <= 1.5 * pairs + SLACK:
            found[-1].append(span)
        else:
            found.append([span])
            longest, pairs = len(span.own), span.pairs
    return found


def padded(rows: Sequence[Sequence[int]]) -> Tensor:
    """Rows of indices, padded at the right with 0."""
    places = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
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
    **options: Any,  # noqa: ANN401 - keyword arguments of the model
) -> tuple[Tensor, None]:
    """Attention function for transformers: 1 x heads x tokens x width in, heads last out."""
    if sirl_layout is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **options
        )
    lay, found = sirl_layout, []
    asking = [block.rows * block.queries for block in lay.blocks]
    asked = [block.rows * block.keys for block in lay.blocks]
    parts = zip(
        lay.blocks,
        torch.split(fetched(query, lay.asking), asking),
        torch.split(fetched(key, lay.asked), asked),
        torch.split(fetched(value, lay.asked), asked),
        strict=True,
    )
    for block, *states in parts:
        rows = [part.view(block.rows, -1, *part.shape[1:]).transpose(1, 2) for part in states]
        mask = block.mask(sliding_window)
        out = scaled_dot_product_attention(
            rows[0],
            rows[1],
            rows[2],
            attn_mask=mask,
            is_causal=mask is None,
            scale=scaling,
            enable_gqa=query.shape[1] != key.shape[1],
        )
        found.append(out.transpose(1, 2).flatten(0, 1))
    return taken(torch.cat(found), lay.back).unsqueeze(0), None


def fetched(states: Tensor, places: Tensor) -> Tensor:
    """Gather states (1 x heads x tokens x width): places x heads x width."""
    return taken(states[0].transpose(0, 1), places)


def taken(states: Tensor, places: Tensor) -> Tensor:
    """Gather states (tokens x heads x width).

    Uses an embedding, whose backward pass is deterministic and multi-threaded.
    """
    return embedding(places, states.flatten(1)).view(-1, *states.shape[1:])


AttentionInterface.register(PACKED, attention)
AttentionMaskInterface.register(PACKED, sdpa_mask)


def common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """Length of the common beginning of two sequences.

    >>> common_prefix([1, 2, 3], [1, 2, 4, 3])
    2
    """
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))
