"""The workflow of `sirl demo`: the paper's method and the instinct, side by side."""

from pathlib import Path
from typing import Any

from sirl.config import DemoConfig, TrainConfig
from sirl.roles import Console
from sirl.runs import Existing, check_free
from sirl.workflows.train import train

__all__ = ["PAPER", "demo"]

PAPER = "the paper's SIRL"
"""Column of the model that the paper's method hardened."""
UNSHARED = (
    "pool", "depth", "sentinel", "learning_rate", "attacks", "behaviours", "ordinary",
    "lookalikes", "limit", "refusals",
)  # fmt: skip
"""Settings of the instinct or of the evaluation."""
PAPER_STEPS = 30
"""Its steps, as in the paper's main results."""


def demo(config: DemoConfig, existing: Existing, console: Console) -> dict[str, Any]:
    """Train by both methods and evaluate base and both; the summary, with the seconds of both.

    The run of the paper's method comes first, in a folder beside it with the suffix `-paper`. A
    demo that ended in that run has no second folder to resume.

    Raises:
        RunError: A folder exists, before anything is trained.
    """
    first = paper_settings(config)
    ended_in_first = Path(first.out).exists() and not Path(config.out).exists()
    second: Existing = "ask" if ended_in_first else existing
    for folder, answer in ((config.out, second), (first.out, existing)):
        check_free(Path(folder), answer)
    paper = train(first, "train", existing, console)
    found = train(config, "demo", second, console, beside={PAPER: paper["checkpoint"]})
    return {**found, "seconds": round(paper["seconds"] + found["seconds"], 1)}


def paper_settings(config: DemoConfig) -> TrainConfig:
    """The settings of the paper's method, without an evaluation."""
    return TrainConfig.model_validate(
        {
            **config.model_dump(exclude=set(UNSHARED)),
            "method": "entropy",
            "out": f"{config.out}-paper",
            "steps": PAPER_STEPS,
            "held_out": 0,
            "eval_every": 0,
        }
    )
