"""The interfaces of the system, as protocols. The values they exchange are in `sirl.types`."""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol, runtime_checkable

from sirl.types import (
    Attempt,
    Budget,
    Completion,
    Example,
    Mark,
    Message,
    Need,
    Outcome,
    Prompt,
    Question,
    Verdict,
)

__all__ = [
    "Access",
    "Attack",
    "Batch",
    "BatchJudge",
    "BatchSource",
    "Benchmark",
    "Console",
    "Control",
    "Disguise",
    "Engine",
    "ExampleSource",
    "Judge",
    "Learner",
    "Observer",
    "Progress",
    "Reward",
    "Search",
    "StreamingEngine",
    "Tries",
    "Work",
    "disguised",
    "identity_of",
    "silent",
]


@runtime_checkable
class Engine(Protocol):
    """Samples completions; (seed, step, prompt, sample) determines one, whatever the batch."""

    def sample(
        self, prompts: Sequence[Prompt], *, group: int = 1, step: int = 0
    ) -> list[Completion]:
        """Sample `group` completions per prompt, grouped in the order of the prompts."""
        ...


@runtime_checkable
class StreamingEngine(Engine, Protocol):
    """Yields completions as they arrive; a request that failed for good yields one with a fault."""

    def stream(
        self, prompts: Sequence[Prompt], *, proven: bool = False, exact: bool = False
    ) -> Generator[list[tuple[int, Completion]], None, None]:
        """Yield lists of (prompt index, completion) that arrived together.

        `proven`: the target has answered before, so one failure does not end the work. `exact`:
        raise `SamplingError` for sampling settings that the target does not accept. An
        `OutageError` that is thrown in ends the asking, not the answers on their way.
        """
        ...


@runtime_checkable
class Reward(Protocol):
    """The reward of a completion, computed only from the policy's own probabilities."""

    def __call__(self, completion: Completion) -> float:
        """The reward, in nats unless its name says otherwise."""
        ...


@runtime_checkable
class ExampleSource(Protocol):
    """Training examples in addition to sampled ones, such as anchors; the same on every rank."""

    def examples(self, step: int) -> Sequence[Example]:
        """The examples of a step, counted from 0."""
        ...


class Batch(NamedTuple):
    """What a step learns from."""

    examples: Sequence[Example]
    metrics: dict[str, float]
    rows: int | None = None
    """Number of completions that the loss is a mean over; by default the number of examples."""


@runtime_checkable
class BatchSource(Protocol):
    """The examples of each step, with metrics; the same on every rank."""

    def batch(self, step: int) -> Batch:
        """The batch of a step, counted from 0."""
        ...


@runtime_checkable
class Learner(Protocol):
    """Updates the policy."""

    def update(
        self, examples: Sequence[Example], *, step: int, rows: int | None = None
    ) -> dict[str, float]:
        """Run the optimizer steps of one batch, with a mean over `rows`; return its metrics."""
        ...


@dataclass
class Control:
    """What observers request of the training loop after a step; passed from one to the next."""

    save: bool = False
    """Whether a checkpoint is due; set it to True only, since others may have requested one."""
    broken: bool = False
    """Whether the last update was skipped, so the weights must not be saved."""
    stop: str = ""
    """Why training stops after this step, as a sentence; empty to continue."""
    done: str = ""
    """Why training is complete with this step, as a sentence; empty to continue."""


class Observer:
    """Callbacks of training; subclass it and override what you need.

    Every rank has the same observers in the same order and passes them the same metrics.
    """

    def on_start(self, taken: int, state: Mapping[str, Any]) -> None:
        """Training starts after `taken` steps, with this observer's state of the checkpoint."""

    def on_step(self, taken: int, metrics: dict[str, float], control: Control) -> None:
        """A step, counted from 1, is done; later observers see metrics that are added here."""

    def state(self) -> dict[str, Any]:
        """State for the next checkpoint, as JSON."""
        return {}

    def close(self) -> None:
        """Training has ended, with or without an error."""


@runtime_checkable
class Access(Protocol):
    """Budgeted access of an attack to the target, for one behaviour."""

    @property
    def seed(self) -> int:
        """Random seed of the attack."""
        ...

    @property
    def target_model(self) -> Any:  # noqa: ANN401 - no torch here
        """The target's `sirl.models.chat.ChatModel`, for attacks that need `gradients`."""
        ...

    def opener(self, behaviour: Prompt) -> str:
        """Beginning of a compliant answer to this behaviour."""
        ...

    def likelihoods(self, conversations: Sequence[tuple[Message, ...]], answer: str) -> list[float]:
        """Mean log-probability per token (nats) of an answer after each conversation.

        Each conversation is one query.
        """
        ...

    def ask_attacker(self, conversations: Sequence[tuple[Message, ...]]) -> list[str]:
        """The attacker model's reply to each conversation."""
        ...

    def spend(self, queries: int) -> bool:
        """Charge target calls that the attack makes itself; False once the budget is spent."""
        ...


Tries = Generator[Sequence[Attempt], Sequence[Outcome], None]
"""Yields attempts and is sent their outcomes in order; closed when one breaks the defence or the
budget is spent."""


@runtime_checkable
class Disguise(Protocol):
    """An attack that writes one prompt per behaviour without feedback from the target."""

    @property
    def name(self) -> str:
        """Name in settings and tables."""
        ...

    @property
    def family(self) -> str:
        """Family in tables."""
        ...

    @property
    def needs(self) -> frozenset[Need]:
        """What it requires of the target."""
        ...

    def attempt(self, behaviour: Prompt) -> Attempt:
        """The attempt on this behaviour; deterministic."""
        ...


def disguised(prompt: Prompt, disguise: Disguise) -> Prompt:
    """A prompt in a disguise, with its id."""
    return replace(prompt, messages=disguise.attempt(prompt).messages)


@runtime_checkable
class Search(Protocol):
    """An attack that uses the outcomes of its attempts to write the next ones."""

    @property
    def name(self) -> str:
        """Name in settings and tables."""
        ...

    @property
    def family(self) -> str:
        """Family in tables."""
        ...

    @property
    def needs(self) -> frozenset[Need]:
        """What it requires of the target and the evaluator."""
        ...

    @property
    def budget(self) -> Budget:
        """Budget per behaviour."""
        ...

    def tries(self, behaviour: Prompt, access: Access) -> Tries:
        """Generate attempts in rounds; deterministic given the outcomes."""
        ...


Attack = Disguise | Search


@runtime_checkable
class Judge(Protocol):
    """Labels an answer as refusal or compliance, or as harmful or harmless."""

    @property
    def name(self) -> str:
        """Name in settings and tables."""
        ...

    @property
    def question(self) -> Question:
        """What it decides: refusal or harm."""
        ...

    def verdict(self, attempt: Attempt, answer: str) -> Verdict:
        """Judge one answer to one attempt."""
        ...


def identity_of(judge: Judge) -> str:
    """A judge's `identity`, which determines its verdicts; without one, its name."""
    return str(getattr(judge, "identity", judge.name))


@runtime_checkable
class BatchJudge(Judge, Protocol):
    """A judge that works in batches."""

    def verdicts(self, items: Sequence[tuple[Attempt, str]]) -> list[Verdict]:
        """Judge (attempt, answer) pairs, in order."""
        ...


@runtime_checkable
class Benchmark(Protocol):
    """A set of tasks with checkable answers."""

    @property
    def name(self) -> str:
        """Name in settings and tables."""
        ...

    def prompts(self) -> list[Prompt]:
        """The tasks."""
        ...

    def correct(self, prompt: Prompt, answer: str) -> bool | Mark:
        """Whether the answer solves the task, perhaps with the reason."""
        ...


Progress = Callable[[str, int, int], None]
"""Progress callback: (what, done, total)."""


def silent(what: str, done: int, total: int) -> None:
    """Report no progress."""


class Work(NamedTuple):
    """Progress callback and stop request of long work."""

    progress: Progress
    stop: Callable[[], bool]
    """Whether a stop was requested; polled between parts of the work."""


@runtime_checkable
class Console(Protocol):
    """Where a workflow reports: a terminal, a notebook, or nowhere."""

    def warn(self, sentences: Iterable[str]) -> None:
        """Show warnings."""
        ...

    def bar(self) -> AbstractContextManager[Progress]:
        """Show progress inside a block."""
        ...

    def working(
        self, agreed: Callable[[bool], bool] = bool, *, at_once: bool = False
    ) -> AbstractContextManager[Work]:
        """Show progress and handle stop requests inside a block.

        `agreed` maps this rank's stop request to that of any rank (a collective). `at_once` lets a
        request interrupt, for work that saves every answer.
        """
        ...
