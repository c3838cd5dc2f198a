"""Guards one answer while it streams: what leaves, when a check is due, what an alarm does.

Which check judges which token, and what leaves, depends on the pieces and the scores alone, not on
when or in which chunks they arrive.
"""

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from sirl.guard.monitor import NO_SCORE, Decision, HoldBack, Monitor
from sirl.guard.server.policy import Policy
from sirl.guard.server.source import Answer, Piece, SourceError
from sirl.guard.server.stopping import Stops

__all__ = ["CheckFailedError", "Finding", "Part", "Seen", "WatchedAnswer"]

LOG = logging.getLogger("sirl.guard")
Finish = Literal["stop", "length", "content_filter"]


class CheckFailedError(SourceError):
    """A check failed, and the policy is to answer nothing unchecked."""

    def __init__(self, position: int) -> None:
        super().__init__(f"the check of the guard at token {position} failed; nothing more is sent")


@dataclass
class Seen:
    """A token of the answer, and what the guard made of it."""

    number: int
    """From 1."""
    piece: Piece
    checked: float | None = None
    """The score of the check behind this token; None if there was none."""
    score: float = NO_SCORE
    """The monitor's score after it."""
    shadow: int = 0
    """Characters sent after it in shadow mode."""
    live: int = 0
    """The same in live mode."""
    hold: int = 0
    """The same in hold mode."""
    dropped: bool = False
    """Whether an alarm dropped it before it was sent."""


class Part(NamedTuple):
    """What leaves at once."""

    text: str
    seen: tuple[Seen, ...] = ()
    """Tokens that leave with it."""
    settled: tuple[Seen, ...] = ()
    """Tokens with everything the guard made of them. In hold mode none that is held; those that an
    alarm drops come without their text."""
    refusal: bool = False
    """Whether the text is the guard's refusal rather than the model's."""
    last: bool = False
    """Whether it ends the answer."""


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
    """Characters that a passed check has judged; later ones that were sent are retracted."""
    refusal_from: int | None = None
    """Where the guard's refusal begins in what was sent."""
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
        self.tokens = 0
        """Tokens generated."""
        self.sent = 0
        """Characters sent."""
        self.prompt_score: float | None = None
        """The score of the check before the first token."""
        self._stops = Stops(stops)
        self._monitor = Monitor(*policy.rule) if policy.rule else None
        self._hold = HoldBack(policy.rule.watch.every if policy.rule else 0)
        self.passed = 0
        """Tokens that a passed check has judged."""
        self._ends = [0]
        """Characters of the first k tokens."""
        self._texts: list[str] = []
        self._unsent: list[Seen] = []
        self._unsettled: list[Seen] = []

    @property
    def text(self) -> str:
        """What the model has written, whether it was sent or not."""
        return "".join(self._texts)

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

    async def parts(self) -> AsyncIterator[Part]:
        """What leaves, in order; afterwards `finding` and `finish` are valid.

        Raises:
            SourceError: The answer cannot go on.
        """
        last: Seen | None = None
        if self._monitor:
            await self._settle(self._monitor.begin(), None)
        if not self.cut:
            async for piece in self._stops.cut(self.answer.pieces()):
                last = self._arrived(piece)
                if not self.holding:
                    yield self._leaving()
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
        if self.finding.action == "refuse":
            yield self._refusal()

    def _arrived(self, piece: Piece) -> Seen:
        """The next token."""
        self.tokens += 1
        seen = Seen(self.tokens, piece)
        self._ends.append(self._ends[-1] + len(piece.text))
        self._hold.push(piece.text)
        self._texts.append(piece.text)
        self._unsent.append(seen)
        self._unsettled.append(seen)
        return seen

    async def _settle(self, decision: Decision, seen: Seen | None) -> None:
        """Run the check that is due and note its result."""
        if decision.action != "check" or self._monitor is None:
            return
        try:
            score = await self.answer.score(decision.position)
            found = self._monitor.checked(score)
        except Exception as error:
            LOG.exception("the check at token %d failed", decision.position)
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
        if self.cut and self.policy.mode == "live":
            self.finding.retract_from = self._ends[self.passed]

    def _after(self, seen: Seen) -> Part:
        """What leaves once a token is settled."""
        if self.watching:
            self._hold.release()
        alarm = self.finding.position
        seen.score = self.finding.score
        seen.shadow = self._ends[-1]
        seen.live = self._ends[-1 if alarm is None else alarm]
        seen.hold = self._ends[self._hold.left] if self._monitor else self._ends[-1]
        if self.cut:
            return self._dropping()
        free = self._hold.left if self.holding else self.tokens
        return self._leaving(free)

    async def _ended(self, last: Seen | None) -> Part:
        """The end of the answer, which is checked; the rest of it."""
        if self._monitor and self.watching:
            self._hold.end()
            await self._settle(self._monitor.end(), last)
        if last is None:
            return Part("")
        if last not in self._unsettled:  # what is new replaces what was reported of it
            self._unsettled.append(last)
        return self._after(last)

    def _leaving(self, free: int | None = None) -> Part:
        """Unsent tokens up to number `free`; all of them, unsettled, without it."""
        upto = self.tokens if free is None else free
        seen = [s for s in self._unsent if s.number <= upto]
        self._unsent = self._unsent[len(seen) :]
        settled: list[Seen] = []
        if free is not None:
            settled = [s for s in self._unsettled if s.number <= free]
            self._unsettled = self._unsettled[len(settled) :]
        text = "".join(s.piece.text for s in seen)
        self.sent += len(text)
        return Part(text, tuple(seen), tuple(settled))

    def _dropping(self) -> Part:
        """What an alarm drops: unsent tokens are reported without their text."""
        hidden = {s.number for s in self._unsent}
        settled = [
            replace(s, piece=s.piece._replace(text="", token="", top=()), dropped=True)
            if s.number in hidden
            else s
            for s in self._unsettled
        ]
        self._unsent, self._unsettled = [], []
        return Part("", (), tuple(settled))

    def _refusal(self) -> Part:
        """The guard's refusal, apart from what stays of the answer."""
        stays = self.finding.retract_from if self.policy.mode == "live" else self.sent
        self.finding.refusal_from = self.sent
        return Part(("\n\n" if stays else "") + self.policy.refusal, refusal=True)
