"""The field `sirl_guard` of chunks and responses: what the guard found, next to OpenAI's fields."""

from dataclasses import dataclass
from typing import Any

from sirl.guard.server.outbox import Seen
from sirl.guard.server.policy import Policy
from sirl.guard.server.watching import WatchedAnswer
from sirl.runs.disk import plain

__all__ = ["GuardField"]


@dataclass(frozen=True)
class GuardField:
    """Writes the field; scores are in it only if the request has asked for details."""

    policy: Policy
    details: bool

    def of(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        """The field `sirl_guard`."""
        own: dict[str, Any] = {"mode": self.policy.mode if self.policy.rule else "none"}
        if self.details and self.policy.rule:
            own["threshold"] = self.policy.rule.threshold
        found: dict[str, Any] = plain({**own, "choices": choices})
        return found

    def finding(self, index: int, watched: WatchedAnswer) -> dict[str, Any]:
        """The guard's result for an answer."""
        found = watched.finding
        document: dict[str, Any] = {
            "index": index,
            "watched": self.policy.rule is not None and found.fault is None,
            "flagged": found.flagged,
            "action": found.action,
            "position": found.position,
            "retract_from": found.retract_from,
            "refusal_from": found.refusal_from,
        }
        if self.details:
            document |= {"score": found.score, "prompt_score": watched.prompt_score}
        return document

    def token(self, seen: Seen) -> dict[str, Any]:
        """What the guard made of a token."""
        piece = seen.piece
        bounded = {} if piece.truncated is None else {"entropy_truncated": piece.truncated}
        return {
            "number": seen.number,
            "token": None if seen.dropped else piece.token or piece.text,
            "text": None if seen.dropped else piece.text,
            "entropy": piece.entropy,
            **bounded,
            "logprob": piece.logprob,
            "checked": seen.checked,
            "score": seen.score,
            "sent": {"shadow": seen.shadow, "live": seen.live, "hold": seen.hold},
        }
