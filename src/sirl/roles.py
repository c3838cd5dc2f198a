"""The dictionary of roles: what each part of the system is asked to do, as protocols.

A role says what a caller may count on; `sirl.types` holds the values that are handed over.
"""

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol, runtime_checkable

from sirl.types import (
    Attempt,
    Budget,
    Completion,
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
    "Disguise",
    "Engine",
    "Judge",
    "Progress",
    "Reward",
    "Search",
    "StreamingEngine",
    "Tries",
    "Work",
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
