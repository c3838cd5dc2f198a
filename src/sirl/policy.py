"""Policy-gradient maths: group advantages, the clipped loss, the KL penalty.

Axes: `rows` are completions, grouped by prompt; `tokens` are the concatenated tokens of all rows.
The objective is GRPO as in the paper: clipped ratio times advantage, averaged over the tokens of a
completion, then over completions, minus the KL penalty. The denominators are explicit, so loss
and gradient do not depend on the split into micro-batches.
"""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = [
    "MIN_STD",
    "KLEstimator",
    "PolicyLoss",
    "group_advantages",
    "kl_estimate",
    "policy_loss",
    "token_weights",
]

MIN_STD = 1e-4
"""Groups whose rewards have a smaller standard deviation get advantages of 0."""

KLEstimator = Literal["k1", "k2", "k3"]


class PolicyLoss(NamedTuple):
    """Weighted sums over some tokens: loss, KL and clip fraction."""

    loss: Tensor
    kl: Tensor
    clipped: Tensor


def group_advantages(rewards: Float[Tensor, " rows"], group: int) -> Float[Tensor, " rows"]:
    """Rewards standardised within each group.

    Uses the sample standard deviation (n - 1), as other GRPO implementations do. A group of equal
    rewards gets exact zeros. A NaN reward makes its whole group NaN, and the step is skipped.

    >>> group_advantages(torch.tensor([1.0, 2.0, 3.0, 5.0, 5.0, 5.0]), group=3).tolist()
    [-1.0, 0.0, 1.0, 0.0, 0.0, 0.0]

    Raises:
        ValueError: The rewards do not split into groups, or `group` is less than 2.
    """
    if group < 2 or rewards.numel() % group:
        raise ValueError(
            f"{rewards.numel()} rewards do not split into groups of {group} (at least 2)"
        )
    by_prompt = rewards.view(-1, group)
    centred = by_prompt - by_prompt.mean(dim=1, keepdim=True)
    std = by_prompt.std(dim=1, keepdim=True)
    # `std <= MIN_STD` is false for NaN, so a NaN group stays NaN.
    return torch.where(std <= MIN_STD, torch.zeros_like(centred), centred / std).flatten()


def kl_estimate(
    logprobs: Float[Tensor, " tokens"],
    reference: Float[Tensor, " tokens"],
    estimator: KLEstimator,
) -> Float[Tensor, " tokens"]:
    """Per-token estimate of KL(policy, reference) from sampled tokens (Schulman, 2020).

    k1 is unbiased and may be negative, k2 is biased and low in variance, k3 is unbiased and
    never negative.

    >>> one, half = torch.zeros(1), torch.full((1,), 0.5).log()
    >>> [round(kl_estimate(one, half, k).item(), 4) for k in ("k1", "k2", "k3")]
    [0.6931, 0.2402, 0.1931]
    """
    log_ratio = reference - logprobs
    if estimator == "k1":
        return -log_ratio
    if estimator == "k2":
        return 0.5 * log_ratio.square()
    return torch.expm1(log_ratio) - log_ratio


def token_weights(
    lengths: Int[Tensor, " rows"], batch_rows: int | float
) -> Float[Tensor, " tokens"]:
    """Weight of each token in a mean over tokens, then over `batch_rows` completions.

    >>> token_weights(torch.tensor([1, 2]), batch_rows=2).tolist()
    [0.5, 0.25, 0.25]
    """
    return (1.0 / (lengths.double() * batch_rows)).repeat_interleave(lengths)


def policy_loss(  # noqa: PLR0913 - the terms of the objective
    logprobs: Float[Tensor, " tokens"],
    old: Float[Tensor, " tokens"],
    reference: Float[Tensor, " tokens"],
    advantages: Float[Tensor, " tokens"],
    weights: Float[Tensor, " tokens"],
    *,
    clip: float,
    kl_weight: float | Float[Tensor, " tokens"],
    kl_estimator: KLEstimator = "k3",
) -> PolicyLoss:
    """The contribution of these tokens to the loss of their batch; contributions add up.

    loss = sum_t w [beta KL - min(c A, clip(c, 1-eps, 1+eps) A)], with c = exp(logprobs - old), the
    advantage A of the completion and the weight w of `token_weights`. Only `logprobs` carries a
    gradient.
    """
    ratio = torch.exp(logprobs - old)
    surrogate = torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)
    kl = kl_estimate(logprobs, reference, kl_estimator)
    is_clipped = (ratio * advantages > surrogate).to(weights)
    return PolicyLoss(
        loss=(weights * (kl_weight * kl - surrogate)).sum(),
        kl=(weights * kl.detach()).sum(),
        clipped=(weights * is_clipped).sum(),
    )
