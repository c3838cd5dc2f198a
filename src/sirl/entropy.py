"""Token entropy, log-probability and self-certainty, as pure tensor functions.

Axes: `rows` are completions, `seq` token positions, `vocab` the full vocabulary. Callers shift the
logits: position t here is the distribution that produced token t, up to and including the
end-of-turn token. Results are in nats, of the raw distribution (temperature 1, before top-p,
penalties or grammars), and are computed in float32 or float64.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = [
    "TokenNumbers",
    "at_least_float32",
    "self_certainty",
    "token_entropy",
    "token_logprobs",
    "token_numbers",
]


FAR = 1e4
"""Nats below the maximum at which a probability underflows to 0 in every precision."""


class TokenNumbers(NamedTuple):
    """Per-token quantities from one pass over the logits."""

    logprobs: Tensor
    entropies: Tensor
    certainties: Tensor


def at_least_float32(logits: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """The logits in float32, or unchanged if float64."""
    return logits if logits.dtype == torch.float64 else logits.float()


def token_entropy(logits: Float[Tensor, "*batch vocab"]) -> Float[Tensor, "*batch"]:
    """Entropy of the next-token distribution at every position, in nats.

    Never in bfloat16, where a top probability of 0.999 rounds to 1 and the reward cannot tell
    two confident refusals apart. Logits of -inf contribute 0; a NaN logit gives NaN, so a broken
    forward pass stays visible.

    >>> token_entropy(torch.zeros(1, 1, 4)).exp().item()
    4.0
    """
    probs = at_least_float32(logits).softmax(dim=-1)
    entropy: Tensor = torch.special.entr(probs).sum(dim=-1)
    return entropy


def token_logprobs(
    logits: Float[Tensor, "*batch vocab"], token_ids: Int[Tensor, "*batch"]
) -> Float[Tensor, "*batch"]:
    """Log-probability of each token under the distribution that produced it, in nats."""
    logprobs = at_least_float32(logits).log_softmax(dim=-1)
    return logprobs.gather(-1, token_ids.unsqueeze(-1)).squeeze(-1)


def self_certainty(logits: Float[Tensor, "*batch vocab"]) -> Float[Tensor, "*batch"]:
    """KL from the uniform distribution to the policy, in nats (Intuitor, arXiv 2505.19590).

    Infinite if a logit is -inf, since the uniform distribution gives that token probability.

    >>> self_certainty(torch.zeros(1, 1, 4)).item()
    0.0
    """
    wide = at_least_float32(logits)
    return -wide.log_softmax(dim=-1).mean(dim=-1) - log_size(wide)


def token_numbers(
    logits: Float[Tensor, "*batch vocab"], token_ids: Int[Tensor, "*batch"]
) -> TokenNumbers:
    """Log-probability, entropy and self-certainty of each token, in one pass over the logits.

    >>> numbers = token_numbers(torch.zeros(1, 4), torch.tensor([2]))
    >>> [round(column.item(), 4) for column in numbers]
    [-1.3863, 1.3863, 0.0]
    """
    wide = at_least_float32(logits)
    below = wide - wide.amax(dim=-1, keepdim=True)
    weights = below.exp()
    total = weights.sum(dim=-1)
    normaliser = total.log()
    certainty = normaliser - below.mean(dim=-1) - log_size(below)
    logprobs = below.gather(-1, token_ids.unsqueeze(-1)).squeeze(-1) - normaliser
    # H = log Z - E[x] with x <= 0: both terms are non-negative, so low entropies do not cancel.
    # Clamp -inf first, since 0 * -inf is NaN.
    products = below.clamp_(min=-FAR).mul_(weights).sum(dim=-1)
    return TokenNumbers(logprobs, normaliser - products / total, certainty)


def log_size(wide: Float[Tensor, "*batch vocab"]) -> float:
    """Entropy of the uniform distribution over the vocabulary, in nats."""
    return math.log(wide.shape[-1])  # a tensor would need a device transfer
