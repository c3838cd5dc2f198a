"""Searched suffixes: prompts on which a short gradient search has moved the decision.

Attackers search for a suffix after which a model no longer refuses. A few steps of the same search
(GCG, arXiv 2307.15043) give training the suffixes that work against the policy as it stands, as in
R2D2 (arXiv 2402.04249); the loss is on the first token of the answer only, where the decision is
made. The search is mirrored: after prompts that the starting model answers, it looks for suffixes
that make the policy refuse.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from random import Random
from typing import Any

import torch
from torch import Tensor

from sirl.attacks.gradient import Gcg, Slot, SuffixReader, slot
from sirl.attacks.objectives import Goal
from sirl.entropy import at_least_float32
from sirl.errors import ModelError
from sirl.models.chat import ChatModel
from sirl.training.curriculum import Curriculum
from sirl.types import Message, Prompt

__all__ = ["Attacked", "DecisionLoss", "SuffixSearch"]

DRAWN, DRAWS = 8, 16
"""Random suffixes of a draw, and draws at most until one survives the tokenizer."""


@dataclass(frozen=True)
class DecisionLoss:
    """Log-probability of a decision, which the search lowers.

    It is the decision to refuse, that a refusal opener comes first, or to answer, that none does.
    """

    openers: Sequence[int]
    refuses: bool
    lookahead: int = 0

    def __call__(self, logits: Tensor, goal: Goal) -> Tensor:
        """The log-probability of each row, in nats."""
        del goal
        logprobs = at_least_float32(logits[:, 0]).log_softmax(dim=-1)
        openers = torch.tensor(self.openers, device=logprobs.device)
        if self.refuses:
            return logprobs[:, openers].logsumexp(dim=1)
        return logprobs.index_fill(1, openers, float("-inf")).logsumexp(dim=1)


@dataclass(frozen=True)
class SuffixSearch:
    """Finds suffixes that move the decision of a policy."""

    chat: ChatModel
    """The policy."""
    openers: Sequence[int]
    """First tokens of refusals."""
    steps: int = 8
    candidates: int = 32
    """Suffixes evaluated per step."""
    length: int = 12
    """Tokens of a suffix."""

    @cached_property
    def one_token(self) -> Goal:
        """A goal of one token: the loss reads the distribution of the first one only."""
        token = torch.zeros(1, dtype=torch.long, device=self.chat.device)
        return Goal(token, token, token[:0])

    def check(self, prompt: Prompt) -> None:
        """Check that suffixes can be searched at all.

        Raises:
            ModelError: Template, tokenizer or cache of the model do not allow it.
        """
        _ = self.reader(slot(self.chat, prompt, self.length), refuses=True).prefix

    def attacked(self, prompt: Prompt, chance: Random, refuses: bool) -> Prompt | None:
        """The prompt with a searched suffix after its last turn.

        Args:
            prompt: A prompt that ends with a user turn.
            chance: Draws the first suffix and the candidates.
            refuses: Whether the search works against refusing the prompt, or against answering it.

        Returns:
            None if template and tokenizer encode no suffix consistently after this prompt.
        """
        try:
            place = slot(self.chat, prompt, self.length)
        except ModelError:
            return None
        reader = self.reader(place, refuses=refuses)
        search = Gcg("suffix", reader.objective, candidates=self.candidates, length=self.length)
        suffix = best = self.first(place, chance)
        seen, least = {suffix}, math.inf
        for _ in range(self.steps):
            if not (found := search.step(reader, suffix, seen, chance)):
                break
            loss, suffix = min(found)
            least, best = min((least, best), (loss, suffix))
        return replace(prompt, messages=place.messages(best))

    def reader(self, place: Slot, *, refuses: bool) -> SuffixReader:
        """Reads the decision after suffixes in a slot."""
        objective = DecisionLoss(self.openers, refuses)
        return SuffixReader(place, self.one_token, objective, self.candidates)

    def first(self, place: Slot, chance: Random) -> tuple[int, ...]:
        """A random suffix; the slot's own if none survives the tokenizer."""
        allowed = self.chat.plain_ids.tolist()
        for _ in range(DRAWS):
            drawn = [tuple(chance.choices(allowed, k=self.length)) for _ in range(DRAWN)]
            if faithful := place.faithful(drawn):
                return faithful[0]
        return place.start


@dataclass(frozen=True)
class Attacked:
    """Draws the prompts of each step that get a suffix; depends only on (seed, step, policy)."""

    search: Callable[[Prompt, Random, bool], Prompt | None]
    """Adds a suffix to a prompt, against the decision to refuse it (True) or to answer it."""
    curriculum: Curriculum
    count: int
    agreed: Callable[[Any], Any]
    """The value of rank 0, as rounding may differ."""

    def prompts(self, step: int) -> list[Prompt]:
        """The prompts of a step: refused and answered ones alternate, also from step to step.

        Every other pair may be in a disguise; a prompt stays bare if its disguise would begin the
        answer.
        """
        shown, texts = list[Prompt](), list[str | None]()
        for n in range(self.count):
            # A search draws as often as rounding decides, so each prompt has its own draws.
            chance = Random(f"{self.curriculum.seed}/suffixes/{step}/{n}")
            refuses, may_dress = (n + step) % 2 == 0, (n // 2 + step // 2) % 2 == 1
            prompt = chance.choice(self.curriculum.refused if refuses else self.curriculum.answered)
            dressed = self.curriculum.dressed(prompt, chance) if may_dress else prompt
            shown.append(prompt if dressed.is_begun else dressed)
            hard = self.search(shown[-1], chance, refuses)
            texts.append(hard.request if hard else None)
        found = [
            replace(prompt, messages=(*prompt.messages[:-1], Message("user", text)))
            for prompt, text in zip(shown, self.agreed(texts), strict=True)
            if text is not None
        ]
        return [p for p in found if self.curriculum.fits(p)]
