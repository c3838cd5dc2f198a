"""The policy-gradient maths: group advantages, the clipped loss, the KL leash.

Axes: `rows` are completions, siblings of one prompt adjacent; `seq` are token positions. The
objective is GRPO's as the paper states it: a clipped ratio times the advantage, averaged over
the tokens of each completion and then over completions, minus the leash. Denominators are
explicit, so that loss and gradient do not depend on the split into micro-batches.
"""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sirl.entropy import masked_mean

__all__ = ["MIN_STD", "KLEstimator", "PolicyLoss", "group_advantages", "kl_estimate", "policy_loss"]

MIN_STD = 1e-4
"""Groups whose rewards spread less than this, in reward units, teach nothing."""

KLEstimator = Literal["k1", "k2", "k3"]


class PolicyLoss(NamedTuple):
    """One micro-batch's share of the loss, and what to log beside it (sums over its rows)."""

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
    logprobs: Float[Tensor, "rows seq"],
    reference: Float[Tensor, "rows seq"],
    estimator: KLEstimator,
) -> Float[Tensor, "rows seq"]:
    """Per-token estimate of KL(policy, reference) from sampled tokens (Schulman, 2020).

    k1 is unbiased and may be negative, k2 is biased and low in variance, k3 is unbiased and
    never negative.

    >>> one, half = torch.zeros(1, 1), torch.full((1, 1), 0.5).log()
    >>> [round(kl_estimate(one, half, k).item(), 4) for k in ("k1", "k2", "k3")]
    [0.6931, 0.2402, 0.1931]
    """
    log_ratio = reference - logprobs
    if estimator == "k1":
        return -log_ratio
    if estimator == "k2":
        return 0.5 * log_ratio.square()
    return torch.expm1(log_ratio) - log_ratio


def policy_loss(  # noqa: PLR0913 - the objective has these terms; a bag would only hide them
    logprobs: Float[Tensor, "rows seq"],
    old: Float[Tensor, "rows seq"],
    reference: Float[Tensor, "rows seq"],
    advantages: Float[Tensor, " rows"],
    is_completion: Bool[Tensor, "rows seq"],
    *,
    batch_rows: int,
    clip: float,
    kl_weight: float,
    kl_estimator: KLEstimator = "k3",
) -> PolicyLoss:
    """The share of these rows in the loss of a batch of `batch_rows` completions.

    loss = -(1/rows) sum_i mean_t min(c A, clip(c, 1-eps, 1+eps) A) + beta mean_t KL, with
    c = exp(logprobs - old). Only `logprobs` carries a gradient; shares of micro-batches add up
    to the loss of the batch. Values in the padding never matter.
    """
    ratio = torch.exp((logprobs - old).masked_fill(~is_completion, 0.0))
    gain = advantages.unsqueeze(1)
    surrogate = torch.minimum(ratio * gain, ratio.clamp(1 - clip, 1 + clip) * gain)
    leash = kl_estimate(
        logprobs.masked_fill(~is_completion, 0.0),
        reference.masked_fill(~is_completion, 0.0),
        kl_estimator,
    )
    is_clipped = (ratio * gain > surrogate).to(logprobs.dtype)
    per_row = masked_mean(kl_weight * leash - surrogate, is_completion)
    return PolicyLoss(
        loss=per_row.sum() / batch_rows,
        kl=masked_mean(leash.detach(), is_completion).sum(),
        clipped=masked_mean(is_clipped, is_completion).sum(),
    )
