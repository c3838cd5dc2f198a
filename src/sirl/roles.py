"""The roles of the system: what a caller may count on of each part, as protocols.

Values that are handed over are in `sirl.types`.
"""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
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
    "BatchJudge",
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
    "identity_of",
    "silent",
]


@runtime_checkable
class Engine(Protocol):
    """Samples completions. Same (seed, step, prompt, sample): same completion, in any batch."""

    def sample(
        self, prompts: Sequence[Prompt], *, group: int = 1, step: int = 0
    ) -> list[Completion]:
        """`group` completions of each prompt, siblings adjacent, in the order of the prompts."""
        ...


@runtime_checkable
class StreamingEngine(Engine, Protocol):
    """Hands over each completion as it comes; a request that failed for good is one, too."""

    def stream(
        self, prompts: Sequence[Prompt], *, proven: bool = False, exact: bool = False
    ) -> Generator[list[tuple[int, Completion]], None, None]:
        """Completions by the index of their prompts, those that came together in one list.

        `proven` says that the target has answered before, so that it is not given up for one
        failure; `exact`, that a sampling that it does not take is a `SamplingError`.
        """
        ...


@runtime_checkable
class Reward(Protocol):
    """What a completion earns, from the policy's own numbers alone."""

    def __call__(self, completion: Completion) -> float:
        """The reward in nats, or in the unit that the reward's name says."""
        ...


@runtime_checkable
class ExampleSource(Protocol):
    """Examples beside the sampled ones, such as anchors; every process of a run makes the same."""

    def examples(self, step: int) -> Sequence[Example]:
        """The examples of a step, counted from 0."""
        ...


@runtime_checkable
class Learner(Protocol):
    """Moves the policy."""

    def update(self, examples: Sequence[Example], *, step: int) -> dict[str, float]:
        """Take the optimizer steps of one batch; its numbers by metric key."""
        ...


@dataclass
class Control:
    """What the observers of a step ask of the training loop, from one to the next."""

    save: bool = False
    """Whether a checkpoint is due."""
    broken: bool = False
    """Whether the weights are not worth a checkpoint: the last update was skipped."""
    stop: str = ""
    """Why training stops after this step, as a sentence; empty where it goes on."""


class Observer:
    """Watches training step by step; the one role to inherit from, since most need one method.

    Every process of a run has the same observers, in the same order, with the same metrics.
    """

    def on_start(self, taken: int, state: Mapping[str, Any]) -> None:
        """Training starts after `taken` steps; `state` is what the checkpoint kept of this one."""

    def on_step(self, taken: int, metrics: dict[str, float], control: Control) -> None:
        """A step, counted from 1, is done; metrics that are added here reach later observers."""

    def state(self) -> dict[str, Any]:
        """What the next checkpoint keeps, as JSON."""
        return {}

    def close(self) -> None:
        """Training has ended, one way or another."""


@runtime_checkable
class Access(Protocol):
    """What the evaluator grants an attack on one behaviour; calls of the target are counted."""

    @property
    def seed(self) -> int:
        """Seed of every random choice of the attack."""
        ...

    @property
    def target_model(self) -> Any:  # noqa: ANN401 - torch stays out of the dictionary
        """The target's `sirl.models.chat.ChatModel`, for attacks that need `gradients`."""
        ...

    def opener(self, behaviour: Prompt) -> str:
        """First words of a compliant answer to this behaviour."""
        ...

    def likelihoods(self, conversations: Sequence[tuple[Message, ...]], answer: str) -> list[float]:
        """Mean log-probability per token (nats) of an answer after each conversation.

        Each conversation is one query.
        """
        ...

    def ask_attacker(self, conversations: Sequence[tuple[Message, ...]]) -> list[str]:
        """What the attacker model says after each conversation."""
        ...

    def spend(self, queries: int) -> bool:
        """Count target calls that the attack makes by itself; False once the budget is gone."""
        ...


Tries = Generator[Sequence[Attempt], Sequence[Outcome], None]
"""Yields attempts and is sent what came of each, in order; it is closed at the first that broke
the defence, and when the budget is spent."""


@runtime_checkable
class Disguise(Protocol):
    """Dresses a request once, knowing nothing of the target."""

    @property
    def name(self) -> str:
        """Its name in configurations and tables."""
        ...

    @property
    def family(self) -> str:
        """What carries the request, or how the attack searches."""
        ...

    @property
    def needs(self) -> frozenset[Need]:
        """What it asks of the target."""
        ...

    def attempt(self, behaviour: Prompt) -> Attempt:
        """The attempt on this behaviour; the same one each time."""
        ...


@runtime_checkable
class Search(Protocol):
    """Tries again and again, from what came of the tries before."""

    @property
    def name(self) -> str:
        """Its name in configurations and tables."""
        ...

    @property
    def family(self) -> str:
        """How it searches."""
        ...

    @property
    def needs(self) -> frozenset[Need]:
        """What it asks of the target and of the evaluator."""
        ...

    @property
    def budget(self) -> Budget:
        """What it may spend on one behaviour."""
        ...

    def tries(self, behaviour: Prompt, access: Access) -> Tries:
        """Attempts on this behaviour, round after round; the same for the same answers."""
        ...


Attack = Disguise | Search


@runtime_checkable
class Judge(Protocol):
    """Says of an answer whether it refuses its request, or whether it is harmful help."""

    @property
    def name(self) -> str:
        """Its name in configurations and tables."""
        ...

    @property
    def question(self) -> Question:
        """What it is asked."""
        ...

    def verdict(self, attempt: Attempt, answer: str) -> Verdict:
        """The verdict on one answer to one attempt."""
        ...


def identity_of(judge: Judge) -> str:
    """All that determines a judge's verdicts, where it says so by `identity`; else its name."""
    return str(getattr(judge, "identity", judge.name))


@runtime_checkable
class BatchJudge(Judge, Protocol):
    """A judge that is faster on many answers at once."""

    def verdicts(self, items: Sequence[tuple[Attempt, str]]) -> list[Verdict]:
        """The verdicts on (attempt, answer) pairs, in their order."""
        ...


@runtime_checkable
class Benchmark(Protocol):
    """A set of tasks with checkable answers."""

    @property
    def name(self) -> str:
        """Its name in configurations and tables."""
        ...

    def prompts(self) -> list[Prompt]:
        """The tasks."""
        ...

    def correct(self, prompt: Prompt, answer: str) -> bool | Mark:
        """Whether the answer solves the task, perhaps with the reason."""
        ...


Progress = Callable[[str, int, int], None]
"""Called with (what, done, total) as long work goes on."""


def silent(what: str, done: int, total: int) -> None:
    """Tell nobody."""


class Work(NamedTuple):
    """How long work shows its progress, and when it has to stop."""

    progress: Progress
    stop: Callable[[], bool]
    """Whether a stop was asked for; asked between two parts of the work."""


@runtime_checkable
class Console(Protocol):
    """What a workflow says while it runs: a terminal, a notebook, or nothing."""

    def warn(self, sentences: Iterable[str]) -> None:
        """Say what a user should know."""
        ...

    def bar(self) -> AbstractContextManager[Progress]:
        """Show progress for the length of a block."""
        ...

    def working(
        self, agreed: Callable[[bool], bool] = bool, *, at_once: bool = False
    ) -> AbstractContextManager[Work]:
        """Show progress, and listen for a request to stop, for the length of a block.

        `agreed` tells whether any process of the run was asked, given whether this one was.
        `at_once` lets a request interrupt, for work that saves each answer as it comes.
        """
        ...
