"""What a completion earns: the method's reward and the paper's controls.

Each reward reads only what the policy itself thought while it wrote, never the text. The names
are those of the configuration; `REWARDS` is the whole family.
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
    """The mean; NaN for none, so that an empty completion is seen and never rewarded."""
    return math.fsum(values) / len(values) if values else math.nan


def negative_entropy(completion: Completion) -> float:
    """Minus the mean token entropy, in nats: the method (SIRL, arXiv 2510.01088)."""
    return -mean(completion.entropies)


def reversed_entropy(completion: Completion) -> float:
    """The mean token entropy, in nats: the paper's control with the sign turned."""
    return mean(completion.entropies)


def random_reward(completion: Completion) -> float:
    """A number in [0, 1) that the completion cannot influence: any gain under it is not ours.

    It is drawn from what was sampled, so that a resumed run draws the same.
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
