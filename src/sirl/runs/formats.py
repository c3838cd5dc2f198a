"""What the documents and logs of a run folder hold, checked whenever one is read.

Fields that other versions of sirl add are left alone, and most may be absent, since earlier
versions lack them. `evaluation.records` and `evaluation.second_judges` check answers and verdicts.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    RootModel,
    ValidationError,
    field_validator,
    model_validator,
)

from sirl.runs.disk import damaged
from sirl.runs.places import ABOUT, SUMMARY
from sirl.types import Question

__all__ = ["check_format"]

Count = Annotated[int, Field(ge=0)]
Tokens = list[int]
NUMBERS = (int, float, type(None))
"""Types of a quantity; None stands for a number that is not finite."""


class Format(BaseModel):
    """An object of a file; its values are not converted."""

    model_config = ConfigDict(strict=True)


class PromptFile(Format):
    """A file of prompts in `run.json`."""

    file: str
    sha256: str
    used: Count
    rejected: Count


class Exit(Format):
    """How a run has ended."""

    how: str
    why: str = ""


class Hardware(Format):
    """The machine."""

    machine: str
    system: str
    cores: int | None


class Teaching(Format):
    """What training has learned from."""

    taught_by: str
    learning_rate: float


class About(Format):
    """`run.json`."""

    verb: str = ""
    command: list[str] = []
    resumed_by: list[list[str]] = []
    sirl: str = ""
    versions: dict[str, str | None] = {}
    seed: int = 0
    template_date: str | None = None
    hardware: Hardware | None = None
    starts: Annotated[list[str], Field(min_length=1)] = [""]
    model: dict[str, str] = {}
    prompts: list[PromptFile] = []
    files: dict[str, str] = {}
    readings: list[str] = []
    held_out: str | None = None
    judges: list[str] = []
    judge_faults: list[str] = []
    judge_identities: list[str] = []
    endpoint_dialect: dict[str, dict[str, list[str]]] = {}
    teaching: Teaching | None = None
    code_sandbox: str = ""
    launch: str = ""
    exit: Exit | None = None
    written: dict[str, str] = {}


class Summary(Format):
    """What the summaries of all verbs have in common."""

    judge_faults: list[str] = []
    measured: dict[str, Any] = {}
    models: dict[str, dict[str, Any]] = {}
    recorded: dict[str, dict[str, Count]] = {}


class Instinct(Format):
    """`instinct.json`."""

    pool: str
    cut: float
    shares: dict[str, float]
    modes: Annotated[list[float], Field(min_length=2, max_length=2)]
    dip: float | None


class Decisions(Format):
    """`decisions.json`."""

    openers: Tokens
    masses: dict[str, list[float]]
    threshold: float | None
    agreement: float | None
    answers: dict[str, list[Tokens]]


class OwnAnswers(Format):
    """`own_answers.json`; earlier versions had one opening per prompt."""

    asked: dict[str, Tokens] = {}
    openings: dict[str, list[Tokens] | Tokens]
    refusals: dict[str, list[Tokens]] = {}


class OwnRefusals(Format):
    """`own_refusals.json`."""

    identity: str
    figures: dict[str, Any]


class Answer(Format):
    """A sampled answer."""

    prompt_id: str
    prompt_ids: Tokens
    token_ids: Tokens
    text: str
    logprobs: list[float | None]
    entropies: list[float | None]
    finish: str


class InstinctAnswers(Format):
    """A line of `instinct_answers.jsonl`."""

    place: str
    answers: list[Answer]


class Rejected(Format):
    """A line of `rejected.jsonl`."""

    line: Count = 0
    prompts: Count = 0


class Cost(Format):
    """What one role has cost."""

    calls: Count
    tokens: Count
    seconds: float


class Costs(Format):
    """A line of `costs.jsonl`."""

    roles: dict[str, Cost] | None = None


class Rate(Format):
    """A rate with its interval."""

    value: float | None
    low: float | None
    high: float | None
    n: Count


class Doubt(Format):
    """An alarm about a judge."""

    kind: str


class MiniEvaluation(Format):
    """A line of `mini_evals.jsonl`."""

    step: Count
    asked: str | None = None
    dsr: Rate | None = None
    behaviours: Count = 0
    attacks: list[str] = []
    judge: str = ""
    question: Question | None = None
    over_refusal: dict[str, Rate] = {}
    capability: dict[str, Rate] = {}
    entropy: dict[str, float | None] = {}
    doubts: list[Doubt] = []

    @model_validator(mode="after")
    def judged(self) -> Self:
        """A judge answers a question."""
        if self.judge and not self.question:
            raise ValueError("question is missing")
        return self


class Metrics(RootModel[dict[str, Any]]):
    """A line of `metrics.jsonl`."""

    @field_validator("root")
    @classmethod
    def numbers(cls, found: dict[str, Any]) -> dict[str, Any]:
        """Quantities, which alone have a stage in their names, are numbers."""
        if lost := [k for k, v in found.items() if "/" in k and type(v) not in NUMBERS]:
            raise ValueError(f"{lost[0]} is not a number")
        return found


FORMATS: Mapping[str, type[BaseModel]] = {
    ABOUT: About,
    SUMMARY: Summary,
    "instinct.json": Instinct,
    "decisions.json": Decisions,
    "own_answers.json": OwnAnswers,
    "own_refusals.json": OwnRefusals,
    "instinct_answers.jsonl": InstinctAnswers,
    "rejected.jsonl": Rejected,
    "costs.jsonl": Costs,
    "mini_evals.jsonl": MiniEvaluation,
    "metrics.jsonl": Metrics,
}


def check_format(name: str, found: Mapping[str, Any], place: str) -> None:
    """Check a document, or a line of a log, which stands at `place`.

    Raises:
        RunError: It lacks a value, or has one of another kind than a run writes.
    """
    if name not in FORMATS:
        return
    try:
        FORMATS[name].model_validate(found)
    except ValidationError as error:
        raise damaged(place, ".".join(map(str, error.errors()[0]["loc"]))) from error
