"""The guard of a model behind an API: what it has learned, and what it is valid for."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sirl.errors import ConfigError, InputError
from sirl.guard.calibration import Binding, Calibration
from sirl.guard.documents import EndpointShape, check_digest, check_shape, with_digest
from sirl.guard.monitor import Watch
from sirl.guard.upstream.asking import UpstreamManner
from sirl.types import Message

__all__ = [
    "DETECTOR",
    "KIND",
    "EndpointGuard",
    "Identity",
    "Witness",
    "endpoint_binding",
    "witness_prompts",
]

KIND = "endpoint"
"""The field `kind` of guard.json."""
DETECTOR = "refusal_mass"
UNKNOWN = "unknown"
"""Weights and template: an API does not show them."""
MOST_OPENERS = 5
"""Openers that the model is asked to repeat."""
OTHER = 0.3
"""Total variation between the first tokens of two answers from which they are of other models."""
COMMON = (
    "Name the capital of France.",
    "Write a short story about a lighthouse.",
    "What is 17 plus 25?",
)


@dataclass(frozen=True)
class Witness:
    """The likeliest first tokens of the answer to a fixed harmless prompt."""

    prompt: str
    top: tuple[tuple[str, float], ...]
    """Tokens with their log-probabilities."""

    def distance(self, other: "Witness") -> float:
        """Total variation between the reported tokens, 0 to 1."""
        own, theirs = ({t: math.exp(p) for t, p in w.top} for w in (self, other))
        return sum(abs(own.get(t, 0.0) - theirs.get(t, 0.0)) for t in {*own, *theirs}) / 2


@dataclass(frozen=True)
class Identity:
    """What an upstream shows of itself."""

    name: str
    """The model's name in requests."""
    served: str
    """The model's name in replies; empty if there is none."""
    fingerprints: tuple[str, ...] = ()
    """Values of `system_fingerprint`, sorted; a service may have several at a time."""
    witnesses: tuple[Witness, ...] = ()


def witness_prompts(openers: Sequence[str]) -> list[tuple[Message, ...]]:
    """Harmless prompts: everyday ones, and requests to repeat refusal openers as they are."""
    texts = [*COMMON, *(f"Repeat after me: {opener.strip()}" for opener in openers[:MOST_OPENERS])]
    return [(Message("user", text),) for text in texts]


def endpoint_binding(
    identity: Identity,
    openers: Sequence[str],
    manner: UpstreamManner,
    new_tokens: int,
    watch: Watch,
) -> Binding:
    """What a calibration is valid for."""
    mode = {
        "statistic": f"{DETECTOR}, asked again, of the likeliest tokens",
        "upstream_model": identity.name,
        "served_model": identity.served,
        "openers": hashlib.sha256(json.dumps(sorted(openers)).encode()).hexdigest()[:16],
        **{f"check_{key}": value for key, value in asdict(manner).items()},
        **watch.mode,
        "new_tokens": new_tokens,
    }
    return Binding(UNKNOWN, UNKNOWN, mode)


@dataclass(frozen=True)
class EndpointGuard:
    """A calibrated guard of an endpoint."""

    openers: frozenset[str]
    """First tokens of the model's refusals."""
    watch: Watch
    manner: UpstreamManner
    identity: Identity
    calibration: Calibration
    known: frozenset[str]
    """Digests of the requests that it was fitted or calibrated on."""

    @property
    def served(self) -> str:
        """The model's name in replies."""
        return self.identity.served

    @property
    def threshold(self) -> float:
        """Scores above it are alarms."""
        return self.calibration.threshold(DETECTOR)

    def refuse_other(self, found: Identity, new_tokens: int, where: str) -> None:
        """Check that an upstream is the one of the calibration.

        Raises:
            ConfigError: It is another one, as far as it shows.
            InputError: The guard lacks answers to compare.
        """
        own = endpoint_binding(found, sorted(self.openers), self.manner, new_tokens, self.watch)
        self.calibration.binding.refuse_other(own, where)
        known = self.identity.fingerprints
        if new := sorted({*found.fingerprints} - {*known} if known else ()):
            raise ConfigError(
                f"the calibration in {where} is for the fingerprints {', '.join(known)}, not "
                f"{new[0]}: calibrate again"
            )
        witnesses = self.identity.witnesses
        if len(witnesses) != len(found.witnesses):
            raise InputError(
                f"{where} has {len(witnesses)} witnesses, not {len(found.witnesses)}: run sirl "
                "guard calibrate again"
            )
        for before, now in zip(witnesses, found.witnesses, strict=True):
            seen = [o for o in sorted(self.openers) if o in dict(before.top)]
            if lost := [o for o in seen if o not in dict(now.top)]:
                raise ConfigError(
                    f"the refusal opener {lost[0]!r} of the guard in {where} is no token among the "
                    f"likeliest where it was one, as under another tokenizer: calibrate again"
                )
            if (distance := before.distance(now)) > OTHER:
                raise ConfigError(
                    f"the first token of the answer to {now.prompt!r} has another distribution "
                    f"than when the guard in {where} was calibrated (total variation "
                    f"{distance:.2f}), as of another model: calibrate again"
                )

    def document(self) -> dict[str, Any]:
        """The guard as JSON."""
        own = {
            "kind": KIND,
            "openers": sorted(self.openers),
            "watch": asdict(self.watch),
            "manner": asdict(self.manner),
            "identity": asdict(self.identity),
            "calibration": self.calibration.document(),
            "known": sorted(self.known),
        }
        return with_digest(own)

    @classmethod
    def revived(cls, document: Mapping[str, Any], where: str) -> "EndpointGuard":
        """The guard from its JSON.

        Raises:
            InputError: The document is damaged, or of a local model.
        """
        if document.get("kind") != KIND:
            raise InputError(
                f"{where} is the guard of a local model, whose hidden states no endpoint shows: "
                "calibrate one with sirl guard calibrate --model URL#MODEL"
            )
        check_shape(EndpointShape, document, where)
        identity = dict(document["identity"])
        witnesses = tuple(
            Witness(w["prompt"], tuple((t, float(p)) for t, p in w["top"]))
            for w in identity.pop("witnesses")
        )
        prints = tuple(identity.pop("fingerprints"))
        calibration = Calibration.revived(document["calibration"], where)
        calibration.check_detector(DETECTOR, where)
        check_digest(document, where)
        return cls(
            frozenset(document["openers"]),
            Watch(**document["watch"]),
            UpstreamManner(**document["manner"]),
            Identity(**identity, fingerprints=prints, witnesses=witnesses),
            calibration,
            frozenset(document["known"]),
        )
