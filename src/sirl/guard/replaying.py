"""Answers whose checks were scored, streamed again through the monitor. Imports no torch."""

from collections.abc import Mapping
from typing import NamedTuple

from sirl.guard.monitor import GuardedStream, HoldBack, Monitor, Watch

__all__ = ["Heard", "Replayed", "replay", "scored"]


class Heard(NamedTuple):
    """What the checks of one answer scored."""

    entropies: tuple[float, ...]
    positions: tuple[int, ...]
    streams: Mapping[str, tuple[float, ...]]
    """Detector with a score at every check -> these scores."""
    prompt: Mapping[str, float]
    """Detector that reads the prompt only -> its score."""

    @property
    def detectors(self) -> tuple[str, ...]:
        """All detectors."""
        return (*self.streams, *self.prompt)


class Replayed(NamedTuple):
    """How the guard treats an answer with one detector and one threshold."""

    score: float
    """The highest debounced score of the answer if it is not stopped."""
    alarm: int | None
    """Tokens generated before the alarm; None without one."""
    left: int
    """Tokens that leave if text is held back until it is checked."""


def scored(answer: Heard, detector: str, watch: Watch) -> float:
    """The statistic of an answer: the highest score that the monitor sees."""
    return replay(answer, detector, watch, float("inf")).score


def replay(answer: Heard, detector: str, watch: Watch, threshold: float) -> Replayed:
    """Stream an answer again through the monitor."""
    if detector not in answer.streams:
        found = answer.prompt[detector]
        alarmed = found > threshold
        return Replayed(found, 0 if alarmed else None, 0 if alarmed else len(answer.entropies))
    scores = dict(zip(answer.positions, answer.streams[detector], strict=True))
    hold = HoldBack(watch.every)
    stream = GuardedStream(Monitor(watch, threshold), hold, scores.__getitem__)
    stream.feed(("", entropy) for entropy in answer.entropies)
    stream.end()
    decision = stream.decision
    return Replayed(decision.score, decision.position if stream.stopped else None, hold.left)
