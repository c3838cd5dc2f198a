"""Rewards: minus the mean token entropy (the method) and the paper's controls.

A reward uses only the policy's own probabilities, never the text. `REWARDS` maps the names of the
setting `reward` to functions.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from sirl.roles import Reward
from sirl.types import Completion

__all__ = [
    "REWARDS",
    "negative_entropy",
    "perplexity",
    "random_reward",
    "reversed_entropy",
    "self_certainty",
]


def mean(values: Sequence[float]) -> float:
    """The mean; NaN for an empty completion, which skips its group."""
    return math.fsum(values) / len(values) if values else math.nan


def negative_entropy(completion: Completion) -> float:
    """Minus the mean token entropy, in nats: the method (SIRL, arXiv 2510.01088)."""
    return -mean(completion.entropies)


def reversed_entropy(completion: Completion) -> float:
    """The mean token entropy, in nats: the paper's control with the opposite sign."""
    return mean(completion.entropies)


def random_reward(completion: Completion) -> float:
    """A random number in [0, 1): a control, since gains under it are not due to the method.

    It is a hash of the completion, so a resumed run gets the same numbers.
    """
    seed = f"{completion.prompt_id}\0{completion.sample}\0{completion.token_ids}"
    digest = hashlib.blake2b(seed.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2.0**53


def perplexity(completion: Completion) -> float:
    """Minus the logarithm of the perplexity: the mean log-probability of the sampled tokens."""
    return mean(completion.logprobs)


def self_certainty(completion: Completion) -> float:
    """Mean KL from uniform to the policy, in nats (Intuitor, arXiv 2505.19590)."""
    return mean(completion.certainties)


REWARDS: Mapping[str, Reward] = MappingProxyType(
    {
        "negative_entropy": negative_entropy,
        "reversed": reversed_entropy,
        "random": random_reward,
        "perplexity": perplexity,
        "self_certainty": self_certainty,
    }
)
