"""The prompts of each step."""

from collections.abc import Iterator, Sequence
from random import Random

from sirl.types import Prompt

__all__ = ["prompt_batches"]


def prompt_batches(
    prompts: Sequence[Prompt], size: int, seed: int, steps: range
) -> Iterator[tuple[int, Sequence[Prompt]]]:
    """The prompts of each step; depends only on (seed, step).

    Each epoch is reshuffled and drops its incomplete last batch. Needs at least `size` prompts.
    """
    per_pass = len(prompts) // size
    for step in steps:
        order = list(range(len(prompts)))
        Random(f"{seed}/{step // per_pass}").shuffle(order)
        start = (step % per_pass) * size
        yield step, [prompts[i] for i in order[start : start + size]]
