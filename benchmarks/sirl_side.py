"""Runs the training steps of a benchmark job with sirl, as `sirl train` does.

Returns the seconds of every step after the warm-up, the number of sampled tokens and the
end-of-turn tokens, so that the work of two sides can be compared.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from turns import Found, serve

from sirl import registry
from sirl.config import TrainConfig
from sirl.models.chat import ChatModel
from sirl.rewards import negative_entropy
from sirl.roles import Control, Observer
from sirl.rollouts.native import NativeEngine
from sirl.training.grading import ByGroup
from sirl.training.rl import train
from sirl.training.rollouts import Rollouts
from sirl.training.update import PolicyLearner
from sirl.types import Prompt


def config_of(job: Found) -> TrainConfig:
    """The job as the configuration of `sirl train`."""
    return TrainConfig(
        model=job["model"],
        out="unused",
        seed=job["seed"],
        steps=job["steps"] + job["warmup"],
        batch=job["batch"],
        group=job["group"],
        new_tokens=job["new_tokens"],
        learning_rate=job["learning_rate"],
        kl=job["kl"],
        dtype=job["dtype"],
        lora=job["lora"],
    )


def policy_of(job: Found, config: TrainConfig) -> ChatModel:
    """The policy, with the end-of-turn tokens of the job if given; none for full-length answers."""
    chat = registry.policy(config, None)
    return replace(chat, end_ids=frozenset(job["end_ids"])) if "end_ids" in job else chat


def prompts_of(job: Found, step: int) -> list[Prompt]:
    """The prompts of a step, the same on both sides."""
    size = job["batch"]
    texts = job["prompts"][step * size : (step + 1) * size]
    return [Prompt.user(f"{step}-{i}", text) for i, text in enumerate(texts)]


class Clock(Observer):
    """Records wall and processor seconds of each step."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []
        self.last = self.now()

    @staticmethod
    def now() -> tuple[float, float]:
        """Wall and processor time in seconds, after the device has finished."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter(), time.process_time()

    def on_step(self, taken: int, metrics: dict[str, float], control: Control) -> None:
        """Record the seconds of a step."""
        del taken, control
        wall, processor = self.now()
        self.steps.append(
            {
                **metrics,
                "seconds": wall - self.last[0],
                "processor": processor - self.last[1],
            }
        )
        self.last = self.now()


def steps_of(job: Found) -> Found:
    """Run the steps of a job."""
    config = config_of(job)
    torch.manual_seed(job["seed"])
    chat = policy_of(job, config)
    learner: PolicyLearner = registry.learner(config, chat, None)
    engine = NativeEngine(
        chat, config.seed, config.new_tokens, batch_size=config.sampling_batch_size
    )
    clock = Clock()
    prompts = partial(prompts_of, job)
    rollouts = Rollouts(prompts, engine, ByGroup(negative_entropy), config.group)
    train(range(config.steps), rollouts, learner, [clock])
    return summary(job, clock.steps, chat)


def summary(job: Found, steps: Sequence[dict[str, float]], chat: ChatModel) -> Found:
    """The figures that the driver compares."""
    kept = steps[job["warmup"] :]
    rows = job["batch"] * job["group"]
    last = job["warmup"] + job["steps"]
    first = [prompt for step in range(last) for prompt in prompts_of(job, step)]
    found: dict[str, Any] = {
        "seconds": [s["seconds"] for s in kept],
        "processor": [s["processor"] for s in kept],
        "sample": [s["seconds/sample"] for s in kept],
        "reference": [s["seconds/reference"] for s in kept],
        "update": [s["seconds/update"] for s in kept],
        "tokens": [round(s["completion/length"] * rows) for s in kept],
        "mean_length": [s["completion/length"] for s in kept],
        "longest": [s["completion/length_max"] for s in kept],
        "end_ids": sorted(chat.end_ids),
        "prompt_tokens": sum(len(chat.render(p.messages)) for p in first),
        "peak_bytes": torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0,
    }
    return found


if __name__ == "__main__":
    serve(steps_of)
