"""One optimizer step: completions and their advantages in, a moved policy out.

A batch taken in one step is on-policy: its old log-probabilities are its own, one forward pass
does for both and the ratio is exactly 1. Several mini-batches compare with log-probabilities that
were scored before anything moved. The reference scores the completions without gradient.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from sirl.models.chat import ChatModel
from sirl.models.forward import Scorer, micro_batches, score_logprobs
from sirl.policy import KLEstimator, policy_loss, token_weights
from sirl.training.reference import Reference
from sirl.types import Completion

__all__ = ["Learner", "Objective", "Schedule", "learning_rates"]

Schedule = Literal["constant", "cosine"]


@dataclass(frozen=True)
class Objective:
    """What a step minimises, and how it is cut into pieces."""

    clip: float = 0.2
    kl_weight: float = 0.01
    kl_estimator: KLEstimator = "k3"
    mini_batches: int = 1
    """Optimizer steps per batch of completions."""
    token_budget: int = 16384
    """Tokens, padding included, of one micro-batch."""
    max_gradient_norm: float = 1.0


def learning_rates(peak: float, schedule: Schedule, steps: int) -> Callable[[int], float]:
    """Learning rate of each step, counted from 0. Cosine falls from the peak towards zero."""
    if schedule == "constant":
        return lambda _: peak
    return lambda step: peak * 0.5 * (1 + math.cos(math.pi * min(step, steps) / steps))


@dataclass(frozen=True)
class Lesson:
    """A completion with all that its share of the loss takes."""

    completion: Completion
    advantage: float
    reference: Tensor
    """Log-probabilities of its tokens under the starting model."""
    old: Tensor | None
    """The same under the policy before anything moved; None where the step is on-policy."""


@dataclass
class Sums:
    """Totals over the completions of a batch."""

    loss: float = 0.0
    kl: float = 0.0
    clipped: float = 0.0
    mismatch: float = 0.0


class Learner:
    """Moves the policy; owns its optimizer."""

    def __init__(
        self,
        chat: ChatModel,
        reference: Reference,
        objective: Objective,
        learning_rate: Callable[[int], float],
        *,
        weight_decay: float = 0.0,
    ) -> None:
        self.chat = chat
        self.reference = reference
        self.objective = objective
        self.learning_rate = learning_rate
        self.scorer = Scorer(chat)
        self.parameters = {n: p for n, p in chat.model.named_parameters() if p.requires_grad}
        self.optimizer = torch.optim.AdamW(
            self.parameters.values(), lr=learning_rate(0), weight_decay=weight_decay
        )

    def update(
        self, completions: Sequence[Completion], advantages: Tensor, *, step: int
    ) -> dict[str, float]:
        """Take the optimizer steps of one batch; its numbers by metric key.

        A mini-batch whose loss or gradient is not finite leaves the policy where it is and is
        counted under `update/skipped`.

        Raises:
            ModelError: The completions were sampled from other weights than the policy's.
        """
        started = time.perf_counter()
        self.chat.refuse_stale(completions)
        lessons = self.lessons(completions, advantages)
        scored = time.perf_counter()
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(step)
        sums, norms, skipped = Sums(), [], 0
        parts = self.mini_batches(len(lessons))
        for part in parts:
            finite, norm = self.descend(lessons[part], sums)
            norms.append(norm)
            skipped += not finite
        self.chat.learned()
        return {
            "kl/reference": sums.kl / len(parts),
            "update/loss": sums.loss / len(parts),
            "update/clipped_fraction": sums.clipped / len(parts),
            "update/gradient_norm": sum(norms) / len(norms),
            "update/learning_rate": self.learning_rate(step),
            "update/skipped": skipped,
            "update/steps": len(parts),
            "sampler/mismatch": sums.mismatch / len(parts),
            "seconds/reference": scored - started,
            "seconds/update": time.perf_counter() - scored,
        }

    def lessons(self, completions: Sequence[Completion], advantages: Tensor) -> list[Lesson]:
        """The completions, scored by the reference and, where it will have moved, the policy."""
        budget = self.objective.token_budget
        reference = self.reference.logprobs(completions, budget)
        old: Sequence[Tensor | None] = [None] * len(completions)
        if len(self.mini_batches(len(completions))) > 1:
            old = score_logprobs(self.chat, completions, token_budget=budget)
        columns = zip(completions, advantages.tolist(), reference, old, strict=True)
        return [Lesson(*row) for row in columns]

    def mini_batches(self, rows: int) -> list[slice]:
        """The completions of each optimizer step, in order."""
        size = math.ceil(rows / self.objective.mini_batches)
        return [slice(i, min(i + size, rows)) for i in range(0, rows, size)]

    def descend(self, lessons: Sequence[Lesson], sums: Sums) -> tuple[bool, float]:
        """One optimizer step on these; whether it was finite, and the gradient norm."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = 0.0
        completions = [lesson.completion for lesson in lessons]
        for rows in micro_batches(completions, self.objective.token_budget):
            loss += self.learn([lessons[i] for i in rows], len(lessons), sums)
        norm = torch.nn.utils.clip_grad_norm_(
            self.parameters.values(), self.objective.max_gradient_norm
        ).item()
        sums.loss += loss
        finite = math.isfinite(loss) and math.isfinite(norm)
        if finite:
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return finite, norm

    def learn(self, lessons: Sequence[Lesson], batch_rows: int, sums: Sums) -> float:
        """Add the gradient of one micro-batch; its share of the loss."""
        lengths = torch.tensor([len(x.completion.token_ids) for x in lessons])
        weights = token_weights(lengths, batch_rows)
        advantages = torch.tensor([x.advantage for x in lessons]).repeat_interleave(lengths)
        weights, advantages = (x.float().to(self.chat.device) for x in (weights, advantages))
        reference = torch.cat([lesson.reference for lesson in lessons])
        old = [lesson.old for lesson in lessons if lesson.old is not None]
        before = torch.cat(old) if old else None
        kl, clipped = [], []

        def loss(logprobs: Tensor, part: slice) -> Tensor:
            share = policy_loss(
                logprobs,
                logprobs.detach() if before is None else before[part],
                reference[part],
                advantages[part],
                weights[part],
                clip=self.objective.clip,
                kl_weight=self.objective.kl_weight,
                kl_estimator=self.objective.kl_estimator,
            )
            kl.append(share.kl)
            clipped.append(share.clipped)
            return share.loss

        total, logprobs = self.scorer([x.completion for x in lessons], loss)
        torch.autograd.backward(total)
        sums.kl += torch.stack(kl).sum().item()
        sums.clipped += torch.stack(clipped).sum().item()
        sampled = torch.tensor([p for x in lessons for p in x.completion.logprobs])
        gaps = (logprobs - sampled.to(logprobs)).abs()
        sums.mismatch += (weights * gaps).sum().item()
        return float(total.detach())
