"""The head: from hidden states to log-probabilities and losses, a tile of logits at a time.

Logits over a large vocabulary are the largest tensor of a step, and each is looked at once. Here a
tile of tokens meets the whole vocabulary, gives what is asked of it, and is gone. With a loss, its
gradient is taken in the same visit: nothing is kept, and nothing is computed twice. Logits are
float32 and so are all sums: rounding to bfloat16 makes entropies drift down, along our reward.
Factors of 16 bits stay as they are where the device adds their products up in float32.

Axes: `seq` predicted tokens of a micro-batch, `width` the hidden state, `vocab` the vocabulary.
"""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sirl.entropy import TokenNumbers, at_least_float32, token_logprobs, token_numbers

__all__ = [
    "Predicted",
    "TokenLoss",
    "as_multiplied",
    "logprobs_of",
    "loss_of",
    "numbers_of",
    "product",
]

TILE, TILE_ON_GPU = 1 << 24, 1 << 27
"""Logits of one visit: 64 MiB in float32, and 512 where each visit waits for a launch."""
LEAST = 128
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

    def tiles(self, matrix: Tensor | None) -> Iterator[tuple[slice, Tensor]]:
        """Some tokens after others, and their logits in float32 or better, free to be written on.

        `matrix` is the weight as it is multiplied.
        """
        vocab = self.states.shape[1] if matrix is None else matrix.shape[0]
        size = max(LEAST, (TILE if self.states.device.type == "cpu" else TILE_ON_GPU) // vocab)
        for start in range(0, len(self.states), size):
            part = slice(start, min(start + size, len(self.states)))
            states = self.states[part]
            if matrix is None:
                yield part, states.to(at_least_float32(states).dtype, copy=True)
            else:
                yield part, product(states, matrix.T)

    @property
    def matrix(self) -> Tensor | None:
        """The weight as it is multiplied."""
        return None if self.weight is None else as_multiplied(self.weight, self.narrow)


def as_multiplied(weight: Tensor, narrow: torch.dtype | None) -> Tensor:
    """A weight as a factor of a `product`: of 16 bits where that is exact, else float32 or better.

    `narrow` is the type to which autocast rounds factors; a weight may be of 16 bits by itself.
    """
    kind = narrow or weight.dtype
    if kind.itemsize == 2 and adds_up_wide(weight.device, kind):
        return weight.to(kind)
    return at_least_float32(weight)


def product(left: Tensor, right: Tensor) -> Tensor:
    """A product of matrices in float32 or better; the left is first made of the right's type."""
    same = left.to(right)
    return wide_product(same, right) if right.itemsize == 2 else same @ right


def add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add a `product` to a total, without room for another of its size where that can be."""
    if right.itemsize == 2:
        total += wide_product(left.to(right), right)
    else:
        total.addmm_(left, right)


def wide_product(left: Tensor, right: Tensor) -> Tensor:
    """A product of 16-bit matrices, added up and handed over in float32."""
    return torch.mm(left, right, out_dtype=torch.float32)


@cache
def adds_up_wide(device: torch.device, kind: torch.dtype) -> bool:
    """Whether a device has that product: the GPUs of CUDA and XPU do, a processor does not."""
    one = torch.ones(16, 16, dtype=kind, device=device)
    try:
        wide_product(one, one)
    except RuntimeError:  # "not implemented", in one way or another
        return False
    return True


@torch.no_grad()
def logprobs_of(predicted: Predicted) -> Tensor:
    """Log-probability of each token (seq), in nats, without a gradient."""
    ids = predicted.token_ids
    tiles = predicted.tiles(predicted.matrix)
    return torch.cat([token_logprobs(logits, ids[part]) for part, logits in tiles])


@torch.no_grad()
def numbers_of(predicted: Predicted) -> TokenNumbers:
    """Log-probability, entropy and self-certainty of each token (seq), in nats, no gradient."""
    ids = predicted.token_ids
    found = [token_numbers(logits, ids[part]) for part, logits in predicted.tiles(predicted.matrix)]
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
        matrix = predicted.matrix
        on_states = torch.empty_like(states)
        on_weight = None
        if matrix is not None and ctx.needs_input_grad[2]:
            wide = torch.promote_types(matrix.dtype, torch.float32)
            on_weight = torch.zeros_like(matrix, dtype=wide)
        total, kept = [], []
        for part, logits in predicted.tiles(matrix):
            ids = token_ids[part].unsqueeze(1)
            normaliser = logits.logsumexp(dim=1, keepdim=True)
            logprobs = (logits.gather(1, ids) - normaliser).squeeze(1)
            value, slope = slope_of(loss, logprobs, part)
            # d logprob / d logits = onehot - p; the tile of logits becomes its gradient in place.
            slope = slope.unsqueeze(1)
            on_logits = logits.sub_(normaliser).exp_().mul_(-slope).scatter_add_(1, ids, slope)
            on_states[part] = on_logits if matrix is None else product(on_logits, matrix)
            if on_weight is not None:
                add_product(on_weight, on_logits.T, states[part].to(matrix))
            total.append(value)
            kept.append(logprobs)
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
