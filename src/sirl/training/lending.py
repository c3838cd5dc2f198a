"""Rewards of a step with begun answers: the instinct's reward, starting over, and lending.

The rest of a begun answer is short and confident, so low entropy alone does not show a refusal
after an opening: the completion must also begin as an answer of the starting model to the bare
prompt would. At first no completion does, and a group without a reward teaches nothing. Half of
its completions are then replaced by refusals that the starting model gave to the bare prompt.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from sirl.instinct import Instinct, InstinctReward
from sirl.policy import group_advantages
from sirl.training.grading import Graded
from sirl.training.openings import OwnAnswers
from sirl.types import Completion, Example, Prompt

__all__ = ["Lending"]

HEAD, LATEST, LIKELY = 4, 4, -7.0
"""A completion begins anew if HEAD tokens in a row, which start at most LATEST tokens late, have a
log-probability above LIKELY (nats) after the bare prompt under the starting model."""
MOST = 1.5
"""Advantage at most; a single rewarded completion of 8 would get 2.5."""
LENT = 2
"""One completion in so many of a group without a reward is replaced."""


@dataclass(frozen=True)
class Lending:
    """Grades a step in which some answers are begun; satisfies `sirl.training.grading.Grader`."""

    instinct: Instinct
    answers: OwnAnswers
    likelihoods: Callable[[Sequence[Completion]], Sequence[float]]
    """Log-probability of each completion under the starting model, in nats."""

    def grade(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Graded:
        """The rewards, advantages and training examples of a step."""
        group = len(completions) // len(prompts)
        rewards = torch.tensor(self.rewards(prompts, completions), dtype=torch.float64)
        taught, chosen = rewards.clone(), list(completions)
        for n, prompt in enumerate(prompts):
            end = (n + 1) * group
            begun = prompt.is_begun and prompt.id in self.answers.refusals
            if begun and not rewards[end - group : end].any():
                for i in range(end - group // LENT, end):
                    taught[i], chosen[i] = 1.0, self.lent(completions[i])
        advantages = group_advantages(taught, group).clamp(max=MOST)
        examples = [
            Example(
                completion,
                advantage,
                kl_weight=None if self.keeps(prompts[n // group]) else 0.0,
                on_policy=completion is completions[n],
            )
            for n, (completion, advantage) in enumerate(
                zip(chosen, advantages.tolist(), strict=True)
            )
        ]
        return Graded(rewards, advantages, examples)

    def rewards(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[float]:
        """The reward of each completion; behind an opening only a fresh start can refuse."""
        reward = InstinctReward(self.instinct)
        return [
            float(not self.refuses(c.prompt_id)) if anew is False else reward(c)
            for c, anew in zip(completions, self.anew(prompts, completions), strict=True)
        ]

    def anew(
        self, prompts: Sequence[Prompt], completions: Sequence[Completion]
    ) -> list[bool | None]:
        """Whether each completion begins anew; None where its answer is not begun."""
        group = len(completions) // len(prompts)
        found: list[bool | None] = [None] * len(completions)
        heads, places = [], []
        for n, completion in enumerate(completions):
            if prompts[n // group].is_begun:
                own = list(heads_of(completion, self.answers.asked[completion.prompt_id]))
                found[n] = False if own else None
                heads += own
                places += [n] * len(own)
        for n, likelihood in zip(places, self.likelihoods(heads) if heads else (), strict=True):
            found[n] = found[n] or likelihood > LIKELY
        return found

    def keeps(self, prompt: Prompt) -> bool:
        """Whether the policy should answer as the starting model does, under a KL penalty.

        The starting model never breaks off an answer that is begun, by others or by itself.
        """
        return not prompt.is_begun and not self.refuses(prompt.id)

    def refuses(self, prompt_id: str) -> bool:
        """Whether the starting model refuses the bare prompt."""
        return self.instinct.of(prompt_id) == "refuse"

    def lent(self, completion: Completion) -> Completion:
        """One of the starting model's refusals of the bare prompt in place of a completion.

        Its place in the group and the length of the rendered prompt choose which.
        """
        own = self.answers.refusals[completion.prompt_id]
        chosen = own[(len(completion.prompt_ids) + completion.sample) % len(own)]
        return Completion(completion.prompt_id, completion.prompt_ids, chosen, "", (), (), "stop")


def heads_of(completion: Completion, bare: tuple[int, ...]) -> Iterator[Completion]:
    """The token sequences with which a completion may start over, as answers to the bare prompt.

    The first of them begins at once; the others finish a word or a clause of the opening first.
    """
    ids = completion.token_ids
    for start in range(1 + min(LATEST, max(0, len(ids) - HEAD))):
        if head := ids[start : start + HEAD]:
            yield replace(completion, prompt_ids=bare, token_ids=head)
