"""The prompts of each step."""

from collections.abc import Sequence
from random import Random

from sirl.types import Prompt

__all__ = ["prompts_of"]


def prompts_of(prompts: Sequence[Prompt], size: int, seed: int, step: int) -> Sequence[Prompt]:
    """The prompts of a step; depends only on (seed, step).

    Each epoch is reshuffled and drops its incomplete last batch. Needs at least `size` prompts.
    """
    per_pass = len(prompts) // size
    order = list(range(len(prompts)))
    Random(f"{seed}/{step // per_pass}").shuffle(order)
    start = (step % per_pass) * size
    return [prompts[i] for i in order[start : start + size]]
