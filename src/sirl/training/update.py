"""The policy update: one or more optimizer steps per batch of examples.

With one mini-batch the update is on-policy: the old log-probabilities are the current ones, from
the same forward pass, and the ratio is exactly 1. With several mini-batches the old
log-probabilities are computed before the first optimizer step. The reference scores completions
without gradient, under their own prompt or the one that the example gives.
"""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass, replace
from functools import partial
from random import Random
from typing import Literal

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from sirl.errors import TrainingError
from sirl.models.chat import ChatModel
from sirl.models.forward import Scorer, micro_batches, next_logprobs, score_logprobs
from sirl.models.memory import out_of_memory
from sirl.policy import KLEstimator, policy_loss, token_weights
from sirl.training.parallel import Parallelism, Ranks, SingleProcess, shard_rows
from sirl.training.reference import Reference
from sirl.types import Completion, Example

__all__ = ["Objective", "PolicyLearner", "Schedule", "learning_rates"]

Schedule = Literal["constant", "cosine"]
ALONE = Ranks()


@dataclass(frozen=True)
class Objective:
    """The objective of a step and its split into mini- and micro-batches."""

    clip: float = 0.2
    kl_weight: float = 0.01
    kl_estimator: KLEstimator = "k3"
    mini_batches: int = 1
    """Optimizer steps per batch."""
    token_budget: int = 16384
    """Tokens per micro-batch; a shared prompt counts once."""
    max_gradient_norm: float = 1.0


def learning_rates(peak: float, schedule: Schedule, steps: int) -> Callable[[int], float]:
    """Learning rate of a step, counted from 0. Cosine decays from the peak towards 0."""
    if schedule == "constant":
        return lambda _: peak
    return lambda step: peak * 0.5 * (1 + math.cos(math.pi * min(step, steps) / steps))


@dataclass(frozen=True)
class Scored:
    """An example with the log-probabilities that its loss needs."""

    example: Example
    reference: Tensor
    """Log-probabilities of its tokens under the starting model; zeros without a KL penalty."""
    old: Tensor | None
    """The same under the policy before the update; None if on-policy."""


@dataclass
class Sums:
    """Sums over the completions of a batch, weighted as in the loss."""

    loss: float = 0.0
    kl: float = 0.0
    clipped: float = 0.0
    mismatch: float = 0.0
    compared: float = 0.0
    """Weight of the tokens that the reference scores."""

    def over(self, ranks: Ranks) -> "Sums":
        """The sums over all ranks."""
        return Sums(*ranks.all_reduce_sum(astuple(self)))

    def add(self, other: "Sums") -> None:
        """Add other sums to these."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


class PolicyLearner:
    """Updates the policy and owns the optimizer. Satisfies `sirl.roles.Learner`."""

    def __init__(
        self,
        chat: ChatModel,
        reference: Reference,
        objective: Objective,
        learning_rate: Callable[[int], float],
        *,
        weight_decay: float = 0.0,
        ranks: Ranks = ALONE,
        parallel: Parallelism | None = None,
    ) -> None:
        self.chat = chat
        self.reference = reference
        self.objective = objective
        self.learning_rate = learning_rate
        self.ranks = ranks
        self.parallel = parallel or SingleProcess(Scorer(chat))
        self.token_budget = objective.token_budget
        """Halved whenever a micro-batch runs out of memory."""
        self.parameters = {n: p for n, p in chat.model.named_parameters() if p.requires_grad}
        self.optimizer = torch.optim.AdamW(
            self.parameters.values(),
            lr=learning_rate(0),
            weight_decay=weight_decay,
            fused=not self.parallel.shards,
        )

    def update(
        self, examples: Sequence[Example], *, step: int, rows: int | None = None
    ) -> dict[str, float]:
        """Run the optimizer steps of one batch; return its metrics.

        The loss is a mean over `rows` completions, by default over all examples. A mini-batch with
        a non-finite loss or gradient does not change the policy and counts under `update/skipped`.

        Raises:
            TrainingError: A single completion does not fit in memory.
            ModelError: The completions were sampled from other weights than the policy's.
        """
        started = time.perf_counter()
        self.chat.refuse_stale([e.completion for e in examples if e.on_policy])
        parts = self.mini_batches(len(examples), step)
        mine = [
            [part[i] for i in shard_rows([examples[j].completion for j in part], self.ranks)]
            for part in parts
        ]
        mean_over = rows or len(examples)
        with self.parallel.unsharded():
            scored = self.score(examples, [i for own in mine for i in own])
        ready = time.perf_counter()
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(step)
        sums, norms, skipped = Sums(), [], 0
        for part, own in zip(parts, mine, strict=True):
            share, norm = self.descend(
                [scored[i] for i in own], mean_over * len(part) / len(examples)
            )
            sums.add(share)
            norms.append(norm)
            skipped += not (math.isfinite(share.loss) and math.isfinite(norm))
        self.chat.count_update()
        penalised = any(e.kl_weight != 0 for e in examples)
        return {
            **({"kl/reference": sums.kl / sums.compared} if penalised else {}),
            "update/loss": sums.loss / len(parts),
            "update/clipped_fraction": sums.clipped * mean_over / len(examples) / len(parts),
            "update/gradient_norm": sum(norms) / len(norms),
            "update/learning_rate": self.learning_rate(step),
            "update/skipped": skipped,
            "update/steps": len(parts),
            "update/token_budget": self.token_budget,
            "sampler/mismatch": sums.mismatch * mean_over / len(examples) / len(parts),
            "seconds/reference": ready - started,
            "seconds/update": time.perf_counter() - ready,
        }

    def score(self, examples: Sequence[Example], rows: Sequence[int]) -> dict[int, Scored]:
        """Score examples by the reference and, if off-policy, by the policy."""
        chosen = [examples[i] for i in rows]
        penalised = [as_the_reference_sees(e) for e in chosen if e.kl_weight != 0]
        found = iter(self.logprobs(penalised, self.reference.logprobs))
        reference = [next(found) if e.kl_weight != 0 else unscored(e) for e in chosen]
        old: Sequence[Tensor | None] = [None] * len(rows)
        if self.objective.mini_batches > 1:
            old = self.logprobs([e.completion for e in chosen], partial(score_logprobs, self.chat))
        return dict(zip(rows, map(Scored, chosen, reference, old), strict=True))

    def logprobs(
        self,
        completions: Sequence[Completion],
        scoring: Callable[[Sequence[Completion], int], list[Tensor]],
    ) -> list[Tensor]:
        """Log-probabilities of each completion; halves the token budget when out of memory."""
        budget = self.token_budget
        while True:
            try:
                return scoring(completions, budget)
            except RuntimeError as error:
                if not out_of_memory(error) or budget <= longest(completions):
                    raise
            budget //= 2

    def likelihoods_at_start(self, completions: Sequence[Completion]) -> list[float]:
        """Log-probability of each completion under the starting model, in nats."""
        return self.sums(self.said_at_start(completions))

    def likelihoods_of_policy(self, completions: Sequence[Completion]) -> list[float]:
        """The same under the policy."""
        return self.sums(self.said_by_policy(completions))

    def sums(self, logprobs: Sequence[Tensor]) -> list[float]:
        """The log-probability of each completion, the same on all ranks."""
        found: list[float] = self.ranks.agreed([float(own.sum()) for own in logprobs])
        return found

    def said_at_start(self, completions: Sequence[Completion]) -> list[Tensor]:
        """Log-probabilities of the tokens of each completion under the starting model, in nats."""
        with self.parallel.unsharded():
            return self.logprobs(completions, self.reference.logprobs)

    def said_by_policy(self, completions: Sequence[Completion]) -> list[Tensor]:
        """The same under the policy."""
        with self.parallel.unsharded():
            return self.logprobs(completions, partial(score_logprobs, self.chat))

    def next_at_start(self, prompts: Sequence[tuple[int, ...]]) -> Tensor:
        """Log-probabilities of the token after each prompt under the starting model.

        In nats, prompts x vocabulary.
        """
        with self.parallel.unsharded():
            rows = self.logprobs(completions_of(prompts), self.reference.next_logprobs)
        return torch.stack(rows)

    def next_of_policy(self, prompts: Sequence[tuple[int, ...]]) -> Tensor:
        """The same under the policy."""
        with self.parallel.unsharded():
            own = partial(next_logprobs, self.chat)
            return torch.stack(self.logprobs(completions_of(prompts), own))

    def mini_batches(self, count: int, step: int) -> list[list[int]]:
        """The examples of each optimizer step: a random part of the batch, in its order.

        A batch is ordered by kind of prompt, so that its parts in order would be of one kind each.
        """
        size = math.ceil(count / self.objective.mini_batches)
        order = list(range(count)) if size == count else Random(step).sample(range(count), count)
        return [sorted(order[i : i + size]) for i in range(0, count, size)]

    def descend(self, examples: Sequence[Scored], batch_rows: float) -> tuple[Sums, float]:
        """One optimizer step on this rank's share of a mini-batch; returns the gradient norm."""
        self.optimizer.zero_grad(set_to_none=True)
        sums = self.gradients(examples, batch_rows).over(self.ranks)
        length = torch.nn.utils.clip_grad_norm_(
            self.parameters.values(), self.objective.max_gradient_norm
        )
        norm = float(length.full_tensor() if isinstance(length, DTensor) else length)
        if math.isfinite(sums.loss) and math.isfinite(norm):
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return sums, norm

    def gradients(self, examples: Sequence[Scored], batch_rows: float) -> Sums:
        """Accumulate gradients over all ranks; retry with half the token budget when out of memory.

        Raises:
            TrainingError: The token budget cannot be halved further.
        """
        mean_over = batch_rows / self.ranks.size  # ranks average gradients: this makes it a sum
        completions = [x.example.completion for x in examples]
        while True:
            rows = micro_batches(self.chat, completions, self.token_budget)
            rounds = self.ranks.all_reduce_max(len(rows)) if self.parallel.shards else len(rows)
            short, sums = False, Sums()
            try:
                for n in range(rounds):
                    with self.parallel.accumulating(last=n + 1 == rounds):
                        if n < len(rows):
                            sums.add(self.backward([examples[i] for i in rows[n]], mean_over))
                        else:
                            self.parallel.dummy_pass()
            except RuntimeError as error:
                if not out_of_memory(error) or self.parallel.shards:
                    raise  # with FSDP one rank cannot retry alone
                short = True
            if not self.ranks.any(short):
                self.parallel.sync_gradients()
                return sums
            self.optimizer.zero_grad(set_to_none=True)
            self.halve(completions)

    def halve(self, completions: Sequence[Completion]) -> None:
        """Halve the token budget."""
        single = self.ranks.all_reduce_max(longest(completions))
        if self.token_budget <= single:
            raise TrainingError(
                f"a completion of {single} tokens does not fit in memory even alone: lower "
                "new_tokens, train with --lora, or use a smaller model or dtype=bfloat16"
            )
        self.token_budget //= 2

    def backward(self, examples: Sequence[Scored], mean_over: float) -> Sums:
        """Accumulate the gradient of one micro-batch; return its sums."""
        completions = [x.example.completion for x in examples]
        counts = [len(c.token_ids) for c in completions]
        lengths = torch.tensor(counts)
        weights = token_weights(lengths, mean_over).float().to(self.chat.device)
        reference = torch.cat([x.reference.to(self.chat.device) for x in examples])
        old = [x.old for x in examples if x.old is not None]
        before = torch.cat(old) if old else None

        def of_tokens(values: Iterable[float]) -> Tensor:
            return torch.tensor(list(values), dtype=torch.float32, device=self.chat.device)

        advantages = of_tokens(a for x in examples for a in token_advantages(x.example))
        kl_weights = of_tokens(
            self.objective.kl_weight if x.example.kl_weight is None else x.example.kl_weight
            for x, n in zip(examples, counts, strict=True)
            for _ in range(n)
        )
        compared = of_tokens(
            x.example.kl_weight != 0
            for x, n in zip(examples, counts, strict=True)
            for _ in range(n)
        ).bool()
        seen = []

        def loss(logprobs: Tensor, part: slice) -> Tensor:
            own = logprobs.detach()
            share = policy_loss(
                logprobs,
                own if before is None else before[part],
                torch.where(compared[part], reference[part], own),
                advantages[part],
                weights[part],
                clip=self.objective.clip,
                kl_weight=kl_weights[part],
                kl_estimator=self.objective.kl_estimator,
            )
            seen.append(torch.stack([share.loss.detach(), share.kl, share.clipped]))
            return share.loss

        total, logprobs = self.parallel.scorer(completions, loss)
        torch.autograd.backward(total)
        gap = (weights * mismatch(logprobs, examples)).sum()
        found = (*torch.stack(seen).sum(dim=0), gap, weights[compared].sum())
        return Sums(*(float(v) / self.ranks.size for v in found))


def as_the_reference_sees(example: Example) -> Completion:
    """The completion with the prompt under which the reference scores it."""
    if example.reference_prompt_ids is None:
        return example.completion
    return replace(example.completion, prompt_ids=example.reference_prompt_ids)


def unscored(example: Example) -> Tensor:
    """Stands for the log-probabilities that an example without a KL penalty does not need."""
    return torch.zeros(len(example.completion.token_ids))


def completions_of(prompts: Sequence[tuple[int, ...]]) -> list[Completion]:
    """Empty completions of prompts."""
    return [Completion("", ids, (), "", (), (), "length") for ids in prompts]


def token_advantages(example: Example) -> Sequence[float]:
    """Per-token advantages of an example."""
    if isinstance(example.advantage, tuple):
        return example.advantage
    return [example.advantage] * len(example.completion.token_ids)


def mismatch(logprobs: Tensor, examples: Sequence[Scored]) -> Tensor:
    """Per token: |delta log-prob| against sampling, in nats; 0 if off-policy."""
    sampled: list[float] = []
    own: list[float] = []
    for e in (x.example for x in examples):
        tokens = len(e.completion.token_ids)
        sampled += e.completion.logprobs if e.on_policy else [0.0] * tokens
        own += [float(e.on_policy)] * tokens
    return (logprobs - torch.tensor(sampled).to(logprobs)).abs() * torch.tensor(own).to(logprobs)


def longest(completions: Sequence[Completion]) -> int:
    """Tokens of the longest prompt plus completion; 0 if there is none."""
    return max((len(c.prompt_ids) + len(c.token_ids) for c in completions), default=0)
