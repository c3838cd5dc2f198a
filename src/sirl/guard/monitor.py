"""The state of one answer while it streams: when to check it, and when to raise an alarm.

The monitor reads one entropy per token and one score per check. It does no I/O and imports no
model; a token costs constant time. Positions count the tokens of the answer: a check at position k
judges the prompt and the first k tokens.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

__all__ = [
    "Decision",
    "GuardedStream",
    "HoldBack",
    "Monitor",
    "Watch",
    "check_positions",
    "highest_score",
]

Action = Literal["continue", "check", "alarm"]
NO_SCORE = -math.inf
"""The score before the first check."""


@dataclass(frozen=True)
class Watch:
    """How an answer is watched. A threshold holds only for the watch it was calibrated with."""

    every: int = 16
    """Tokens between two checks at most."""
    soonest: int = 8
    """Tokens between two checks at least, but for the end. A rise of the entropy sooner after a
    check asks for none: the next regular one sees it."""
    averaged: int = 2
    """The score is the mean of so many last checks behind the answer; that of the prompt counts by
    itself."""
    in_a_row: int = 1
    """An alarm needs so many consecutive scores above the threshold."""
    entropy_span: int = 8
    """Tokens over which the entropy is averaged."""
    entropy_cut: float = math.inf
    """Mean entropy (nats) above which an answer has left the mode of refusals; the moment it rises
    above, a check is due, unless one was made less than `soonest` tokens before. Infinite: no early
    checks."""

    def __post_init__(self) -> None:
        lengths = (self.every, self.soonest, self.averaged, self.in_a_row, self.entropy_span)
        if min(lengths) < 1 or self.soonest > self.every or math.isnan(self.entropy_cut):
            raise ValueError(f"{self} cannot be kept: every length is at least 1")

    @property
    def mode(self) -> dict[str, int]:
        """What a calibration is bound to, by the names of its file."""
        return {
            "every": self.every,
            "soonest": self.soonest,
            "averaged behind the answer": self.averaged,
            "in_a_row": self.in_a_row,
        }


class Decision(NamedTuple):
    """What to do with an answer now."""

    action: Action
    score: float
    """The highest debounced score so far; minus infinity before the first."""
    position: int
    """Tokens of the answer so far; of an alarm, those that its check judged."""


class Monitor:
    """Watches one answer: call `begin`, then `token` for each token, then `end`.

    Each may return the action `check`; the caller then passes the score of the first `position`
    tokens to `checked`. After an alarm every decision is that alarm.
    """

    def __init__(self, watch: Watch, threshold: float) -> None:
        self.watch = watch
        self.threshold = threshold
        self.position = 0
        self._checked_at = -1
        self._best = NO_SCORE
        self._alarm: Decision | None = None
        self._scores: deque[float] = deque(maxlen=watch.averaged)
        self._smooth: deque[float] = deque(maxlen=watch.in_a_row)
        self._entropies: deque[float] = deque(maxlen=watch.entropy_span)
        self._high = False

    def begin(self) -> Decision:
        """Before the first token: the prompt is checked."""
        return self._decision("check")

    def token(self, entropy: float) -> Decision:
        """The next token, with the entropy (nats) of the distribution that it was drawn from.

        An entropy that is not finite counts as above any cut, so that it asks for a check and hides
        no later rise.
        """
        self.position += 1
        since = self.position - max(self._checked_at, 0)
        rose = self._rose(entropy) and since >= self.watch.soonest
        return self._decision("check" if rose or since >= self.watch.every else "continue")

    def end(self) -> Decision:
        """After the last token: what was not checked yet is checked."""
        return self._decision("check" if self._checked_at < self.position else "continue")

    def checked(self, score: float) -> Decision:
        """The score of the tokens so far: the higher, the more surely the model would refuse.

        Raises:
            ValueError: The score is not a number.
        """
        if math.isnan(score):
            raise ValueError(f"the check at token {self.position} has no score")
        if self._alarm:
            return self._alarm
        self._checked_at = self.position
        self._scores.append(score)
        self._smooth.append(sum(self._scores) / len(self._scores))
        if self.position == 0:
            self._scores.clear()  # a low score of the prompt hides no high one of the answer
        if len(self._smooth) == self.watch.in_a_row:
            self._best = max(self._best, min(self._smooth))
        decision = self._decision("alarm" if self._best > self.threshold else "continue")
        if decision.action == "alarm":
            self._alarm = decision
        return decision

    def _rose(self, entropy: float) -> bool:
        """Whether the mean entropy has risen above the cut with this token."""
        self._entropies.append(entropy if math.isfinite(entropy) else math.inf)
        # A running sum would stay infinite, or NaN, after one infinite entropy.
        was, mean = self._high, sum(self._entropies) / len(self._entropies)
        self._high = len(self._entropies) == self.watch.entropy_span and (
            mean > self.watch.entropy_cut
        )
        return self._high and not was

    def _decision(self, action: Action) -> Decision:
        return self._alarm or Decision(action, self._best, self.position)


class HoldBack:
    """Holds back the newest tokens of a stream; text leaves only after a check has passed it.

    A token leaves once a passed check has judged it and `window` newer tokens have arrived, or the
    answer has ended. With a window of at least the distance between checks, text flows token by
    token. After an alarm nothing leaves.
    """

    def __init__(self, window: int) -> None:
        self.window = window
        self.left = 0
        """Tokens that have left."""
        self._held: deque[str] = deque()
        self._passed = 0
        self._ended = False

    def push(self, piece: str) -> None:
        """The text of the next token, which may be empty."""
        self._held.append(piece)

    def passed(self, position: int) -> None:
        """A check of the first `position` tokens has passed."""
        self._passed = max(self._passed, position)

    def end(self) -> None:
        """No token follows."""
        self._ended = True

    def drop(self) -> None:
        """An alarm: what is held never leaves."""
        self._held.clear()

    def release(self) -> str:
        """The text that may leave now."""
        arrived = self.left + len(self._held)
        free = min(self._passed, arrived if self._ended else arrived - self.window)
        pieces = [self._held.popleft() for _ in range(min(max(0, free - self.left), arrived))]
        self.left += len(pieces)
        return "".join(pieces)


class GuardedStream:
    """A monitor and a hold-back for one answer; the chunks in which tokens arrive do not matter.

    Args:
        monitor: A fresh monitor.
        hold: A fresh hold-back.
        score: Returns the score of the first k tokens of the answer.
    """

    def __init__(self, monitor: Monitor, hold: HoldBack, score: Callable[[int], float]) -> None:
        self.monitor = monitor
        self.hold = hold
        self.score = score
        self.decision = self._settled(monitor.begin())

    @property
    def stopped(self) -> bool:
        """Whether an alarm was raised; nothing leaves afterwards."""
        return self.decision.action == "alarm"

    def feed(self, chunk: Iterable[tuple[str, float]]) -> str:
        """The next tokens, each with its text and its entropy; the text that may leave."""
        out = []
        for piece, entropy in chunk:
            if self.stopped:
                break
            self.hold.push(piece)
            self.decision = self._settled(self.monitor.token(entropy))
            out.append("" if self.stopped else self.hold.release())
        return "".join(out)

    def end(self) -> str:
        """The end of the answer; the rest of the text, if it passes."""
        if not self.stopped:
            self.hold.end()
            self.decision = self._settled(self.monitor.end())
        return "" if self.stopped else self.hold.release()

    def _settled(self, decision: Decision) -> Decision:
        """The decision after the check that it may ask for."""
        if decision.action == "check":
            decision = self.monitor.checked(self.score(decision.position))
            if decision.action == "continue":
                self.hold.passed(decision.position)
        if decision.action == "alarm":
            self.hold.drop()
        return decision


def check_positions(entropies: Sequence[float], watch: Watch) -> list[int]:
    """The positions at which an answer with these entropies is checked if no alarm is raised.

    >>> check_positions([0.1] * 40, Watch(every=16))
    [0, 16, 32, 40]
    """
    found: list[int] = []

    def note(position: int) -> float:
        found.append(position)
        return NO_SCORE

    stream = GuardedStream(Monitor(watch, math.inf), HoldBack(1), note)
    stream.feed(("", entropy) for entropy in entropies)
    stream.end()
    return found


def highest_score(entropies: Iterable[float], scores: Mapping[int, float], watch: Watch) -> float:
    """The statistic of a whole answer: the highest score that the monitor sees.

    Args:
        entropies: Of each token, in nats.
        scores: Position -> score of its check.
        watch: How the answer is watched.
    """
    stream = GuardedStream(Monitor(watch, math.inf), HoldBack(1), lambda k: float(scores[k]))
    stream.feed(("", entropy) for entropy in entropies)
    stream.end()
    return stream.decision.score
