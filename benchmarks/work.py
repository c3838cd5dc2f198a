"""What a training step has to do, by formula, and what this machine can do, by measurement.

Useful work alone is counted: two FLOPs for each weight of a linear layer and each token read,
two for each weight of the head and each token predicted, four times the width of attention for
each pair of a query and a key that it may see. Padding, masked pairs, norms and softmax count
for nothing, so that waste shows as a lower share. A pass that trains costs three times a forward
one, twice where the weights are frozen; adapters count as weights. Bytes are those that decoding
must fetch: the weights once a position, the cache of every row that is alive.

The rates are those of plain products at the shapes of the model, and of copying a large tensor.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sirl.models.chat import ChatModel
from sirl.types import Completion

__all__ = ["Phase", "Shape", "bandwidth", "matmul_rate", "now", "phases_of", "shape_of"]

COPIED = 1 << 28
"""Bytes of the tensor whose copy tells the bandwidth."""
LEAST_SECONDS = 0.2


@dataclass(frozen=True)
class Shape:
    """A model as its products."""

    layers: int
    width: int
    heads: int
    head: int
    """Width of an attention head."""
    kv_heads: int
    inner: int
    vocab: int
    bytes: int
    """Of a weight."""
    adapter: int = 0
    """Weights of an adapter."""

    def products(self) -> list[tuple[int, int, int]]:
        """(from, to, how many) of every linear layer but the head."""
        attended, kept = self.heads * self.head, self.kv_heads * self.head
        return [
            (self.width, attended, self.layers),
            (self.width, kept, 2 * self.layers),
            (attended, self.width, self.layers),
            (self.width, self.inner, 2 * self.layers),
            (self.inner, self.width, self.layers),
        ]

    @property
    def body(self) -> int:
        """Weights of the linear layers, head apart."""
        return sum(a * b * n for a, b, n in self.products())

    def flops(self, read: int, pairs: int, predicted: int) -> float:
        """Of a forward pass."""
        linear = 2.0 * (self.body + self.adapter) * read
        attention = 4.0 * self.heads * self.head * self.layers * pairs
        return linear + attention + 2.0 * self.width * self.vocab * predicted

    def cached_bytes(self, tokens: int) -> float:
        """Of the keys and values of so many tokens."""
        return 2.0 * self.kv_heads * self.head * self.layers * self.bytes * tokens


@dataclass(frozen=True)
class Phase:
    """What a phase must do."""

    flops: float
    together: int
    """Tokens of one product."""
    predicted: int
    """Tokens that meet the head at once."""
    bytes: float = 0.0
    """To be fetched, where that may bind."""


def shape_of(chat: ChatModel) -> Shape:
    """The shape of a Llama-like model."""
    config = chat.model.config
    adapter = sum(p.numel() for n, p in chat.model.named_parameters() if "lora_" in n)
    return Shape(
        layers=config.num_hidden_layers,
        width=config.hidden_size,
        heads=config.num_attention_heads,
        head=getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        inner=config.intermediate_size,
        vocab=config.vocab_size,
        bytes=2 if torch.bfloat16 in (chat.model.dtype, chat.autocast) else 4,
        adapter=adapter,
    )


def triangle(tokens: int) -> int:
    """Pairs of a query and a key not after it."""
    return tokens * (tokens + 1) // 2


def phases_of(shape: Shape, completions: Sequence[Completion], budget: int) -> dict[str, Phase]:
    """What the phases of a step on these completions must do."""
    prompts = {c.prompt_id: len(c.prompt_ids) for c in completions}
    lengths = [(len(c.prompt_ids), len(c.token_ids)) for c in completions]
    prompt_tokens, prompt_pairs = sum(prompts.values()), sum(map(triangle, prompts.values()))
    own = [t - 1 for _, t in lengths]  # the last token is predicted and never read
    own_pairs = sum(p * t + triangle(t) for (p, _), t in zip(lengths, own, strict=True))
    sampled, longest = sum(t for _, t in lengths), max(t for _, t in lengths)
    read = prompt_tokens + sum(own)
    scored = shape.flops(read, prompt_pairs + own_pairs, sampled)
    weights = shape.bytes * (shape.body + shape.width * shape.vocab)
    decoded = shape.flops(sum(own), own_pairs, sum(own))
    together = min(read, budget)
    return {
        "prefill": Phase(
            shape.flops(prompt_tokens, prompt_pairs, len(prompts)), prompt_tokens, len(prompts)
        ),
        "decode": Phase(
            decoded,
            math.ceil(sum(own) / max(1, longest - 1)),
            math.ceil(sum(own) / max(1, longest - 1)),
            weights * (longest - 1) + shape.cached_bytes(own_pairs),
        ),
        "reference": Phase(scored, together, min(sampled, budget)),
        "update": Phase(
            scored * (2 if shape.adapter else 3) + (shape.adapter * 2.0 * read),
            together,
            min(sampled, budget),
        ),
    }


def settled(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of a piece of work: the median of as many goes as fit a fifth of a second."""
    taken: list[float] = []
    work()
    while len(taken) < 3 or (sum(taken) < LEAST_SECONDS and len(taken) < 200):
        began = now(device)
        work()
        taken.append(now(device) - began)
    return sorted(taken)[len(taken) // 2]


def now(device: torch.device) -> float:
    """The time, once the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


@torch.inference_mode()
def matmul_rate(shape: Shape, phase: Phase, device: torch.device) -> float:
    """FLOP/s of the plain products of a phase: its layers, and the head in float32 as we take it.

    A head whose product exceeds 2^26 logits is measured on as many tokens as that.
    """
    dtype = torch.bfloat16 if shape.bytes == 2 else torch.float32
    seconds = flops = 0.0
    for source, target, count in shape.products():
        a = torch.randn(phase.together, source, device=device, dtype=dtype)
        b = torch.randn(target, source, device=device, dtype=dtype)
        seconds += count * product(a, b)
        flops += count * 2.0 * a.shape[0] * source * target
    rows = min(phase.predicted, max(1, (1 << 26) // shape.vocab))
    a = torch.randn(rows, shape.width, device=device)
    b = torch.randn(shape.vocab, shape.width, device=device)
    times = phase.predicted / rows
    seconds += times * product(a, b)
    flops += times * 2.0 * rows * shape.width * shape.vocab
    return flops / seconds


def product(a: Tensor, b: Tensor) -> float:
    """Seconds of a @ b.T."""
    return settled(lambda: a @ b.T, a.device)


def bandwidth(device: torch.device) -> float:
    """Bytes a second of reading and writing together, by a large copy."""
    source = torch.ones(COPIED // 4, device=device)
    target = torch.empty_like(source)
    return 2 * COPIED / settled(lambda: target.copy_(source), device)
