"""Classical detectors of attacks, which read the prompt and the first token only.

All scores are higher for more suspicious prompts. Inputs are the entropy and the log-probability
(nats) of each token of the rendered prompt except the first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["CLASSICAL", "Usual", "classical_scores", "usual"]

SPAN = 8
"""Tokens of a window."""
SLACK = 0.5
"""Deviations that CUSUM forgives per token: half of the shift that it looks for."""
NORMAL = 1.4826
"""Standard deviations of a normal distribution per median absolute deviation."""
CLASSICAL = ("prompt_perplexity", "windowed_perplexity", "first_token_confidence", "prompt_cusum")


@dataclass(frozen=True)
class Usual:
    """Entropies of the tokens of harmless prompts, bare and in disguises."""

    median: float
    deviation: float
    """Median absolute deviation, scaled to a standard deviation."""


def usual(entropies: Sequence[Sequence[float]]) -> Usual:
    """What is usual in harmless prompts, one sequence of entropies each."""
    every = np.concatenate([np.asarray(own, dtype=float) for own in entropies])
    median = float(np.median(every))
    return Usual(median, NORMAL * float(np.median(abs(every - median))) or 1.0)


def classical_scores(
    logprobs: Sequence[float], entropies: Sequence[float], top_logprob: float, known: Usual
) -> Mapping[str, float]:
    """The scores of one prompt by detector.

    Args:
        logprobs: Log-probabilities of its tokens.
        entropies: Entropies of the distributions of its tokens.
        top_logprob: Log-probability of the likeliest first token of the answer.
        known: Entropies of harmless prompts, which CUSUM compares with.

    >>> found = classical_scores([-1.0, -3.0], [2.0, 4.0], -0.5, Usual(1.0, 1.0))
    >>> [found[name] for name in CLASSICAL]
    [2.0, 2.0, 0.5, 3.0]
    """
    losses = -np.asarray(logprobs, dtype=float)
    return {
        "prompt_perplexity": float(losses.mean()),
        "windowed_perplexity": windowed(losses),
        "first_token_confidence": -top_logprob,
        "prompt_cusum": cusum((np.asarray(entropies) - known.median) / known.deviation),
    }


def windowed(losses: np.ndarray) -> float:
    """The highest mean over a window; over all tokens if they are fewer."""
    span = min(SPAN, len(losses))
    sums = np.concatenate([[0.0], losses.cumsum()])
    return float((sums[span:] - sums[:-span]).max() / span)


def cusum(deviations: np.ndarray) -> float:
    """The highest one-sided cumulative sum of standardised deviations beyond the slack.

    >>> cusum(np.array([2.0, -9.0, 1.5, 1.5]))
    2.0
    """
    total = highest = 0.0
    for deviation in deviations.tolist():
        total = max(0.0, total + deviation - SLACK)
        highest = max(highest, total)
    return highest
