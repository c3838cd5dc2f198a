"""Scores whole answers as the guard scores them while they stream."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from sirl.errors import InputError
from sirl.guard.calibration import Calibration
from sirl.guard.checks import Check, CheckReader
from sirl.guard.classical import Usual, classical_scores
from sirl.guard.detectors import ACTING, CONTROL, CUTS, STREAM
from sirl.guard.documents import GuardShape, check_digest, check_shape, with_digest
from sirl.guard.monitor import Watch, check_positions
from sirl.guard.probe import LinearProbe
from sirl.guard.replaying import Heard
from sirl.models.chat import ChatModel
from sirl.models.forward import score
from sirl.types import Completion, Prompt

__all__ = [
    "Asked",
    "Fitted",
    "Guard",
    "heard",
    "heard_by",
    "prompt_numbers",
]


PromptAndLastTurn = tuple[tuple[int, ...], tuple[int, ...]]
"""A rendered prompt, and its last turn by itself; empty if it is the only one."""


class Asked(NamedTuple):
    """A prompt as it was asked, and an answer."""

    prompt: Prompt
    completion: Completion

    @property
    def begun(self) -> bool:
        """Whether the prompt begins the answer."""
        return self.prompt.is_begun

    def at(self, position: int, turn: tuple[int, ...] = ()) -> Check:
        """The answer up to a position; the check before it needs the last turn of the prompt."""
        return Check(self.completion, position, self.begun, turn)


@dataclass(frozen=True)
class Fitted:
    """What a guard has learned from one model."""

    probe: LinearProbe
    cuts: LinearProbe
    """Reads the prompt at cuts; its scores compare with those of the other probe."""
    controls: tuple[LinearProbe, ...]
    """Probes of the same layer that were fitted on random kinds."""
    openers: tuple[int, ...]
    """Tokens that begin the model's refusals."""
    usual: Usual
    watch: Watch

    def reader(self, chat: ChatModel) -> CheckReader:
        """Reads what this guard scores: states of both probes' layers."""
        return CheckReader(chat, (self.probe.layer, self.cuts.layer), self.openers)

    def cut_scores(self, reader: CheckReader, prompts: Sequence[PromptAndLastTurn]) -> list[float]:
        """The highest score of each rendered prompt at the cuts of its last turn and at its end."""
        rows = {own: reader.cuts(*own) for own in prompts}
        states = reader.read_ids([row for own in rows.values() for row in own]).states[:, 1]
        scores = iter(self.cuts.score(states).tolist())
        found = {ids: max(next(scores) for _ in own) for ids, own in rows.items()}
        return [found[own] for own in prompts]

    def scores(self, reader: CheckReader, checks: Sequence[Check]) -> list[float]:
        """The score of each check; before the first token the higher of both probes."""
        own: list[float] = self.probe.score(reader.read(checks).states[:, 0]).tolist()
        first = [n for n, check in enumerate(checks) if check.position == 0]
        asked = [(checks[n].completion.prompt_ids, checks[n].turn) for n in first]
        cuts = self.cut_scores(reader, asked)
        for n, cut in zip(first, cuts, strict=True):
            own[n] = max(own[n], cut)
        return own


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
        own = {
            "probe": self.fitted.probe.document(),
            "cuts": self.fitted.cuts.document(),
            "controls": [c.document() for c in self.fitted.controls],
            "openers": list(self.fitted.openers),
            "usual": asdict(self.fitted.usual),
            "watch": asdict(self.fitted.watch),
            "calibration": self.calibration.document(),
            "disguises": sorted(self.disguises),
            "known": sorted(self.known),
        }
        return with_digest(own)

    @classmethod
    def revived(cls, document: Mapping[str, Any], where: str) -> "Guard":
        """The guard from its JSON.

        Raises:
            InputError: The document is damaged.
        """
        if "cuts" not in document and "probe" in document:
            raise InputError(
                f"{where} is of an older version, whose guard read less of a prompt: run sirl "
                "guard calibrate again"
            )
        check_shape(GuardShape, document, where)
        fitted = Fitted(
            LinearProbe.revived(document["probe"], where),
            LinearProbe.revived(document["cuts"], where),
            tuple(LinearProbe.revived(c, where) for c in document["controls"]),
            tuple(document["openers"]),
            Usual(**document["usual"]),
            Watch(**document["watch"]),
        )
        names = (frozenset(document[key]) for key in ("disguises", "known"))
        calibration = Calibration.revived(document["calibration"], where)
        calibration.check_detector(ACTING, where)
        check_digest(document, where)
        return cls(fitted, calibration, *names)

    def check_model(self, chat: ChatModel, where: str) -> None:
        """Check that the guard can read the states of a model.

        Raises:
            InputError: Its numbers are not those of this model.
        """
        fitted, config = self.fitted, chat.model.config.get_text_config()
        probes = {"probe": fitted.probe, "cuts": fitted.cuts}
        probes |= {f"controls.{n}": probe for n, probe in enumerate(fitted.controls)}
        faults = {
            name: probe.fault(int(config.num_hidden_layers), int(config.hidden_size))
            for name, probe in probes.items()
        }
        if max(fitted.openers, default=0) >= (tokens := int(config.vocab_size)):
            faults["openers"] = f"has token {max(fitted.openers)} of {tokens}"
        for name, fault in faults.items():
            if fault:
                raise InputError(
                    f"{where} is damaged: its field {name} {fault}; run sirl guard calibrate again"
                )


def heard(reader: CheckReader, fitted: Fitted, answers: Sequence[Asked]) -> list[Heard]:
    """Score answers at all their checks; a reader that `fitted` made."""
    places = [tuple(check_positions(a.completion.entropies, fitted.watch)) for a in answers]
    checks = [a.at(k) for a, own in zip(answers, places, strict=True) for k in own]
    # The first token of a begun answer is also read behind its prompt as it is.
    found = reader.read([*checks, *(Check(a.completion, 0) for a in answers)])
    streams = {
        STREAM: fitted.probe.score(found.states[:, 0]).tolist(),
        "refusal_mass": found.refusal_mass.tolist() if fitted.openers else [],
    }
    for n, control in enumerate(fitted.controls, 1):
        streams[f"{CONTROL}_{n}"] = control.score(found.states[:, 0]).tolist()
    asked = [a.completion.prompt_ids for a in answers]
    turns = [reader.turn(a.prompt.messages) for a in answers]
    numbers = prompt_numbers(reader.chat, asked)
    cuts = fitted.cut_scores(reader, list(zip(asked, turns, strict=True)))
    tops = found.top_logprob[len(checks) :].tolist()
    result, start = [], 0
    for answer, own, (logprobs, entropies), top, cut in zip(
        answers, places, numbers, tops, cuts, strict=True
    ):
        part = slice(start, start + len(own))
        start += len(own)
        by_name = {name: tuple(s[part]) for name, s in streams.items() if s}
        first, *others = by_name[STREAM]
        by_name[ACTING] = (max(first, cut), *others)
        prompt = {
            "probe_prompt": first,
            CUTS: cut,
            **classical_scores(logprobs, entropies, top, fitted.usual),
        }
        result.append(Heard(answer.completion.entropies, own, by_name, prompt))
    return result


def heard_by(
    detector: str, reader: CheckReader, fitted: Fitted, answers: Sequence[Asked]
) -> list[Heard]:
    """Score answers at all their checks with one detector alone, `STREAM` or `ACTING`."""
    places = [tuple(check_positions(a.completion.entropies, fitted.watch)) for a in answers]
    turns = [reader.turn(a.prompt.messages) for a in answers]
    checks = [
        answer.at(k, turn)
        for answer, own, turn in zip(answers, places, turns, strict=True)
        for k in own
    ]
    if detector == ACTING:
        scores = iter(fitted.scores(reader, checks))
    else:
        scores = iter(fitted.probe.score(reader.read(checks).states[:, 0]).tolist())
    return [
        Heard(answer.completion.entropies, own, {detector: tuple(next(scores) for _ in own)}, {})
        for answer, own in zip(answers, places, strict=True)
    ]


def prompt_numbers(
    chat: ChatModel, prompts: Iterable[tuple[int, ...]]
) -> list[tuple[list[float], list[float]]]:
    """Log-probabilities and entropies of the tokens of rendered prompts, but their first."""
    rows = [Completion("", ids[:1], ids[1:], "", (), (), "length") for ids in prompts]
    return [(n.logprobs.tolist(), n.entropies.tolist()) for n in score(chat, rows)]
