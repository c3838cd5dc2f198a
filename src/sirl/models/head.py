"""The head: from hidden states to log-probabilities and losses, a tile of logits at a time.

Logits over a large vocabulary are the largest tensor of a step, and each is looked at once. Here a
tile of tokens meets the whole vocabulary, gives what is asked of it, and is gone. With a loss, its
gradient is taken in the same visit: nothing is kept, and nothing is computed twice. Logits are
float32 and so are all sums: rounding to bfloat16 makes entropies drift down, along our reward.
Where the device adds products of 16 bits up in float32, a head of 16 bits is multiplied as it is,
and one under autocast is rounded as autocast rounds every other weight.

Axes: `seq` predicted tokens of a micro-batch, `width` the hidden state, `vocab` the vocabulary.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sirl.entropy import TokenNumbers, at_least_float32, token_logprobs, token_numbers
from sirl.models.memory import out_of_memory

__all__ = [
    "Factor",
    "Predicted",
    "TokenLoss",
    "factor_of",
    "logprobs_of",
    "loss_of",
    "numbers_of",
]

TILE, TILE_ON_GPU = 1 << 24, 1 << 27
"""Logits of one visit: 64 MiB in float32, and 512 where each visit waits for a launch."""
LEAST = 256
"""Tokens of one visit at least: the whole head is read for them."""
TokenLoss = Callable[[Tensor, slice], Tensor]
"""The loss (a scalar, summed) over the log-probabilities of some tokens, and which those are."""


class Predicted(NamedTuple):
    """Tokens, and what predicts them."""

    token_ids: Tensor
    """seq."""
    states: Tensor
    """seq x width; seq x vocab, the logits themselves, where there is no weight."""
    weight: Tensor | None
    """vocab x width: of a head that is a product and nothing else."""
    narrow: torch.dtype | None = None
    """The type of 16 bits to which autocast rounds the factors of products."""

    def tiles(self, factor: "Factor | None") -> Iterator[tuple[slice, Tensor]]:
        """Some tokens after others, and their logits in float32 or better, free to be written on.

        `factor` is the weight as it is multiplied.
        """
        vocab = self.states.shape[1] if factor is None else factor.matrix.shape[0]
        size = max(LEAST, (TILE if self.states.device.type == "cpu" else TILE_ON_GPU) // vocab)
        for start in range(0, len(self.states), size):
            part = slice(start, min(start + size, len(self.states)))
            states = self.states[part]
            if factor is None:
                yield part, states.to(at_least_float32(states).dtype, copy=True)
            else:
                yield part, factor.logits(states)

    @property
    def factor(self) -> "Factor | None":
        """The weight as it is multiplied."""
        return None if self.weight is None else factor_of(self.weight, self.narrow)


class Factor(NamedTuple):
    """A weight (vocab x width) as it is multiplied; all products are in float32 or better.

    Where it holds numbers of 16 bits, gradients that are multiplied with it are rounded to them.
    """

    matrix: Tensor
    """Of 16 bits where the device adds their products up in float32; else in float32 or better."""
    kind: torch.dtype
    """The type that holds each of its numbers."""

    def logits(self, states: Tensor) -> Tensor:
        """Seq x vocab, of states (seq x width)."""
        if self.matrix.itemsize == 2:
            return wide_product(states.to(self.kind), self.matrix.T)
        with bfloat16_factors(self.kind == states.dtype == torch.bfloat16):
            return states.to(self.matrix) @ self.matrix.T

    def on_states(self, on_logits: Tensor) -> Tensor:
        """The gradient by states (seq x width), given that by logits (seq x vocab)."""
        if self.matrix.itemsize == 2:
            return wide_product(on_logits.to(self.kind), self.matrix)
        with bfloat16_factors(self.kind == torch.bfloat16):
            return on_logits @ self.matrix

    def add_to(self, on_weight: Tensor, on_logits: Tensor, states: Tensor) -> None:
        """Add the gradient by the weight itself to a sum of such."""
        if self.matrix.itemsize == 2:
            on_weight += wide_product(on_logits.T.to(self.kind), states.to(self.kind))
            return
        with bfloat16_factors(self.kind == states.dtype == torch.bfloat16):
            on_weight.addmm_(on_logits.T, states.to(on_weight))


def factor_of(weight: Tensor, narrow: torch.dtype | None) -> Factor:
    """A weight as a factor of products; `narrow` is the type to which autocast rounds factors."""
    kind = narrow or weight.dtype
    if kind.itemsize == 2 and adds_up_wide(weight.device, kind):
        return Factor(weight.to(kind), kind)
    return Factor(at_least_float32(weight), weight.dtype)


def wide_product(left: Tensor, right: Tensor) -> Tensor:
    """A product of 16-bit matrices, added up and handed over in float32."""
    return torch.mm(left, right, out_dtype=torch.float32)


@contextmanager
def bfloat16_factors(on: bool) -> Iterator[None]:  # noqa: FBT001 - read as a word
    """Let a processor that can multiply float32 matrices as bfloat16, adding up in float32.

    Of matrices that hold no more than bfloat16 the product is the same.
    """
    if not on:
        yield
        return
    knob = torch.backends.mkldnn.matmul  # type: ignore[attr-defined] # made as it is loaded
    before = knob.fp32_precision
    knob.fp32_precision = "bf16"
    try:
        yield
    finally:
        knob.fp32_precision = before


@cache
def adds_up_wide(device: torch.device, kind: torch.dtype) -> bool:
    """Whether a device has that product: the GPUs of CUDA and XPU do, a processor does not."""
    one = torch.ones(16, 16, dtype=kind, device=device)
    try:
        wide_product(one, one)
    except RuntimeError as error:  # "not implemented", in one way or another
        if out_of_memory(error):
            raise
        return False
    return True


@torch.no_grad()
def logprobs_of(predicted: Predicted) -> Tensor:
    """Log-probability of each token (seq), in nats, without a gradient."""
    ids = predicted.token_ids
    tiles = predicted.tiles(predicted.factor)
    return torch.cat([token_logprobs(logits, ids[part]) for part, logits in tiles])


@torch.no_grad()
def numbers_of(predicted: Predicted) -> TokenNumbers:
    """Log-probability, entropy and self-certainty of each token (seq), in nats, no gradient."""
    ids = predicted.token_ids
    found = [token_numbers(logits, ids[part]) for part, logits in predicted.tiles(predicted.factor)]
    return TokenNumbers(*(torch.cat(column) for column in zip(*found, strict=True)))


def loss_of(predicted: Predicted, loss: TokenLoss) -> tuple[Tensor, Tensor]:
    """The loss, with its gradient, and the log-probabilities (seq), without.

    The loss of a token may depend on no other token's log-probability.
    """
    found: tuple[Tensor, Tensor] = FusedLoss.apply(*predicted, loss)  # type: ignore[no-untyped-call]
    return found


class FusedLoss(torch.autograd.Function):
    """Takes the gradient while a tile is at hand; going backward only hands it on."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - autograd's own
        token_ids: Tensor,
        states: Tensor,
        weight: Tensor | None,
        narrow: torch.dtype | None,
        loss: TokenLoss,
    ) -> tuple[Tensor, Tensor]:
        predicted = Predicted(token_ids, states, weight, narrow)
        factor = predicted.factor
        on_states = torch.empty_like(states)
        on_weight = None
        if weight is not None and ctx.needs_input_grad[2]:
            wide = torch.promote_types(weight.dtype, torch.float32)
            on_weight = torch.zeros_like(weight, dtype=wide)
        total, kept = [], []
        for part, logits in predicted.tiles(factor):
            ids = token_ids[part].unsqueeze(1)
            chosen = logits.sub_(logits.amax(dim=1, keepdim=True)).gather(1, ids)
            sums = logits.exp_().sum(dim=1, keepdim=True)
            logprobs = (chosen - sums.log()).squeeze(1)
            value, slope = slope_of(loss, logprobs, part)
            # d logprob / d logits = onehot - p; the tile of logits becomes its gradient in place.
            slope = slope.unsqueeze(1)
            on_logits = logits.mul_(-slope / sums).scatter_add_(1, ids, slope)
            on_states[part] = on_logits if factor is None else factor.on_states(on_logits)
            if factor is not None and on_weight is not None:
                factor.add_to(on_weight, on_logits, states[part])
            total.append(value)
            kept.append(logprobs)
        factor = None  # a copy, perhaps, and a large one
        ctx.save_for_backward(on_states, None if on_weight is None else on_weight.to(weight))
        logprobs = torch.cat(kept)
        ctx.mark_non_differentiable(logprobs)
        return torch.stack(total).sum(), logprobs

    @staticmethod
    def backward(
        ctx: Any,  # noqa: ANN401 - autograd's own
        upstream: Tensor,
        _: Tensor,
    ) -> tuple[Tensor | None, ...]:
        on_states, on_weight = ctx.saved_tensors
        return (
            None,
            on_states * upstream.to(on_states),
            None if on_weight is None else on_weight * upstream.to(on_weight),
            None,
            None,
        )


def slope_of(loss: TokenLoss, logprobs: Tensor, part: slice) -> tuple[Tensor, Tensor]:
    """A loss, and its derivative by each log-probability."""
    with torch.enable_grad():
        moved = logprobs.detach().requires_grad_()
        value = loss(moved, part)
        (slope,) = torch.autograd.grad(value, moved)
    return value.detach(), slope
