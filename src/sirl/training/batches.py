"""The prompts of each step."""

from collections.abc import Iterator, Sequence
from random import Random

from sirl.types import Prompt

__all__ = ["prompt_batches"]


def prompt_batches(
    prompts: Sequence[Prompt], size: int, seed: int, steps: range
) -> Iterator[tuple[int, Sequence[Prompt]]]:
    """The prompts of each step, a function of (seed, step) alone.

    Every pass over the prompts is shuffled anew; what does not fill a batch waits for the next.
    There are at least `size` prompts.
    """
    per_pass = len(prompts) // size
    for step in steps:
        order = list(range(len(prompts)))
        Random(f"{seed}/{step // per_pass}").shuffle(order)
        start = (step % per_pass) * size
        yield step, [prompts[i] for i in order[start : start + size]]
