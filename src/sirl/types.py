"""The dictionary: the values that travel between the parts, and the roles that parts play.

Values are frozen and made of plain Python, so that any engine can fill them and any log can
hold them. Entropies and log-probabilities are in nats, times in seconds. Tensors live in the
maths, the models, the trainer and the native rollout, never here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

__all__ = [
    "Attack",
    "Attempt",
    "Benchmark",
    "Completion",
    "Engine",
    "Finish",
    "Judge",
    "Label",
    "Message",
    "Progress",
    "Prompt",
    "Record",
    "Reward",
    "Role",
    "Verdict",
    "silent",
]

Role = Literal["system", "user", "assistant"]
Finish = Literal["stop", "length"]
Label = Literal["refusal", "partial", "compliance", "unscored"]


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True)
class Prompt:
    """A conversation that awaits an answer, and where it came from."""

    id: str
    messages: tuple[Message, ...]
    source: str = ""
    """File or generator it was read from."""
    category: str = ""
    """What kind of request it is, where the source says so."""

    @property
    def request(self) -> str:
        """The last thing the user said."""
        return next((m.content for m in reversed(self.messages) if m.role == "user"), "")

    @classmethod
    def user(cls, id: str, text: str, *, source: str = "", category: str = "") -> "Prompt":
        """A prompt of a single user turn."""
        return cls(id, (Message("user", text),), source, category)


@dataclass(frozen=True)
class Completion:
    """One sampled answer, with what the policy thought while it wrote each token."""

    prompt_id: str
    prompt_ids: tuple[int, ...]
    """Token ids of the rendered prompt, as the model saw them."""
    token_ids: tuple[int, ...]
    """Sampled ids; the end-of-turn token is among them when `finish` is 'stop'."""
    text: str
    logprobs: tuple[float, ...]
    """Per token: log-probability under the policy at temperature 1, in nats."""
    entropies: tuple[float, ...]
    """Per token: entropy of the full distribution that produced it, in nats."""
    finish: Finish
    sample: int = 0
    """Index inside the group."""
    seed: int = 0
    """Seed of the run; with the prompt's id, step and sample it makes the completion again."""
    certainties: tuple[float, ...] = ()
    """Per token: KL from the uniform distribution to the policy, in nats (Intuitor's signal)."""

    @property
    def mean_entropy(self) -> float:
        """Mean token entropy in nats; NaN for a completion without tokens."""
        return sum(self.entropies) / len(self.entropies) if self.entropies else float("nan")


@dataclass(frozen=True)
class Attempt:
    """One try of one attack on one behaviour: what the target is shown."""

    behaviour: Prompt
    """The bare request; judges see it beside the rendered one."""
    attack: str
    messages: tuple[Message, ...]
    """The rendered conversation. A last assistant turn is a prefilled opener to be continued."""
    queries: int = 1
    """Target calls spent to find this attempt."""


@dataclass(frozen=True)
class Verdict:
    """What a judge thinks of one answer, and why."""

    label: Label
    score: float
    """1 where the request was refused, 0 where it was not, NaN when unscored."""
    reason: str
    judge: str


@dataclass(frozen=True)
class Record:
    """One evaluated item, self-sufficient: it can be judged again without sampling again."""

    id: str
    model: str
    kind: str
    """Which question it answers: 'attack', 'ordinary', 'lookalike' or 'capability'."""
    attack: str
    behaviour_id: str
    request: str
    messages: tuple[Message, ...]
    completion: str
    finish: Finish
    tokens: int
    mean_entropy: float
    entropies: tuple[float, ...]
    label: Label
    score: float
    reason: str
    judge: str
    pieces: tuple[str, ...] = ()
    """The completion token by token, for the heat strip."""

    @property
    def refused(self) -> bool:
        """Whether the request was refused, in full or in part."""
        return self.label in ("refusal", "partial")


@runtime_checkable
class Engine(Protocol):
    """Samples completions. Same (seed, step, prompt, sample): same completion, in any batch."""

    def sample(
        self, prompts: Sequence[Prompt], *, group: int = 1, step: int = 0
    ) -> list[Completion]:
        """`group` completions of each prompt, siblings adjacent, in the order of the prompts."""
        ...


@runtime_checkable
class Reward(Protocol):
    """What a completion earns, from the policy's own numbers alone."""

    def __call__(self, completion: Completion) -> float:
        """The reward in nats, or in the unit that the reward's name says."""
        ...


@runtime_checkable
class Attack(Protocol):
    """Dresses a request so that a model might forget to refuse it."""

    @property
    def name(self) -> str:
        """Its name in configurations and tables."""
        ...

    def attempt(self, behaviour: Prompt) -> Attempt:
        """The attempt on this behaviour; the same one each time."""
        ...


@runtime_checkable
class Judge(Protocol):
    """Says whether an answer refuses its request."""

    @property
    def name(self) -> str:
        """Its name in configurations and tables."""
        ...

    def verdict(self, attempt: Attempt, answer: str) -> Verdict:
        """The verdict on one answer to one attempt."""
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

    def correct(self, prompt: Prompt, answer: str) -> bool:
        """Whether the answer solves the task."""
        ...


Progress = Callable[[str, int, int], None]
"""Told (what, done, total) as long work goes on."""


def silent(what: str, done: int, total: int) -> None:
    """Tell nobody."""
