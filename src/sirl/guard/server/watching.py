"""Guards one answer while it streams: what is sent, when a check is due, what an alarm does.

Which check judges which token, and what leaves, depends on the pieces and the scores alone, not on
when or in which chunks they arrive.
"""

import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal

from sirl.guard.monitor import NO_SCORE, Decision, HoldBack, Monitor
from sirl.guard.server.outbox import Outbox, Part, Seen
from sirl.guard.server.policy import Policy
from sirl.guard.server.source import Answer, SourceError
from sirl.guard.server.stopping import Stops

__all__ = ["APART", "CheckFailedError", "Finding", "WatchedAnswer"]

LOG = logging.getLogger("sirl.guard")
APART = "\n\n"
"""Between what was sent of an answer and the refusal."""
Finish = Literal["stop", "length", "content_filter"]


class CheckFailedError(SourceError):
    """A check failed, and the policy is to answer nothing unchecked."""

    def __init__(self, position: int) -> None:
        super().__init__(f"the check of the guard at token {position} failed; nothing more is sent")


@dataclass
class Finding:
    """The guard's result for one answer."""

    flagged: bool = False
    action: Literal["none", "flag", "stop", "refuse"] = "none"
    position: int | None = None
    """Tokens judged by the check that raised the alarm."""
    score: float = NO_SCORE
    """The highest score."""
    retract_from: int | None = None
    """Characters of a cut answer that stay; later ones of the model are retracted. In hold mode all
    that were sent stay."""
    refusal_from: int | None = None
    """Where what the guard adds to a cut answer begins in what was sent; nothing, if it refuses
    nothing."""
    fault: int | None = None
    """Position of a check that failed, after which the answer was not watched."""


class WatchedAnswer:
    """One answer under a policy.

    Args:
        answer: The answer.
        policy: What is done.
        stops: Stop sequences.
    """

    def __init__(self, answer: Answer, policy: Policy, stops: tuple[str, ...] = ()) -> None:
        self.answer = answer
        self.policy = policy
        self.finding = Finding()
        self.finish: Finish = "stop"
        self.outbox = Outbox()
        self.prompt_score: float | None = None
        """The score of the check before the first token."""
        self._closed = False
        self._stops = Stops(stops)
        self._monitor = Monitor(*policy.rule) if policy.rule else None
        self._hold = HoldBack(policy.rule.watch.every if policy.rule else 0)
        self.check_seconds: list[float] = []
        """Time that each check took."""
        self.passed = 0
        """Tokens that a passed check has judged."""

    @property
    def tokens(self) -> int:
        """Tokens generated."""
        return self.outbox.tokens

    @property
    def text(self) -> str:
        """What the model has written, whether it was sent or not."""
        return "".join(self.outbox.texts)

    @property
    def watching(self) -> bool:
        """Whether checks still decide something."""
        return self._monitor is not None and not self.finding.flagged

    @property
    def holding(self) -> bool:
        """Whether text waits for checks."""
        return self.policy.mode == "hold" and self.watching

    @property
    def cut(self) -> bool:
        """Whether an alarm has ended the answer."""
        return self.finding.action in ("stop", "refuse")

    async def close(self) -> None:
        """Close the answer, if it is not closed."""
        if not self._closed:
            self._closed = True
            await self.answer.close()

    async def parts(self) -> AsyncGenerator[Part]:
        """What leaves, in order; afterwards `finding` and `finish` are valid.

        Raises:
            SourceError: The answer cannot go on.
        """
        last: Seen | None = None
        if self._monitor:
            await self._settle(self._monitor.begin(), None)
        if not self.cut:
            async with aclosing(self._stops.cut(self.answer.pieces())) as pieces:
                async for piece in pieces:
                    last = self.outbox.arrived(piece)
                    self._hold.push(piece.text)
                    if not self.holding:
                        yield self.outbox.leaving()
                    if self._monitor and self.watching:
                        entropy = 0.0 if piece.entropy is None else piece.entropy
                        await self._settle(self._monitor.token(entropy), last)
                    yield self._after(last)
                    if self.cut:
                        break
                else:
                    yield await self._ended(last)
        if not self.cut:
            self.finish = "stop" if self._stops.found else self.answer.finish
            return
        self.finish = "content_filter"
        self.finding.refusal_from = self.outbox.sent
        if self.finding.action == "refuse":
            yield refusal(self.policy, self.finding, self.outbox.sent)

    async def _settle(self, decision: Decision, seen: Seen | None) -> None:
        """Run the check that is due and note its result."""
        if decision.action != "check" or self._monitor is None:
            return
        started = time.perf_counter()
        try:
            score = await self.answer.score(decision.position)
            self.check_seconds.append(time.perf_counter() - started)
            found = self._monitor.checked(score)
        except SourceError:  # of the answer: no check has failed
            raise
        except Exception as error:
            log_fault(decision.position, error)
            self.finding.fault = decision.position
            if not self.policy.goes_on:
                raise CheckFailedError(decision.position) from error
            self._monitor = None
            return
        if decision.position == 0:
            self.prompt_score = score
        if seen:
            seen.checked = score
        self.finding.score = found.score
        if found.action == "alarm":
            self._alarmed(found)
        else:
            self.passed = found.position
            self._hold.passed(found.position)

    def _alarmed(self, decision: Decision) -> None:
        """Note an alarm."""
        self.finding.flagged = True
        self.finding.action = self.policy.acts
        self.finding.position = decision.position
        self._hold.drop()
        if self.cut:
            live, sent = self.policy.mode == "live", self.outbox.sent
            self.finding.retract_from = self.outbox.ends[self.passed] if live else sent

    def _after(self, seen: Seen) -> Part:
        """What leaves once a token is settled."""
        if self.watching:
            self._hold.release()
        alarm = self.finding.position
        seen.score = self.finding.score
        seen.shadow = self.outbox.ends[-1]
        seen.live = self.outbox.ends[-1 if alarm is None else alarm]
        seen.hold = self.outbox.ends[self._hold.left] if self._monitor else self.outbox.ends[-1]
        if self.cut:
            return self.outbox.dropping()
        return self.outbox.leaving(self._hold.left if self.holding else self.tokens)

    async def _ended(self, last: Seen | None) -> Part:
        """The end of the answer, which is checked; the rest of it."""
        if self._monitor and self.watching:
            self._hold.end()
            await self._settle(self._monitor.end(), last)
        if last is None:
            return Part("")
        self.outbox.reported_again(last)
        return self._after(last)


def log_fault(position: int, error: Exception) -> None:
    """Log a check that failed; one that a fault of the source ended needs no traceback."""
    traced = not isinstance(error.__cause__, SourceError)
    LOG.error("the check at token %d failed: %s", position, error, exc_info=traced)


def refusal(policy: Policy, finding: Finding, sent: int) -> Part:
    """The guard's refusal, apart from the characters sent; `refusal_from` is where it is shown."""
    apart = APART if sent else ""
    if not finding.retract_from:
        finding.refusal_from = sent + len(apart)  # what is shown begins with the refusal
    return Part(apart + policy.refusal)
