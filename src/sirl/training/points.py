"""Decision points: teaches the choice between refusing and answering, without sampling.

The choice is made at the first token of an answer. The target there is the starting model's own
decision about the bare prompt, sharpened, however the prompt is presented: the refusal openers
share the target mass, and the other tokens keep the probabilities that the starting model gives
them after the prompt as presented. The loss is the reverse KL from the policy to this
target. Its gradient is exact, an expectation over the vocabulary, so no token is sampled.

After a begun answer a policy may never refuse, and reverse KL has no gradient where the policy has
no mass. The loss there is the forward KL until the policy refuses with some probability.
Unreadable prompts (`sirl.training.noise`) have the starting model's own distribution as target.
Prompts with a searched suffix (`sirl.training.suffixes`) have the target of the bare prompt; the
loss there is the forward KL, too, where the policy hardly ever decides as it is taught.

To preserve what follows the first token, the step also trains on the starting model's own answers
to the bare prompts, under the same presentations. Refusals are trained with the log-likelihood,
also after begun answers: a policy that learns only their first token there goes on in fragments.
Other answers do not follow a begun one. The weight of each of their tokens is its log-ratio: how
much less likely it is than under the starting model after the bare prompt (negative if more
likely), within 1 nat. Apart from that limit this is the gradient of half the squared log-ratio
(the k2 estimator of a KL), 0 where both agree.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sirl.decisions import Decisions
from sirl.roles import Batch
from sirl.training.curriculum import Curriculum
from sirl.training.noise import scrambled
from sirl.types import Completion, Example, Prompt

__all__ = ["DecisionPoints", "Term", "terms"]

Ids = tuple[int, ...]
COVERED, MOST = 0.99, 32
"""The largest terms of an expectation are kept: this share of their sum, and at most so many."""
SETTLED = 0.02
"""Distance to the target at which a decision is taught."""
REVERSE_FROM = 0.1
"""Mass of the taught decision, behind a begun answer or a searched suffix, from which reverse KL
teaches."""
FLOOR = 1e-9
STEEPEST = 1.0
"""Log-ratio of a token of an own answer at most, in nats; with 1 it weighs as in fine-tuning."""


class Term(NamedTuple):
    """A token with its weight in a gradient of log-likelihoods."""

    token: int
    weight: float


@dataclass(frozen=True)
class DecisionPoints:
    """Examples of decisions and of own answers; satisfies `sirl.roles.BatchSource`."""

    decisions: Decisions
    answers: Mapping[str, Sequence[Ids]]
    """Prompt id to own answers in the mode of its decision, as token ids."""
    curriculum: Curriculum
    """Its batch is the number of points of a step."""
    guards: int
    """Own answers of a step, and unreadable prompts."""
    render: Callable[[Prompt], Ids]
    """Token ids of a presented prompt."""
    at_start: Callable[[Sequence[Ids]], Tensor]
    """Log-probabilities of the next token under the starting model, prompts x vocabulary."""
    of_policy: Callable[[Sequence[Ids]], Tensor]
    """The same under the policy."""
    said_at_start: Callable[[Sequence[Completion]], Sequence[Tensor]]
    """Log-probabilities of the tokens of each completion under the starting model, in nats."""
    said_by_policy: Callable[[Sequence[Completion]], Sequence[Tensor]]
    """The same under the policy."""
    agreed: Callable[[Any], Any]
    """The value of rank 0, as rounding may differ."""
    attacked: Callable[[int], Sequence[Prompt]] = lambda _: ()
    """The prompts of a step with searched suffixes, as `sirl.training.suffixes` gives them."""

    def batch(self, step: int) -> Batch:
        """The batch of a step, counted from 0."""
        started = time.perf_counter()
        plain, noise = self.curriculum.prompts(step), self.noise(step)
        hard = self.attacked(step)
        prompts = [*plain, *hard]
        asked = [self.render(p) for p in (*prompts, *noise)]
        policy, start = self.of_policy(asked), self.at_start(asked)
        m, n = len(plain), len(prompts)
        taught = torch.tensor([self.decisions.taught(p.id) for p in prompts]).to(policy)
        forward = torch.zeros(len(asked), dtype=torch.bool, device=policy.device)
        forward[:m] = self.needs_forward(plain, policy[:m], taught[:m])
        decided = self.decided(policy[m:n], taught[m:])
        forward[m:n] = decided < REVERSE_FROM
        target = torch.cat([self.target(prompts, start[:n], taught), start[n:]])
        found = self.agreed(terms(policy, target, forward))
        points = [
            Example(one_token(prompt.id, ids, token), weight, kl_weight=0.0, on_policy=False)
            for prompt, ids, own in zip((*prompts, *noise), asked, found, strict=True)
            for token, weight in own
        ]
        guards = self.guarded(step)
        share = n / max(1, len(guards))  # own answers weigh together as much as the prompts
        own_answers = [
            Example(c, tuple(w * share for w in weights), kl_weight=0.0, on_policy=False)
            for c, weights in guards
        ]
        metrics = self.metrics(policy[:m], taught[:m])
        if hard:
            metrics["points/decided_under_attack"] = float(decided.mean())
        metrics = self.agreed(metrics)
        metrics = metrics | {"seconds/points": time.perf_counter() - started}
        return Batch([*points, *own_answers], metrics, rows=n)

    def guarded(self, step: int) -> list[tuple[Completion, list[float]]]:
        """Own answers of a step, each with the weights of its tokens."""
        asked = self.own_answers(step)
        helps = [n for n, (_, c) in enumerate(asked) if self.decisions.of(c.prompt_id) == "comply"]
        before = self.said_at_start([asked[n][0] for n in helps])
        now = self.said_by_policy([asked[n][1] for n in helps])
        weights = [[1.0] * len(shown.token_ids) for _, shown in asked]
        for n, a, b in zip(helps, before, now, strict=True):
            weights[n] = (a - b).clamp(-STEEPEST, STEEPEST).tolist()
        agreed: list[list[float]] = self.agreed(weights)
        return [(shown, each) for (_, shown), each in zip(asked, agreed, strict=True)]

    def target(self, prompts: Sequence[Prompt], start: Tensor, taught: Tensor) -> Tensor:
        """Log-probabilities of the target, prompts x vocabulary."""
        openers = torch.tensor(self.decisions.openers, device=taught.device)
        refusing = torch.tensor([self.decisions.masses[p.id] for p in prompts]).to(start)
        refusing = refusing.clamp(min=FLOOR)
        refusing = refusing / refusing.sum(dim=1, keepdim=True) * taught.unsqueeze(1)
        rest = 1 - start[:, openers].exp().sum(dim=1)
        target = start + ((1 - taught) / rest.clamp(min=FLOOR)).log().unsqueeze(1)
        target[:, openers] = refusing.log()
        return target

    def mass(self, logprobs: Tensor) -> Tensor:
        """The refusal mass of each row of log-probabilities (rows x vocabulary)."""
        openers = torch.tensor(self.decisions.openers, device=logprobs.device)
        return logprobs[:, openers].exp().sum(dim=1)

    def needs_forward(self, prompts: Sequence[Prompt], policy: Tensor, taught: Tensor) -> Tensor:
        """Where the policy hardly ever refuses behind a begun answer, and is taught to."""
        begun = torch.tensor([p.is_begun for p in prompts], device=policy.device)
        return begun & (taught > 0.5) & (self.mass(policy) < REVERSE_FROM)

    def decided(self, policy: Tensor, taught: Tensor) -> Tensor:
        """Probability of the taught decision of each row."""
        mass = self.mass(policy)
        return torch.where(taught > 0.5, mass, 1 - mass)

    def noise(self, step: int) -> list[Prompt]:
        """The unreadable prompts of a step, in its presentations."""
        chance = Random(f"{self.curriculum.seed}/noise/{step}")
        pool = [*self.curriculum.refused, *self.curriculum.answered]
        drawn = [scrambled(chance.choice(pool), chance) for _ in range(self.guards)]
        shown = [self.curriculum.dressed(p, chance) for p in drawn]
        return [p for p in shown if self.curriculum.fits(p)]

    def own_answers(self, step: int) -> list[tuple[Completion, Completion]]:
        """Own answers to prompts of both decisions, bare and under the step's presentations."""
        chance = Random(f"{self.curriculum.seed}/guards/{step}")
        kinds = [
            [p for p in part if p.id in self.answers]
            for part in (self.curriculum.refused, self.curriculum.answered)
        ]
        found = list[tuple[Completion, Completion]]()
        for n in range(self.guards):
            if not (kind := kinds[n % 2]):
                continue
            prompt = chance.choice(kind)
            shown = self.curriculum.presented(prompt, step)
            if shown.is_begun and self.decisions.of(prompt.id) == "comply":
                shown = prompt
            answer = chance.choice(self.answers[prompt.id])
            bare, other = (
                Completion(prompt.id, self.render(p), answer, "", (), (), "stop")
                for p in (prompt, shown)
            )
            found.append((bare, other))
        return found

    def metrics(self, policy: Tensor, taught: Tensor) -> dict[str, float]:
        """Mean refusal masses of the policy, and the share of decisions that are taught."""
        mass = self.mass(policy)
        refused = taught > 0.5
        return {
            "points/mass_refused": float(mass[refused].mean()),
            "points/mass_answered": float(mass[~refused].mean()),
            "points/settled": float(((mass - taught).abs() < SETTLED).double().mean()),
        }


def terms(policy: Tensor, target: Tensor, forward: Tensor) -> list[list[Term]]:
    """The largest terms of minus the gradient of a divergence, for each row.

    Both are log-probabilities (rows x vocabulary) in nats. The gradient of KL(policy, target) is
    the expectation, over tokens v of the policy, of (log policy(v) - log target(v) - KL) times the
    gradient of log policy(v). Rows of `forward` use KL(target, policy) instead: minus its gradient
    is the sum of (target(v) - policy(v)) times the gradient of log policy(v).
    """
    gap = target.clamp(min=-50) - policy
    share = policy.exp()
    weights = share * (gap - (share * gap).sum(dim=1, keepdim=True))
    weights = torch.where(forward.unsqueeze(1), target.exp() - share, weights)
    sizes, tokens = weights.abs().topk(min(MOST, weights.shape[1]), dim=1)
    before = sizes.cumsum(dim=1) - sizes
    kept = before < COVERED * weights.abs().sum(dim=1, keepdim=True)
    chosen = weights.gather(1, tokens)
    return [
        [Term(t, w) for t, w, k in zip(*row, strict=True) if k]
        for row in zip(tokens.tolist(), chosen.tolist(), kept.tolist(), strict=True)
    ]


def one_token(prompt_id: str, ids: Ids, token: int) -> Completion:
    """A completion of one token."""
    return Completion(prompt_id, ids, (token,), "", (), (), "length")
