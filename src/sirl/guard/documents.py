"""The shapes of guard.json: what its fields must be before anything is computed from them."""

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    model_validator,
)

from sirl.errors import InputError
from sirl.guard.monitor import Watch
from sirl.runs.disk import plain

__all__ = [
    "CalibrationShape",
    "EndpointShape",
    "GuardShape",
    "ProbeShape",
    "check_digest",
    "check_shape",
    "with_digest",
]

DIGEST = "sha256"
"""The field with the digest of all others."""

Scores = Annotated[list[FiniteFloat], Field(min_length=1)]
Positive = Annotated[FiniteFloat, Field(gt=0)]


class Shape(BaseModel):
    """A part of the document; numbers are no text, and further fields are a fault."""

    model_config = ConfigDict(strict=True, extra="forbid")


class ProbeShape(Shape):
    """A linear probe."""

    layer: NonNegativeInt
    weights: Scores
    bias: FiniteFloat
    about: dict[str, Any]


class ModeShape(Shape):
    """How answers are sampled and watched."""

    model_config = ConfigDict(strict=True, extra="allow")
    __pydantic_extra__: dict[str, str | int]
    new_tokens: PositiveInt


class CalibrationShape(Shape):
    """Thresholds with the scores that they come from."""

    weights: str
    template: str
    mode: ModeShape
    alpha: Annotated[FiniteFloat, Field(gt=0, lt=1)]
    groups: Any = None
    thresholds: dict[str, FiniteFloat]
    scores: Annotated[
        dict[str, Annotated[dict[str, Scores], Field(min_length=1)]], Field(min_length=1)
    ]


class UsualShape(Shape):
    """Entropies of ordinary prompts."""

    median: FiniteFloat
    deviation: Positive


class WatchShape(Shape):
    """How an answer is watched."""

    every: PositiveInt
    soonest: PositiveInt
    averaged: PositiveInt
    in_a_row: PositiveInt
    entropy_span: PositiveInt
    entropy_cut: float

    @model_validator(mode="after")
    def kept(self) -> Self:
        """Check the lengths against each other, as `Watch` does."""
        Watch(**self.model_dump())
        return self


class GuardShape(Shape):
    """The guard of a local model."""

    probe: ProbeShape
    cuts: ProbeShape
    controls: list[ProbeShape]
    openers: list[NonNegativeInt]
    usual: UsualShape
    watch: WatchShape
    calibration: CalibrationShape
    disguises: list[str]
    known: list[str]
    sha256: str = ""


class MannerShape(Shape):
    """How an upstream is asked."""

    top: PositiveInt
    length: PositiveInt
    turn: str


class WitnessShape(Shape):
    """First tokens of an answer to a fixed prompt."""

    prompt: str
    top: list[tuple[str, FiniteFloat]]


class IdentityShape(Shape):
    """What an upstream shows of itself."""

    name: str
    served: str
    fingerprints: list[str]
    witnesses: list[WitnessShape]


class EndpointShape(Shape):
    """The guard of an endpoint."""

    kind: str
    openers: list[str]
    watch: WatchShape
    manner: MannerShape
    identity: IdentityShape
    calibration: CalibrationShape
    known: list[str]
    sha256: str = ""


def check_shape(shape: type[Shape], document: Mapping[str, Any], where: str) -> None:
    """Check a document of a guard.

    Raises:
        InputError: A field is missing, is of another type, or is not finite.
    """
    try:
        shape.model_validate_json(json.dumps(document))
    except ValidationError as faults:
        first = faults.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"])) or "the whole"
        raise InputError(
            f"{where} is no usable guard ({field}: {first['msg']}): run sirl guard calibrate again"
        ) from faults


def content_digest(document: Mapping[str, Any]) -> str:
    """SHA-256 of all fields but the digest; spacing and the order of fields do not count."""
    rest = {key: value for key, value in plain(document).items() if key != DIGEST}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def with_digest(document: Mapping[str, Any]) -> dict[str, Any]:
    """A document of a guard with its digest."""
    return {**document, DIGEST: content_digest(document)}


def check_digest(document: Mapping[str, Any], where: str) -> None:
    """Check that a document of a guard is as it was written; older ones have no digest.

    Raises:
        InputError: It has been changed.
    """
    if DIGEST in document and document[DIGEST] != content_digest(document):
        raise InputError(
            f"{where} was changed after it was written (its {DIGEST} is not that of its content): "
            "restore the file, or run sirl guard calibrate again"
        )
