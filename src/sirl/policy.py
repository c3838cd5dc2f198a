"""The policy-gradient maths: group advantages, the clipped loss, the KL penalty.

Axes: `rows` are completions, siblings of one prompt adjacent; `tokens` are theirs, one completion
after another. The
objective is GRPO's as the paper states it: a clipped ratio times the advantage, averaged over
the tokens of each completion and then over completions, minus the KL penalty. Denominators are
explicit, so that loss and gradient do not depend on the split into micro-batches.
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
"""Groups whose rewards spread less than this, in reward units, teach nothing."""

KLEstimator = Literal["k1", "k2", "k3"]


class PolicyLoss(NamedTuple):
    """The share of some tokens in the loss, and what to log beside it: sums, weighted alike."""

    loss: Tensor
    kl: Tensor
    clipped: Tensor


def group_advantages(rewards: Float[Tensor, " rows"], group: int) -> Float[Tensor, " rows"]:
    """How much better each completion did than its siblings, in standard deviations.

    The deviation is the sample one (n - 1), as in the GRPO implementations of the field. A
    group in which all earned the same gets exact zeros, never rounding noise divided by
    rounding noise. A NaN reward makes its whole group NaN: the step is seen and skipped.

    >>> group_advantages(torch.tensor([1.0, 2.0, 3.0, 5.0, 5.0, 5.0]), group=3).tolist()
    [-1.0, 0.0, 1.0, 0.0, 0.0, 0.0]

    Raises:
        ValueError: The rewards do not split into groups, or a group is a single completion.
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
    """What each token of these completions counts for: a mean over tokens, then over completions.

    >>> token_weights(torch.tensor([1, 2]), batch_rows=2).tolist()
    [0.5, 0.25, 0.25]
    """
    return (1.0 / (lengths.double() * batch_rows)).repeat_interleave(lengths)


def policy_loss(  # noqa: PLR0913 - the objective has these terms; a bag would only hide them
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
    """The share of these tokens in the loss of their batch; shares add up.

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
