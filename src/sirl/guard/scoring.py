"""Scores whole answers as the guard scores them while they stream."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from sirl.errors import InputError
from sirl.guard.calibration import Calibration
from sirl.guard.checks import Check, CheckReader
from sirl.guard.classical import Usual, classical_scores
from sirl.guard.monitor import GuardedStream, HoldBack, Monitor, Watch, check_positions
from sirl.guard.probe import LinearProbe
from sirl.guard.user_probe import highest
from sirl.guard.user_tokens import user_windows
from sirl.models.chat import ChatModel
from sirl.models.forward import score
from sirl.types import Completion, Prompt

__all__ = [
    "BOTH",
    "CONTROL",
    "Asked",
    "Fitted",
    "Guard",
    "Heard",
    "heard",
    "heard_by_probe",
    "prompt_numbers",
    "replay",
    "scored",
]

BOTH = "both_probes"
"""The higher score of the probe in the stream and that on the user's tokens."""
CONTROL = "random_labels"
"""Prefix of the names of controls."""


class Asked(NamedTuple):
    """A prompt as it was asked, and an answer."""

    prompt: Prompt
    completion: Completion

    @property
    def begun(self) -> bool:
        """Whether the prompt begins the answer."""
        return self.prompt.messages[-1].role == "assistant"

    def at(self, position: int) -> Check:
        """The answer up to a position."""
        return Check(self.completion, position, self.begun)


@dataclass(frozen=True)
class Fitted:
    """What a guard has learned from one model."""

    probe: LinearProbe
    user: LinearProbe
    """Reads the tokens that the user wrote."""
    controls: tuple[LinearProbe, ...]
    """Probes of the same layer that were fitted on random kinds."""
    openers: tuple[int, ...]
    """Tokens that begin the model's refusals."""
    usual: Usual
    watch: Watch

    def reader(self, chat: ChatModel) -> CheckReader:
        """Reads what this guard scores."""
        return CheckReader(chat, (self.probe.layer,), self.openers)

    def user_scores(self, chat: ChatModel, prompts: Sequence[tuple[int, ...]]) -> list[float]:
        """The score of each rendered prompt by the tokens that the user wrote."""
        reader = CheckReader(chat, (self.user.layer,), ())
        return highest(self.user, [own[:, 0] for own in user_windows(reader, prompts)])


@dataclass(frozen=True)
class Guard:
    """A fitted and calibrated guard."""

    fitted: Fitted
    calibration: Calibration
    disguises: frozenset[str]
    """Names of the disguises that it was fitted on."""
    known: frozenset[str]
    """Digests of the requests that it was fitted or calibrated on, so that none is evaluated."""

    def document(self) -> dict[str, Any]:
        """The guard as JSON."""
        return {
            "probe": self.fitted.probe.document(),
            "user": self.fitted.user.document(),
            "controls": [c.document() for c in self.fitted.controls],
            "openers": list(self.fitted.openers),
            "usual": asdict(self.fitted.usual),
            "watch": asdict(self.fitted.watch),
            "calibration": self.calibration.document(),
            "disguises": sorted(self.disguises),
            "known": sorted(self.known),
        }

    @classmethod
    def revived(cls, document: Mapping[str, Any], where: str) -> "Guard":
        """The guard from its JSON.

        Raises:
            InputError: The document is damaged.
        """
        try:
            fitted = Fitted(
                LinearProbe.revived(document["probe"], where),
                LinearProbe.revived(document["user"], where),
                tuple(LinearProbe.revived(c, where) for c in document["controls"]),
                tuple(map(int, document["openers"])),
                Usual(**document["usual"]),
                Watch(**document["watch"]),
            )
            names = (frozenset(map(str, document[key])) for key in ("disguises", "known"))
            calibration = Calibration.revived(document["calibration"], where)
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{where} is no guard: run sirl guard calibrate again") from error
        return cls(fitted, calibration, *names)


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


def heard(reader: CheckReader, fitted: Fitted, answers: Sequence[Asked]) -> list[Heard]:
    """Score answers at all their checks; a reader that `fitted` made."""
    places = [tuple(check_positions(a.completion.entropies, fitted.watch)) for a in answers]
    checks = [a.at(k) for a, own in zip(answers, places, strict=True) for k in own]
    found = reader.read(checks)
    streams = {
        "probe": fitted.probe.score(found.states[:, 0]).tolist(),
        "refusal_mass": found.refusal_mass.tolist() if fitted.openers else [],
    }
    for n, control in enumerate(fitted.controls, 1):
        streams[f"{CONTROL}_{n}"] = control.score(found.states[:, 0]).tolist()
    asked = [a.completion.prompt_ids for a in answers]
    numbers, users = prompt_numbers(reader.chat, asked), fitted.user_scores(reader.chat, asked)
    tops = first_token_logprobs(reader, answers)
    result, start = [], 0
    for answer, own, (logprobs, entropies), top, user in zip(
        answers, places, numbers, tops, users, strict=True
    ):
        part = slice(start, start + len(own))
        start += len(own)
        by_name = {name: tuple(s[part]) for name, s in streams.items() if s}
        by_name[BOTH] = tuple(max(score, user) for score in by_name["probe"])
        prompt = {
            "probe_prompt": by_name["probe"][0],
            "user_probe": user,
            **classical_scores(logprobs, entropies, top, fitted.usual),
        }
        result.append(Heard(answer.completion.entropies, own, by_name, prompt))
    return result


def heard_by_probe(reader: CheckReader, fitted: Fitted, answers: Sequence[Asked]) -> list[Heard]:
    """Score answers at all their checks with the probes alone."""
    places = [tuple(check_positions(a.completion.entropies, fitted.watch)) for a in answers]
    checks = [a.at(k) for a, own in zip(answers, places, strict=True) for k in own]
    scores = iter(fitted.probe.score(reader.read(checks).states[:, 0]).tolist())
    users = fitted.user_scores(reader.chat, [a.completion.prompt_ids for a in answers])
    found = []
    for answer, own, user in zip(answers, places, users, strict=True):
        probe = tuple(next(scores) for _ in own)
        both = tuple(max(score, user) for score in probe)
        streams = {"probe": probe, BOTH: both}
        found.append(Heard(answer.completion.entropies, own, streams, {}))
    return found


def first_token_logprobs(reader: CheckReader, answers: Sequence[Asked]) -> list[float]:
    """Log-probability of the likeliest first token of each answer, behind its prompt as it is."""
    bare = [Check(a.completion, 0) for a in answers]
    logprobs: list[float] = reader.read(bare).top_logprob.tolist()
    return logprobs


def prompt_numbers(
    chat: ChatModel, prompts: Iterable[tuple[int, ...]]
) -> list[tuple[list[float], list[float]]]:
    """Log-probabilities and entropies of the tokens of rendered prompts, but their first."""
    rows = [Completion("", ids[:1], ids[1:], "", (), (), "length") for ids in prompts]
    return [(n.logprobs.tolist(), n.entropies.tolist()) for n in score(chat, rows)]


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
