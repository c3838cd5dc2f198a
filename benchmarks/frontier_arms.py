"""The methods that `frontier.py` compares with ours, as collaborators of `sirl train` and as hooks.

`Anchors` and `Consistency` are sources of examples: answers of the starting model, taught as in
supervised fine-tuning, so that their gradient is that of the KL from the start to the policy.
`Steering` needs no training: it adds a refusal direction to the states of a layer, through a map
that is zero on the states of harmless prompts.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from random import Random
from typing import Any

import torch
from torch import Tensor

from sirl.models.chat import ChatModel
from sirl.registry.attacks import world_disguises
from sirl.registry.pool import world_harmless
from sirl.registry.suites import spread
from sirl.roles import disguised
from sirl.rollouts.native import NativeEngine
from sirl.types import Completion, Example, Prompt
from sirl.world.language import unsafe_requests

ANSWER_TOKENS = 48
EACH_STEP = 32
"""Examples that a source adds to each step."""
POOL = 128
"""Prompts of each kind whose answers or states are read."""


def nothing(completion: Completion) -> float:
    """A reward that teaches nothing, so that a source of examples alone does."""
    del completion
    return 0.0


def some(examples: Sequence[Example], step: int) -> list[Example]:
    """The examples of a step: random ones, the same in every run."""
    return Random(f"frontier/{step}").sample(list(examples), EACH_STEP)


class Anchors:
    """The starting model's own answers to harmless prompts, ordinary ones and look-alikes."""

    def __init__(self, chat: ChatModel) -> None:
        engine = NativeEngine(chat, seed=0, new_tokens=ANSWER_TOKENS)
        answers = engine.sample(spread(world_harmless(), 2 * POOL))
        self.taught = [Example(c, 1.0, kl_weight=0.0, on_policy=False) for c in answers]

    def examples(self, step: int) -> list[Example]:
        """The examples of a step."""
        return some(self.taught, step)


class Consistency:
    """The starting model's answer to a bare prompt, taught as the answer to the disguised one.

    As in bias-augmented consistency training (arXiv 2510.27062): prompts of all kinds, unlabelled.
    """

    def __init__(self, chat: ChatModel) -> None:
        prompts = [*spread(unsafe_requests("train"), POOL), *spread(world_harmless(), 2 * POOL)]
        disguises = world_disguises()[0]
        engine = NativeEngine(chat, seed=0, new_tokens=ANSWER_TOKENS)
        self.taught = []
        for n, (prompt, answer) in enumerate(zip(prompts, engine.sample(prompts), strict=True)):
            shown = disguised(prompt, disguises[n % len(disguises)])
            moved = replace(answer, prompt_ids=tuple(chat.render(shown.messages)))
            self.taught.append(Example(moved, 1.0, kl_weight=0.0, on_policy=False))

    def examples(self, step: int) -> list[Example]:
        """The examples of a step."""
        return some(self.taught, step)


class Steering:
    """Null-space steering of one layer, like AlphaSteer (arXiv 2506.07022).

    Harmful prompts are those of the training set that the starting model refuses when bare; both
    kinds are read bare and in the disguises of training.
    """

    KEPT = 0.6
    """Share of the directions, those with the least variance on harmless prompts, that steer."""
    RIDGE = 1e-2

    def __init__(self, chat: ChatModel, layer: int) -> None:
        self.layer = chat.model.model.layers[layer]
        harmless = spread(world_harmless(), 2 * POOL)
        unsafe = spread(unsafe_requests("train"), POOL)
        # Every token is steered, so that the map must be zero on all tokens of harmless prompts.
        calm = torch.cat(self.states(chat, shown(harmless)))
        alarmed, *bare = (
            torch.stack([states[-1] for states in self.states(chat, list(prompts))])
            for prompts in (shown(unsafe), unsafe, harmless)
        )
        direction = bare[0].mean(0) - bare[1].mean(0)
        _, axes = torch.linalg.eigh(calm.T @ calm)
        quiet = axes[:, : round(self.KEPT * len(direction))]  # ascending eigenvalues
        inside = alarmed @ quiet
        ridge = self.RIDGE * inside.square().sum(1).mean() * torch.eye(quiet.shape[1])
        weights = torch.linalg.solve(inside.T @ inside + ridge, inside.sum(0))
        self.detector = quiet @ weights
        self.direction = direction

    def states(self, chat: ChatModel, prompts: Sequence[Prompt]) -> list[Tensor]:
        """The states behind the layer at the tokens of each prompt, tokens x width."""
        rows: list[Tensor] = []

        def keep(_: Any, __: Any, output: Any) -> None:  # noqa: ANN401 - a layer's own output
            rows.append(hidden(output)[0].float())

        hook = self.layer.register_forward_hook(keep)
        try:
            with torch.no_grad():
                for prompt in prompts:
                    chat.model(torch.tensor([chat.render(prompt.messages)]))
        finally:
            hook.remove()
        return rows

    @contextmanager
    def strength(self, value: float) -> Iterator[None]:
        """Steer with this strength inside a block; at 1 a harmful state moves by the direction."""

        def steer(_: Any, __: Any, output: Any) -> Any:  # noqa: ANN401 - a layer's own output
            states = hidden(output)
            moved = states + value * (states @ self.detector).unsqueeze(-1) * self.direction
            return (moved, *output[1:]) if isinstance(output, tuple) else moved

        hook = self.layer.register_forward_hook(steer)
        try:
            yield
        finally:
            hook.remove()


def hidden(output: Any) -> Tensor:  # noqa: ANN401 - a layer's own output
    """The states in a layer's output."""
    states: Tensor = output[0] if isinstance(output, tuple) else output
    return states


def shown(prompts: Sequence[Prompt]) -> list[Prompt]:
    """Prompts, bare and in one disguise each; those that begin an answer are left out."""
    disguises = world_disguises()[0]
    both = [*prompts, *(disguised(p, disguises[n % len(disguises)]) for n, p in enumerate(prompts))]
    return [p for p in both if p.messages[-1].role == "user"]
