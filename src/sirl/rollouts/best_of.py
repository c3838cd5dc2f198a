"""Best-of-N by entropy: a control without training.

It shows how much of the gain of training is just selection among the model's own answers, at N
times the sampling cost.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sirl.errors import ModelError
from sirl.roles import Engine
from sirl.types import Completion, Prompt

__all__ = ["LowestEntropy"]


@dataclass(frozen=True)
class LowestEntropy:
    """Samples `n` completions for each requested one; satisfies `sirl.roles.Engine`."""

    engine: Engine
    n: int
    """1 is equivalent to the inner engine."""

    def sample(
        self, prompts: Sequence[Prompt], *, group: int = 1, step: int = 0
    ) -> list[Completion]:
        """Sample `group` completions per prompt, grouped in the order of the prompts.

        Raises:
            ModelError: The inner engine returns no entropies.
        """
        drawn = self.engine.sample(prompts, group=self.n * group, step=step)
        if drawn and all(math.isnan(c.mean_entropy) for c in drawn):
            raise ModelError(
                f"{type(self.engine).__name__} returns no entropies, which best_of needs: use a "
                "local model"
            )
        draws = [drawn[i : i + self.n] for i in range(0, len(drawn), self.n)]
        return [
            replace(min(draw, key=entropy_key), sample=i % group) for i, draw in enumerate(draws)
        ]


def entropy_key(completion: Completion) -> tuple[bool, float]:
    """Sort key: mean entropy, NaN last."""
    return math.isnan(completion.mean_entropy), completion.mean_entropy
