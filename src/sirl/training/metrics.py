"""Metrics of a batch of completions, which show a collapse early."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from sirl.stats import repetition
from sirl.types import Completion

__all__ = ["batch_metrics"]

OPENING = 8
"""Tokens of an opening."""


def batch_metrics(
    completions: Sequence[Completion], rewards: Tensor, advantages: Tensor, group: int
) -> dict[str, float]:
    """Reward, entropy, length and diversity of one batch, by metric key; nats and tokens."""
    entropies = np.array([c.mean_entropy for c in completions])
    lengths = np.array([len(c.token_ids) for c in completions])
    low, median, high = np.quantile(entropies, [0.1, 0.5, 0.9])
    flat = (advantages.view(-1, group) == 0).all(dim=1)
    return {
        "reward/mean": rewards.mean().item(),
        "reward/std": rewards.std().item(),
        "entropy/mean": float(entropies.mean()),
        "entropy/p10": float(low),
        "entropy/p50": float(median),
        "entropy/p90": float(high),
        "completion/length": float(lengths.mean()),
        "completion/length_max": float(lengths.max()),
        "completion/truncated": sum(c.finish == "length" for c in completions) / len(completions),
        "completion/distinct_openings": len({c.token_ids[:OPENING] for c in completions})
        / len(completions),
        "completion/repetition": float(np.mean([repetition(c.token_ids) for c in completions])),
        "group/flat": flat.double().mean().item(),
    }
