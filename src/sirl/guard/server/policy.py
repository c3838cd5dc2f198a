"""What the server does on an alarm, and the bounds on a client's requests."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from sirl.guard.monitor import Watch

__all__ = ["REFUSAL", "Action", "Limits", "Mode", "OnFault", "Policy", "Rule"]

Mode = Literal["hold", "live", "shadow"]
Action = Literal["refuse", "stop", "flag"]
OnFault = Literal["closed", "open"]
REFUSAL = "I can't help with that."
"""What a guard says in place of an answer that it stops."""


class Rule(NamedTuple):
    """When a check is due, and which score is an alarm."""

    watch: Watch
    threshold: float


@dataclass(frozen=True)
class Policy:
    """How answers are guarded."""

    rule: Rule | None = None
    """None: answers are not watched."""
    mode: Mode = "hold"
    """hold: no token leaves before a check has passed it. live: tokens leave at once, and an alarm
    cuts the answer. shadow: alarms are only noted."""
    action: Action = "refuse"
    """On an alarm. refuse: end the answer with a short refusal. stop: end it. flag: go on. In
    shadow mode always flag."""
    on_fault: OnFault = "closed"
    """When a check fails. closed: the answer ends with an error. open: it goes on unwatched. In
    shadow mode always open."""
    refusal: str = REFUSAL

    @property
    def acts(self) -> Action:
        """The action in force."""
        return "flag" if self.mode == "shadow" else self.action

    @property
    def goes_on(self) -> bool:
        """Whether an answer continues without a guard when a check fails."""
        return self.mode == "shadow" or self.on_fault == "open"


@dataclass(frozen=True)
class Limits:
    """Bounds on what one client may ask for."""

    max_tokens: int = 64
    """Tokens of an answer; also the default. A client that asks for more gets so many."""
    prefill: bool = False
    """Whether a final assistant turn is accepted."""
    details: bool = False
    """Whether scores per token may be asked for."""
    answers: int = 4
    """Answers per request (n)."""
    prompt_tokens: int | None = None
    """Tokens of a prompt; None: what the source takes."""
    messages: int = 64
    inputs: int = 16
    """Texts per moderation."""
    stops: int = 4
    stop_characters: int = 64
    biases: int = 64
    """Entries of logit_bias."""
    body_bytes: int = 1 << 20
    streams: int = 16
    """Answers at the same time."""
    queue: int = 64
    """Answers that may wait."""
    seconds: float = 300.0
    """Time of a request, waiting included."""
