"""Draws tokens from logits, independently of the batch.

The uniforms are a function of (run seed, step, prompt id, sample, position). The last bits of a
logit do depend on the batch, and with inverse-CDF sampling such a change can flip the token at any
boundary of the vocabulary. We sample down an 8-ary tree of sums, one uniform per level, which has
few boundaries.
"""

import hashlib
from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from sirl.types import Sampling

__all__ = ["DRAWS", "kept", "pick", "row_key", "tiles", "uniforms"]

GOLDEN = 0x9E3779B97F4A7C15
"""2^64 over the golden ratio, the increment of SplitMix64."""
FREE = Sampling()
"""The model's own distribution."""
FAN = 8
"""Branching factor of the tree."""
DRAWS = 8
"""Uniforms per token: tree levels for a vocabulary of 8^8 = 17 million."""
CACHED = 1 << 18
"""Logits that fit in a CPU cache with their intermediate results."""


def row_key(seed: int, step: int, prompt_id: str, sample: int) -> int:
    """The 64-bit key of a completion's stream of uniforms."""
    name = f"{seed}\0{step}\0{sample}\0{prompt_id}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big")


def uniforms(keys: Sequence[int], positions: range) -> np.ndarray:
    """Float64 in [0, 1): keys x positions x draws, by the SplitMix64 hash.

    Source: Steele et al., 2014.
    """
    steps = np.arange(positions.start * DRAWS + 1, positions.stop * DRAWS + 1, dtype=np.uint64)
    with np.errstate(over="ignore"):
        x = np.array(keys, dtype=np.uint64)[:, None] + steps * np.uint64(GOLDEN)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x = x ^ (x >> np.uint64(31))
    uniform: np.ndarray = (x >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return uniform.reshape(len(keys), len(positions), DRAWS)


def pick(logits: Tensor, uniforms: Tensor, sampling: Sampling = FREE) -> Tensor:
    """Sample a token per row (rows x vocab): one uniform (rows x draws) per tree level.

    Never picks a token of probability 0, whatever the rounding.
    """
    wide = logits.float()
    if sampling.temperature == 0:
        return wide.argmax(dim=-1)
    flat = wide if sampling.temperature == 1 else wide / sampling.temperature
    forks = tree(kept(flat.softmax(dim=-1), sampling))
    place = torch.zeros(len(wide), dtype=torch.long, device=wide.device)
    for fork, uniform in zip(reversed(forks), uniforms[:, : len(forks)].unbind(dim=1), strict=True):
        here = place[:, None, None].expand(-1, FAN, 1)
        # The same order on every device, which cumsum does not guarantee.
        mass = torch.stack([*accumulate(fork.gather(2, here).squeeze(2).unbind(dim=1))], dim=1)
        total = mass[:, -1]
        cut = torch.minimum(uniform * total, torch.nextafter(total, torch.zeros_like(total)))
        place = place + (mass <= cut.unsqueeze(1)).sum(dim=1) * fork.shape[2]
    return place


def tiles(logits: Tensor) -> list[slice]:
    """Rows per chunk: on a CPU, few enough to stay in its cache."""
    rows, vocab = logits.shape
    size = max(1, CACHED // vocab) if logits.device.type == "cpu" else rows
    return [slice(start, start + size) for start in range(0, rows, size)]


def tree(probs: Tensor) -> list[Tensor]:
    """Sums of probabilities (rows x vocab) from the leaves up, each rows x branches x places.

    Branches are strided, so that sums run over contiguous rows.

    >>> [tuple(fork.shape) for fork in tree(torch.ones(2, 100))]
    [(2, 8, 13), (2, 8, 2), (2, 8, 1)]
    """
    forks, sums = [], probs
    while sums.shape[1] > 1:
        places = -(-sums.shape[1] // FAN)
        whole = pad(sums, (0, FAN * places - sums.shape[1]))
        forks.append(whole.view(-1, FAN, places))
        sums = forks[-1].sum(dim=1)
    return forks


def kept(probs: Tensor, sampling: Sampling) -> Tensor:
    """Probabilities after top-k and top-p, not renormalised.

    Top-p keeps the smallest set of most likely tokens whose sum reaches it, at least one.
    """
    if sampling.top_k:
        least = probs.topk(min(sampling.top_k, probs.shape[-1]), dim=-1).values[:, -1:]
        probs = probs.where(probs >= least, 0.0)
    if sampling.top_p < 1:
        ordered, order = probs.sort(dim=-1, descending=True, stable=True)
        before = ordered.cumsum(dim=-1) - ordered
        ruled_out = before >= sampling.top_p * ordered.sum(dim=-1, keepdim=True)
        ruled_out[:, 0] = False
        probs = probs.masked_fill(torch.zeros_like(ruled_out).scatter(1, order, ruled_out), 0.0)
    return probs
