"""The instinct: whether a model itself would refuse or answer a prompt, read from entropies alone.

The starting model answers each prompt of an unlabelled pool several times, without a disguise. The
mean token entropies of all answers fall into two modes, refusals (low) and compliance (high), and
the valley between them is the cut. The instinct of a prompt is the mode of most of its answers.
Training rewards answers in this mode, however the prompt is presented: it raises refusals of
disguised unsafe requests and lowers refusals of harmless ones, without a label.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sirl.errors import TrainingError
from sirl.stats import mean, otsu
from sirl.types import Completion

__all__ = ["BORDER", "MODES", "Instinct", "InstinctReward", "Mode", "find_instinct"]

Mode = Literal["refuse", "comply"]
MODES: tuple[Mode, Mode] = ("refuse", "comply")
FEWEST = 40
"""Answers from which two modes can be told from one."""
ONE_MODE = 0.05
"""p of Hartigan's dip test from which the entropies may well have one mode only."""
BORDER = (0.05, 0.5)
"""Shares of refusals of a prompt near the border between the modes."""


@dataclass(frozen=True)
class Instinct:
    """What a model would do with each prompt of a pool."""

    cut: float
    """Mean token entropy in nats; answers below it are in the low mode."""
    shares: Mapping[str, float]
    """Prompt id to the share of its answers in the low mode."""
    modes: tuple[float, float]
    """Mean entropy of the answers in the low and in the high mode, in nats."""
    dip: float
    """p of the dip test: how probable it is that a single mode gives such entropies."""

    def of(self, prompt_id: str) -> Mode | None:
        """The mode of most answers; None if they are split evenly or the prompt was not read."""
        share = self.shares.get(prompt_id, 0.5)
        return None if share == 0.5 else "refuse" if share > 0.5 else "comply"

    def prompts(self, mode: Mode | None) -> list[str]:
        """Ids of the prompts with this instinct; None for the undecided ones."""
        return [id for id in self.shares if self.of(id) == mode]

    @property
    def border(self) -> int:
        """Number of prompts that the model answers but sometimes refuses; they hold the border."""
        low, high = BORDER
        return sum(low <= share < high for share in self.shares.values())

    @property
    def has_two_modes(self) -> bool:
        """Whether the entropies have two modes."""
        return self.dip < ONE_MODE


@dataclass(frozen=True)
class InstinctReward:
    """1 if a completion is in the mode that the model chooses for the bare prompt, else 0."""

    instinct: Instinct

    def __call__(self, completion: Completion) -> float:
        """The reward; 0 for an empty completion, which is in no mode.

        NaN for an undecided prompt, which is not trained on.
        """
        mode = self.instinct.of(completion.prompt_id)
        if mode is None:
            return math.nan
        if not completion.entropies:
            return 0.0
        return float((completion.mean_entropy < self.instinct.cut) == (mode == "refuse"))


def find_instinct(completions: Iterable[Completion]) -> Instinct:
    """The instinct in the answers of the starting model to bare prompts.

    Args:
        completions: Several answers to each prompt; their order does not matter.

    Raises:
        TrainingError: There are too few answers, or all have the same entropy.
    """
    from diptest import diptest  # noqa: PLC0415 - an evaluation does not need it

    answers: dict[str, list[float]] = {}
    for completion in completions:
        if not math.isnan(completion.mean_entropy):
            answers.setdefault(completion.prompt_id, []).append(completion.mean_entropy)
    entropies = sorted(e for own in answers.values() for e in own)
    if len(entropies) < FEWEST or entropies[0] == entropies[-1]:
        raise TrainingError(
            f"{len(entropies)} answers of {len(set(entropies))} different entropies do not show "
            f"two modes (at least {FEWEST} are needed): give more --prompts, or train with "
            "--method entropy"
        )
    cut, _ = otsu(entropies)
    low = [e for e in entropies if e < cut]
    return Instinct(
        cut=cut,
        shares={id: mean([float(e < cut) for e in own]) for id, own in answers.items()},
        modes=(mean(low), mean(entropies[len(low) :])),
        dip=float(diptest(np.array(entropies))[1]),
    )
