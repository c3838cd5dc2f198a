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

from sirl.models.forward import Batch, completion_logprobs, micro_batches, pad, score_logprobs
from sirl.models.loading import ChatModel
from sirl.policy import KLEstimator, policy_loss
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


@dataclass
class Sums:
    """Totals over the rows of a step."""

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
        """
        started = time.perf_counter()
        reference = self.reference.logprobs(completions, self.objective.token_budget)
        parts = self.mini_batches(len(completions))
        old = self.old_logprobs(completions) if len(parts) > 1 else None
        scored = time.perf_counter()
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(step)
        sums, norms, skipped = Sums(), [], 0
        for part in parts:
            finite, norm = self.descend(part, completions, advantages, reference, old, sums)
            norms.append(norm)
            skipped += not finite
        rows = len(completions)
        return {
            "kl/reference": sums.kl / rows,
            "update/loss": sums.loss / len(parts),
            "update/clipped_fraction": sums.clipped / rows,
            "update/gradient_norm": sum(norms) / len(norms),
            "update/learning_rate": self.learning_rate(step),
            "update/skipped": skipped,
            "update/steps": len(parts),
            "sampler/mismatch": sums.mismatch / rows,
            "seconds/reference": scored - started,
            "seconds/update": time.perf_counter() - scored,
        }

    def mini_batches(self, rows: int) -> list[range]:
        """The rows of each optimizer step, in order."""
        size = math.ceil(rows / self.objective.mini_batches)
        return [range(i, min(i + size, rows)) for i in range(0, rows, size)]

    def old_logprobs(self, completions: Sequence[Completion]) -> list[Tensor]:
        """Log-probabilities before anything moves."""
        budget = self.objective.token_budget
        return score_logprobs(self.chat, completions, token_budget=budget)

    def descend(  # noqa: PLR0913 - per-row columns of one batch, kept apart so that none is renamed
        self,
        part: Sequence[int],
        completions: Sequence[Completion],
        advantages: Tensor,
        reference: Sequence[Tensor],
        old: Sequence[Tensor] | None,
        sums: Sums,
    ) -> tuple[bool, float]:
        """One optimizer step on these rows; whether it was finite, and the gradient norm."""
        self.optimizer.zero_grad(set_to_none=True)
        chosen = [completions[i] for i in part]
        loss = 0.0
        for places in micro_batches(chosen, self.objective.token_budget):
            # `places` are sorted by length: everything of a row is fetched by its own number.
            rows = [part[i] for i in places]
            batch = pad([completions[i] for i in rows], self.chat)
            logprobs = completion_logprobs(self.chat, batch)
            fixed = logprobs.detach() if old is None else columns([old[i] for i in rows], batch)
            share = policy_loss(
                logprobs,
                fixed,
                columns([reference[i] for i in rows], batch),
                advantages[rows].to(logprobs),
                batch.is_completion,
                batch_rows=len(part),
                clip=self.objective.clip,
                kl_weight=self.objective.kl_weight,
                kl_estimator=self.objective.kl_estimator,
            )
            torch.autograd.backward(share.loss)
            loss += share.loss.item()
            sums.kl += share.kl.item()
            sums.clipped += share.clipped.item()
            sums.mismatch += mismatch([completions[i] for i in rows], fixed)
        norm = torch.nn.utils.clip_grad_norm_(
            self.parameters.values(), self.objective.max_gradient_norm
        ).item()
        sums.loss += loss
        finite = math.isfinite(loss) and math.isfinite(norm)
        if finite:
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return finite, norm


def columns(rows: Sequence[Tensor], batch: Batch) -> Tensor:
    """Ragged per-token numbers as a padded matrix like the batch's completions."""
    matrix = torch.zeros(batch.token_ids.shape, device=batch.token_ids.device)
    for i, row in enumerate(rows):
        matrix[i, : len(row)] = row
    return matrix


def mismatch(completions: Sequence[Completion], logprobs: Tensor) -> float:
    """Sum over rows of the mean gap between sampled and re-scored log-probabilities, in nats."""
    total = 0.0
    for row, completion in enumerate(completions):
        sampled = torch.tensor(completion.logprobs, device=logprobs.device)
        total += (logprobs[row, : len(sampled)] - sampled).abs().mean().item()
    return total
