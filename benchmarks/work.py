"""The work of a training step, by formula, and the rates of this machine, by measurement.

Only useful work counts: two FLOPs per weight of a linear layer and input token, two per weight of
the head and predicted token, four times the attention width per visible query-key pair. Padding,
masked pairs, norms and softmax are not counted, so that waste lowers the share. Forward and
backward cost three times a forward pass, twice if the weights are frozen; adapters count as
weights. Bytes are those that decoding must fetch: the weights once per position, and the cache of
every unfinished row.

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
"""Bytes of the tensor whose copy measures the bandwidth."""
LEAST_SECONDS = 0.2


@dataclass(frozen=True)
class Shape:
    """The sizes of a model's matrix products."""

    layers: int
    width: int
    heads: int
    head: int
    """Width of an attention head."""
    kv_heads: int
    inner: int
    vocab: int
    bytes: int
    """Bytes per weight."""
    adapter: int = 0
    """Weights of an adapter."""

    def products(self) -> list[tuple[int, int, int]]:
        """(input width, output width, count) of all linear layers except the head."""
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
        """Weights of the linear layers without the head."""
        return sum(a * b * n for a, b, n in self.products())

    def flops(self, read: int, pairs: int, predicted: int) -> float:
        """FLOPs of a forward pass."""
        linear = 2.0 * (self.body + self.adapter) * read
        attention = 4.0 * self.heads * self.head * self.layers * pairs
        return linear + attention + 2.0 * self.width * self.vocab * predicted

    def cached_bytes(self, tokens: int) -> float:
        """Bytes of the KV cache of this many tokens."""
        return 2.0 * self.kv_heads * self.head * self.layers * self.bytes * tokens


@dataclass(frozen=True)
class Phase:
    """The work of a phase."""

    flops: float
    together: int
    """Tokens per matrix product."""
    predicted: int
    """Tokens per product with the head."""
    bytes: float = 0.0
    """Bytes to fetch, if they may be the bottleneck."""


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
    """Number of causal query-key pairs."""
    return tokens * (tokens + 1) // 2


def phases_of(shape: Shape, completions: Sequence[Completion], budget: int) -> dict[str, Phase]:
    """The work of the phases of a step on these completions."""
    prompts = {c.prompt_id: len(c.prompt_ids) for c in completions}
    lengths = [(len(c.prompt_ids), len(c.token_ids)) for c in completions]
    prompt_tokens, prompt_pairs = sum(prompts.values()), sum(map(triangle, prompts.values()))
    own = [t - 1 for _, t in lengths]  # the last token is predicted but not an input
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
    """Seconds of a piece of work: the median of the repetitions within 0.2 seconds."""
    taken: list[float] = []
    work()
    while len(taken) < 3 or (sum(taken) < LEAST_SECONDS and len(taken) < 200):
        began = now(device)
        work()
        taken.append(now(device) - began)
    return sorted(taken)[len(taken) // 2]


def now(device: torch.device) -> float:
    """The time after the device has finished."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


@torch.inference_mode()
def matmul_rate(shape: Shape, phase: Phase, device: torch.device) -> float:
    """FLOP/s of the plain products of a phase: its layers, and the head in float32.

    A head product of more than 2^26 logits is measured on fewer tokens and scaled up.
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
    """Bytes read and written per second by a large copy."""
    source = torch.ones(COPIED // 4, device=device)
    target = torch.empty_like(source)
    return 2 * COPIED / settled(lambda: target.copy_(source), device)
