"""Entropy and probability mass from the likeliest tokens alone, as APIs report them.

An API reports the k likeliest tokens (mostly 20) and not how the rest of the probability, the tail
mass m, is spread over the other tokens. Each of these is at most as likely as the last reported
one, p_k, and all of them are equally likely at most. So the entropy H of the whole distribution
lies between H_k + m ln(1/p_k) and H_k + m ln((V - k)/m), with H_k the sum over the reported tokens.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["EntropyBounds", "entropy_bounds", "log_mass"]

NEVER = -700.0
"""Nats below which a probability counts as 0; APIs write -9999 for minus infinity."""
NO_TAIL = 1e-9
ROUNDED = 1e-3
"""Nats above 0 that rounding may give."""


class EntropyBounds(NamedTuple):
    """What the reported tokens tell of an entropy, in nats."""

    truncated: float
    """The reported tokens' share of the entropy."""
    lower: float
    """The entropy is at least this."""
    upper: float
    """The entropy is at most this; infinite without the size of the vocabulary."""
    tail: float
    """Probability of all other tokens."""


def entropy_bounds(logprobs: Sequence[float], vocabulary: int | None = None) -> EntropyBounds:
    """Bounds of an entropy.

    >>> found = entropy_bounds([math.log(0.5), math.log(0.25)], vocabulary=4)
    >>> [round(x, 4) for x in found]
    [0.6931, 1.0397, 1.213, 0.25]

    Args:
        logprobs: Log-probabilities (nats) of the likeliest tokens, in any order.
        vocabulary: Number of all tokens.

    Raises:
        ValueError: There is none, or one is NaN or above 0.
    """
    if not logprobs or not all(p <= ROUNDED for p in logprobs):
        raise ValueError("log-probabilities are numbers of at most 0, at least one")
    truncated = math.fsum(-p * math.exp(p) for p in logprobs if p > NEVER)
    tail = max(0.0, 1.0 - math.fsum(map(math.exp, logprobs)))
    if tail < NO_TAIL:
        return EntropyBounds(truncated, truncated, truncated, 0.0)
    lower = truncated - tail * min(0.0, max(NEVER, min(logprobs)))
    if vocabulary is None:
        return EntropyBounds(truncated, lower, math.inf, tail)
    others = max(1, vocabulary - len(logprobs))
    return EntropyBounds(truncated, lower, truncated + tail * math.log(others / tail), tail)


def log_mass(logprobs: Sequence[float], least: float) -> float:
    """Log of the sum of probabilities, at least `least`, at most 0.

    >>> round(log_mass([math.log(0.5), math.log(0.25)], -9.0), 4), log_mass([], -9.0)
    (-0.2877, -9.0)
    """
    total = math.fsum(map(math.exp, logprobs))
    return min(0.0, max(least, math.log(total))) if total > 0 else least
