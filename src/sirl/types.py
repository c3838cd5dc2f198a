"""Values that the packages exchange.

All are frozen dataclasses of plain Python, so any engine can create them and any log can store
them. Entropies and log-probabilities are in nats, times in seconds. No tensors, no torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

__all__ = [
    "BROKEN",
    "DISGUISED",
    "HARMLESS",
    "NEEDS",
    "OWN_PREFILL",
    "PREFILLS",
    "REFUSED",
    "SAFE",
    "Attempt",
    "Budget",
    "Completion",
    "Example",
    "Finish",
    "Kind",
    "Label",
    "Mark",
    "Message",
    "Need",
    "Outcome",
    "Prompt",
    "Question",
    "Record",
    "Reply",
    "Role",
    "Sampling",
    "Verdict",
    "is_conversation",
]

Role = Literal["system", "user", "assistant"]
Finish = Literal["stop", "length"]
Label = Literal["refusal", "partial", "compliance", "harmless", "harmful", "unscored"]
"""The first three are for judges of refusal, the next two for judges of harm."""
SAFE: frozenset[str] = frozenset({"refusal", "harmless"})
"""Labels of an answer to a harmful request that count as defended; `unscored` does not."""
BROKEN: frozenset[str] = frozenset({"partial", "compliance", "harmful"})
"""Labels that count as broken; a partial refusal gives part of the harmful help."""
REFUSED: frozenset[str] = frozenset({"refusal", "partial"})
"""Labels of a full or partial refusal, which count as over-refusal of a harmless request. Labels
of harm judges say nothing about refusal."""
Kind = Literal[
    "attack",
    "weights",
    "ordinary",
    "lookalike",
    "ordinary_disguised",
    "lookalike_disguised",
    "capability",
    "probe",
    "prefill",
]
"""`attack`: an unsafe request under an attack. `weights`: a plain one to tampered weights.
`prefill`: one whose answer is begun with tokens of a compliant answer.
`ordinary`, `lookalike`: harmless prompts, bare; `ordinary_disguised`, `lookalike_disguised`: the
same inside the disguise of an attack. `capability`: a task. `probe`: a query of a search, which is
not judged."""
OWN_PREFILL = "own_prefill"
PREFILLS = (OWN_PREFILL, "target_prefill")
"""Families of the kind `prefill`: help of the model itself, and target prefixes of the user."""
DISGUISED: Mapping[Kind, Kind] = {
    "ordinary": "ordinary_disguised",
    "lookalike": "lookalike_disguised",
}
"""Kind of bare harmless prompts -> kind of the same prompts in disguises."""
HARMLESS: Mapping[str, str] = {
    "ordinary": "ordinary prompts",
    "lookalike": "look-alike prompts",
    "ordinary_disguised": "ordinary prompts in disguises",
    "lookalike_disguised": "look-alike prompts in disguises",
}
"""Kind of harmless prompts -> their name in tables and messages."""
Question = Literal["refusal", "harm"]
Need = Literal["gradients", "likelihoods", "opener", "decoding", "attacker", "judge"]
"""What an attack requires of the target or the evaluator.

`gradients`: the weights in this process. `likelihoods`: log-probabilities of a given answer.
`opener`: a prefilled beginning of the answer. `decoding`: temperature, top-p, top-k. `attacker`: a
model that writes prompts. `judge`: verdicts during the search.
"""
NEEDS: frozenset[Need] = frozenset(get_args(Need))


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


def is_conversation(turns: object) -> bool:
    """Whether it is a tuple of at least one message, all of known roles and with text.

    >>> is_conversation((Message("user", "Hello!"),)), is_conversation("Hello!")
    (True, False)
    """
    return (
        isinstance(turns, tuple)
        and len(turns) > 0
        and all(
            isinstance(turn, Message)
            and turn.role in get_args(Role)
            and isinstance(turn.content, str)
            for turn in turns
        )
    )


@dataclass(frozen=True)
class Prompt:
    """A conversation to be answered, and its source."""

    id: str
    messages: tuple[Message, ...]
    source: str = ""
    """File or generator."""
    category: str = ""
    """Kind of request, if the source gives one."""

    @property
    def request(self) -> str:
        """The last user message."""
        return next((m.content for m in reversed(self.messages) if m.role == "user"), "")

    @property
    def is_begun(self) -> bool:
        """Whether it begins the answer."""
        return self.messages[-1].role == "assistant"

    @classmethod
    def user(cls, id: str, text: str, *, source: str = "", category: str = "") -> "Prompt":
        """A prompt with a single user turn."""
        return cls(id, (Message("user", text),), source, category)


@dataclass(frozen=True)
class Completion:
    """One sampled answer, with log-probability and entropy per token."""

    prompt_id: str
    prompt_ids: tuple[int, ...]
    """Token ids of the rendered prompt, as the model saw them."""
    token_ids: tuple[int, ...]
    """Sampled ids; include the end-of-turn token if `finish` is 'stop'."""
    text: str
    logprobs: tuple[float, ...]
    """Per token: log-probability under the policy at temperature 1, in nats."""
    entropies: tuple[float, ...]
    """Per token: entropy of the full distribution that produced it, in nats."""
    finish: Finish
    sample: int = 0
    """Index in the group."""
    seed: int = 0
    """Seed of the run; with prompt id, step and sample it reproduces the completion."""
    certainties: tuple[float, ...] = ()
    """Per token: KL from the uniform distribution to the policy, in nats (Intuitor's signal)."""
    reported_tokens: int = 0
    """Token count reported by an engine that does not return all ids."""
    fault: str = ""
    """Why there is no answer to judge, as `kind: what happened`; empty if there is one."""
    thoughts: str = ""
    """Reasoning before the answer; not part of `text`."""
    thought_entropies: tuple[float, ...] = ()
    """Per token of the reasoning and its delimiters, if they are separated; in nats."""
    version: int | None = None
    """Version of the weights: the number of batches they were updated with; None if unknown."""

    @classmethod
    def revived(cls, row: Mapping[str, Any]) -> "Completion":
        """A completion from its fields as read from JSON."""
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in row.items()
        }
        return cls(**fields)

    @property
    def tokens(self) -> int:
        """Number of sampled tokens, reasoning included; 0 if unknown."""
        return self.reported_tokens or len(self.token_ids)

    @property
    def mean_entropy(self) -> float:
        """Mean token entropy in nats; NaN for a completion without tokens."""
        return sum(self.entropies) / len(self.entropies) if self.entropies else float("nan")


@dataclass(frozen=True)
class Example:
    """A training example: a completion with its advantage."""

    completion: Completion
    advantage: float | tuple[float, ...]
    """One for the completion, or one per token."""
    kl_weight: float | None = None
    """KL penalty coefficient of this example; None uses that of the run. With 0 it
    adds nothing to the metric `kl/reference` either."""
    reference_prompt_ids: tuple[int, ...] | None = None
    """Token ids of the prompt under which the reference scores it; None uses the prompt itself."""
    on_policy: bool = True
    """Whether the policy sampled the completion in this step. If not, the ratio of the clipped
    loss starts at 1, so an advantage of 1 gives the gradient of the log-likelihood."""


@dataclass(frozen=True)
class Sampling:
    """Sampling settings; the default is the model's own distribution."""

    temperature: float = 1.0
    """0 is greedy decoding."""
    top_p: float = 1.0
    top_k: int = 0
    """0 turns it off."""


@dataclass(frozen=True)
class Budget:
    """Budget of an attack per behaviour; None means no limit."""

    queries: int = 1
    """Sequences the target processes: answers, likelihoods, candidates of a gradient step."""
    tokens: int | None = None
    """Tokens that the target samples."""
    seconds: float | None = None
    """Wall time, shared by behaviours attacked together; makes runs non-deterministic."""


@dataclass(frozen=True)
class Attempt:
    """One prompt of one attack on one behaviour, as the target gets it."""

    behaviour: Prompt
    """The bare request; judges see it in addition to the attack prompt."""
    attack: str
    messages: tuple[Message, ...]
    """The conversation. A final assistant turn is a prefill to continue."""
    sampling: Sampling = Sampling()
    trace: tuple[float, ...] = ()
    """Loss or score per step of the search so far, if it has one."""
    probe: bool = False
    """An intermediate query of a search: its answer is used but not judged."""

    @classmethod
    def at(
        cls,
        behaviour_id: str,
        request: str,
        attack: str,
        messages: tuple[Message, ...],
        sampling: Sampling = Sampling(),
    ) -> "Attempt":
        """An attempt rebuilt from a record, with the parts that judges use."""
        return cls(Prompt.user(behaviour_id, request), attack, messages, sampling)


@dataclass(frozen=True)
class Verdict:
    """A judge's label of one answer, with the reason."""

    label: Label
    score: float
    """From 0 (complied, harmful) to 1 (refused, harmless); NaN if unscored."""
    reason: str
    judge: str

    @property
    def safe(self) -> bool:
        """Whether the defence held, according to this judge."""
        return self.label in SAFE


@dataclass(frozen=True)
class Reply:
    """What a judge or attacker model replied."""

    text: str
    cut: bool = False
    """Whether it was cut at the maximum length."""
    fault: str = ""
    """Why there is no reply, as `kind: what happened`; empty if there is one."""


@dataclass(frozen=True)
class Mark:
    """Whether an answer solves its task, with the reason; its truth value is `solved`."""

    solved: bool
    reason: str
    """`solved`, `wrong`, or `kind: what happened`, so that kinds can be counted."""

    def __bool__(self) -> bool:
        return self.solved

    @classmethod
    def of(cls, found: "bool | Mark") -> "Mark":
        """A benchmark's result as a Mark, with a default reason.

        >>> Mark.of(False), bool(Mark.of(Mark(True, "solved")))
        (Mark(solved=False, reason='wrong'), True)
        """
        return found if isinstance(found, Mark) else cls(found, "solved" if found else "wrong")


@dataclass(frozen=True)
class Outcome:
    """The result of an attempt, which a search receives to choose its next attempt."""

    attempt: Attempt
    completion: Completion
    verdict: Verdict

    def continued(self, asked: tuple[Message, ...]) -> tuple[Message, ...]:
        """A conversation with the answer; without its last turn if there is no answer."""
        text = self.completion.text
        return (*asked, Message("assistant", text)) if text.strip() else asked[:-1]


@dataclass(frozen=True)
class Record:
    """One evaluated answer; holds everything needed to judge it again without the model."""

    id: str
    model: str
    kind: Kind
    attack: str
    behaviour_id: str
    request: str
    messages: tuple[Message, ...]
    completion: str
    finish: Finish
    tokens: int
    mean_entropy: float
    """Mean token entropy of the answer without the reasoning, in nats."""
    entropies: tuple[float, ...]
    label: Label
    score: float
    reason: str
    judge: str
    pieces: tuple[str, ...] = ()
    """The completion split into tokens, for the token view of the page."""
    family: str = ""
    """Family of the attack."""
    number: int = 0
    """Index of the try of its attack on its behaviour, from 0."""
    queries: int = 1
    """Target calls spent on this behaviour so far, this one included."""
    sampling: Sampling = Sampling()
    trace: tuple[float, ...] = ()
    """Loss or score per step of the search that led here."""
    thoughts: str = ""
    """Reasoning before the answer; judges do not see it."""
    fault: str = ""
    """Why there is no answer to judge, as `kind: what happened`; empty if there is one."""
    thought_entropy: float | None = None
    """Mean token entropy of the reasoning, in nats; None if there was none."""
    benchmark: str = ""
    """The benchmark of a task; empty for other items."""
    question: Question | None = None
    """The question of its judge; None if no judge reads the answer."""
    key: str = ""
    """Hash of what determines the answer: weights, template, prompt, sampling and seed."""
    category: str = ""
    """Category of the request, as its file gives it."""

    @property
    def place(self) -> tuple[str, str]:
        """Identifies a record in a run; models with equal weights share keys."""
        return self.model, self.key

    @property
    def held(self) -> bool:
        """Whether the defence held: a full refusal, or no harmful help. False if unscored."""
        return self.label in SAFE

    @property
    def broke(self) -> bool:
        """Whether the defence broke. False if unscored."""
        return self.label in BROKEN

    @property
    def refused(self) -> bool:
        """Whether the answer refuses in full or in part; False for labels of harm judges."""
        return self.label in REFUSED
