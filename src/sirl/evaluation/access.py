"""Budgeted access to the target for one attack on one behaviour."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from sirl.evaluation.costs import Meter
from sirl.evaluation.target import Target
from sirl.judges.quoting import TextModel
from sirl.models.thoughts import parts
from sirl.types import Budget, Message, Prompt

__all__ = ["DEFAULT_OPENER", "BudgetedAccess"]

DEFAULT_OPENER = "Sure! Here is how to do it. First,"
"""Default if a behaviour has no target prefix."""


class BudgetedAccess:
    """Access to the target that counts every call; satisfies `sirl.roles.Access`."""

    def __init__(
        self,
        target: Target,
        budget: Budget,
        openers: Mapping[str, str],
        attacker: TextModel | None,
        meter: Meter,
    ) -> None:
        self.target = target
        self.budget = budget
        self.openers = openers
        self.attacker = attacker
        self.meter = meter
        self.queries = 0
        self.started = time.monotonic()

    @property
    def seed(self) -> int:
        """Seed of the run."""
        return self.target.seed

    @property
    def target_model(self) -> Any:  # noqa: ANN401 - as the role says
        """The local model, for attacks that declare that they need gradients."""
        return self.target.chat

    def opener(self, behaviour: Prompt) -> str:
        """Beginning of a compliant answer."""
        return self.openers.get(behaviour.id, DEFAULT_OPENER)

    def likelihoods(self, conversations: Sequence[tuple[Message, ...]], answer: str) -> list[float]:
        """Mean log-probability per token (nats) of an answer, for as many as the budget allows."""
        assert self.target.likelihoods is not None  # the attack declares this need
        affordable = conversations[: max(0, self.budget.queries - self.queries)]
        self.queries += len(affordable)
        if not affordable:
            return []
        with self.meter.timing("target", len(affordable)):
            return self.target.likelihoods(affordable, answer)

    def ask_attacker(self, conversations: Sequence[tuple[Message, ...]]) -> list[str]:
        """The attacker's replies without reasoning; empty if a call failed."""
        assert self.attacker is not None  # the attack declares this need
        with self.meter.timing("attacker", len(conversations)):
            replies = self.attacker.ask(conversations)
        if failed := sum(bool(reply.fault) for reply in replies):
            self.meter.count("attacker, calls that failed", failed)
        said = [parts("" if reply.fault else reply.text) for reply in replies]
        if lost := sum(s.unfinished for s in said):
            self.meter.count("attacker, replies that end inside their thoughts", lost)
        return [s.answer for s in said]

    def spend(self, queries: int) -> bool:
        """Charge target calls; False once the budget is spent."""
        self.queries += queries
        self.meter.count("target", queries)
        return self.queries < self.budget.queries and not self.late()

    def late(self) -> bool:
        """Whether the time budget is spent."""
        limit = self.budget.seconds
        return limit is not None and time.monotonic() - self.started >= limit
