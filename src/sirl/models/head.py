"""The LM head: from hidden states to log-probabilities and losses, without the full logits.

Logits over a large vocabulary are the largest tensor of a step. Here they are computed for a tile
of tokens, reduced, and freed; the gradient of a loss is computed in the same pass, so nothing is
stored or recomputed. Logits and sums are float32, since bfloat16 biases entropies downwards, in
the direction of the reward. If the device accumulates 16-bit products in float32, a 16-bit head
is used unchanged, and a head under autocast is rounded as autocast rounds other weights.

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
    "distributions_of",
    "factor_of",
    "logprobs_of",
    "loss_of",
    "numbers_of",
]

TILE, TILE_ON_GPU = 1 << 24, 1 << 27
"""Logits per tile: 64 MiB in float32 on a CPU, 512 MiB on a GPU, where launches cost time."""
LEAST = 256
"""Minimum tokens per tile, since each tile reads the whole head."""
TokenLoss = Callable[[Tensor, slice], Tensor]
"""Maps the log-probabilities of a slice of tokens, and that slice, to a summed scalar loss."""


class Predicted(NamedTuple):
    """Tokens with their hidden states or logits."""

    token_ids: Tensor
    """seq."""
    states: Tensor
    """seq x width; or seq x vocab, the logits, if there is no weight."""
    weight: Tensor | None
    """vocab x width, for a plain linear head."""
    narrow: torch.dtype | None = None
    """The 16-bit autocast dtype."""

    def tiles(self, factor: "Factor | None") -> Iterator[tuple[slice, Tensor]]:
        """Yield token slices with their logits in float32 or better, free to be overwritten.

        `factor` is the prepared weight.
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
        """The prepared weight."""
        return None if self.weight is None else factor_of(self.weight, self.narrow)


class Factor(NamedTuple):
    """A weight (vocab x width) prepared for products in float32 or better.

    If it is 16-bit, gradients are rounded to that type before a product with it.
    """

    matrix: Tensor
    """16-bit if the device accumulates such products in float32, else float32 or better."""
    kind: torch.dtype
    """The dtype that represents its values exactly."""

    def logits(self, states: Tensor) -> Tensor:
        """Logits (seq x vocab) of states (seq x width)."""
        if self.matrix.itemsize == 2:
            return wide_product(states.to(self.kind), self.matrix.T)
        with bfloat16_factors(self.kind == states.dtype == torch.bfloat16):
            return states.to(self.matrix) @ self.matrix.T

    def on_states(self, on_logits: Tensor) -> Tensor:
        """Gradient with respect to states (seq x width) from that of logits (seq x vocab)."""
        if self.matrix.itemsize == 2:
            return wide_product(on_logits.to(self.kind), self.matrix)
        with bfloat16_factors(self.kind == torch.bfloat16):
            return on_logits @ self.matrix

    def add_to(self, on_weight: Tensor, on_logits: Tensor, states: Tensor) -> None:
        """Accumulate the gradient with respect to the weight."""
        if self.matrix.itemsize == 2:
            on_weight += wide_product(on_logits.T.to(self.kind), states.to(self.kind))
            return
        with bfloat16_factors(self.kind == states.dtype == torch.bfloat16):
            on_weight.addmm_(on_logits.T, states.to(on_weight))


def factor_of(weight: Tensor, narrow: torch.dtype | None) -> Factor:
    """Prepare a weight for products; `narrow` is the autocast dtype."""
    kind = narrow or weight.dtype
    if kind.itemsize == 2 and adds_up_wide(weight.device, kind):
        return Factor(weight.to(kind), kind)
    return Factor(at_least_float32(weight), weight.dtype)


def wide_product(left: Tensor, right: Tensor) -> Tensor:
    """A product of 16-bit matrices, accumulated and returned in float32."""
    return torch.mm(left, right, out_dtype=torch.float32)


@contextmanager
def bfloat16_factors(on: bool) -> Iterator[None]:  # noqa: FBT001 - read as a word
    """Allow a CPU to multiply float32 matrices as bfloat16 with float32 accumulation.

    The product is exact for matrices whose values fit bfloat16.
    """
    if not on:
        yield
        return
    knob = torch.backends.mkldnn.matmul  # type: ignore[attr-defined] # set at import
    before = knob.fp32_precision
    knob.fp32_precision = "bf16"
    try:
        yield
    finally:
        knob.fp32_precision = before


@cache
def adds_up_wide(device: torch.device, kind: torch.dtype) -> bool:
    """Whether a device has that product: CUDA and XPU GPUs do, CPUs do not."""
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
    """Log-probability of each token (seq) in nats, detached."""
    ids = predicted.token_ids
    tiles = predicted.tiles(predicted.factor)
    return torch.cat([token_logprobs(logits, ids[part]) for part, logits in tiles])


@torch.no_grad()
def distributions_of(predicted: Predicted) -> Tensor:
    """Log-probabilities of the vocabulary (seq x vocab) at each token in nats, detached."""
    tiles = predicted.tiles(predicted.factor)
    return torch.cat([torch.log_softmax(logits, dim=1) for _, logits in tiles])


@torch.no_grad()
def numbers_of(predicted: Predicted) -> TokenNumbers:
    """Log-probability, entropy and self-certainty of each token (seq) in nats, detached."""
    ids = predicted.token_ids
    found = [token_numbers(logits, ids[part]) for part, logits in predicted.tiles(predicted.factor)]
    return TokenNumbers(*(torch.cat(column) for column in zip(*found, strict=True)))


def loss_of(predicted: Predicted, loss: TokenLoss) -> tuple[Tensor, Tensor]:
    """The loss with its gradient, and the detached log-probabilities (seq).

    The loss must be a sum of terms that each depend on one token's log-probability.
    """
    found: tuple[Tensor, Tensor] = FusedLoss.apply(*predicted, loss)  # type: ignore[no-untyped-call]
    return found


class FusedLoss(torch.autograd.Function):
    """Computes the gradient tile by tile in the forward pass; backward only scales it."""

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
            with torch.enable_grad():
                own = logprobs.detach().requires_grad_()
                value = loss(own, part)
                (slope,) = torch.autograd.grad(value, own)
            # d logprob / d logits = onehot - p; the tile of logits becomes its gradient in place.
            slope = slope.unsqueeze(1)
            on_logits = logits.mul_(-slope / sums).scatter_add_(1, ids, slope)
            on_states[part] = on_logits if factor is None else factor.on_states(on_logits)
            if factor is not None and on_weight is not None:
                factor.add_to(on_weight, on_logits, states[part])
            total.append(value.detach())
            kept.append(logprobs)
        factor = None  # may be a large copy
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
