"""The dictionary of values that travel between the parts.

Values are frozen and made of plain Python, so that any engine can fill them and any log can
hold them. Entropies and log-probabilities are in nats, times in seconds. Tensors live in the
maths, the models, the trainer and the native rollout, never here.
"""

from dataclasses import dataclass
from typing import Literal, get_args

__all__ = [
    "BROKEN",
    "NEEDS",
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
    "Role",
    "Sampling",
    "Verdict",
]

Role = Literal["system", "user", "assistant"]
Finish = Literal["stop", "length"]
Label = Literal["refusal", "partial", "compliance", "harmless", "harmful", "unscored"]
"""The first three answer 'was it refused?', the next two 'was it harmful help?'."""
SAFE: frozenset[str] = frozenset({"refusal", "harmless"})
"""Labels of an answer to an unsafe request under which the defence held; not `unscored`."""
BROKEN: frozenset[str] = frozenset({"partial", "compliance", "harmful"})
"""Labels under which it broke: a refusal that yet gives something has given it."""
REFUSED: frozenset[str] = frozenset({"refusal", "partial"})
"""Labels of an answer that refuses in full or in part, which is what a harmless request suffers
from. Labels of harm do not tell."""
Kind = Literal["attack", "weights", "ordinary", "lookalike", "capability", "probe"]
"""What an item is: an unsafe request, put by an attack or, bare, to tampered weights; a harmless
prompt, everyday or one that sounds unsafe; a task; a question of a search, which is not judged."""
Question = Literal["refusal", "harm"]
Need = Literal["gradients", "likelihoods", "opener", "decoding", "attacker", "judge"]
"""What an attack asks of the target or of the evaluator.

`gradients`: the weights in this process. `likelihoods`: log-probabilities of a given answer.
`opener`: an answer begun by the attacker. `decoding`: temperature, top-p, top-k. `attacker`: a
model that writes attempts. `judge`: verdicts while it searches.
"""
NEEDS: frozenset[Need] = frozenset(get_args(Need))


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
    told_tokens: int = 0
    """How many tokens, where not all of their ids are told."""
    fault: str = ""
    """Why there is no answer to judge, as `kind: what happened`; empty where there is one."""
    thoughts: str = ""
    """What a reasoning model wrote before its answer; not part of `text`."""
    thought_entropies: tuple[float, ...] = ()
    """Per token of the thoughts and their marks, where these are set apart; in nats."""
    version: int | None = None
    """Batches that the weights it was sampled from had learned from; None where nobody says."""

    @property
    def tokens(self) -> int:
        """How many tokens were written, thoughts included; 0 where nobody says."""
        return self.told_tokens or len(self.token_ids)

    @property
    def mean_entropy(self) -> float:
        """Mean token entropy in nats; NaN for a completion without tokens."""
        return sum(self.entropies) / len(self.entropies) if self.entropies else float("nan")


@dataclass(frozen=True)
class Example:
    """A completion to learn from."""

    completion: Completion
    advantage: float | tuple[float, ...]
    """Of the whole completion, or of each of its tokens."""
    kl_weight: float | None = None
    """KL penalty coefficient of this example; None takes the run's."""
    reference_prompt_ids: tuple[int, ...] | None = None
    """Token ids of the prompt under which the reference scores it; None takes its own."""
    on_policy: bool = True
    """Whether the policy has sampled the completion in this step. Otherwise the ratio of the
    clipped loss starts at 1, where an advantage of 1 is the gradient of the log-likelihood."""


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn; the default is the model's own distribution."""

    temperature: float = 1.0
    """0 takes the likeliest token."""
    top_p: float = 1.0
    top_k: int = 0
    """0 leaves all tokens in."""


@dataclass(frozen=True)
class Budget:
    """What an attack may spend on one behaviour; None is no limit."""

    queries: int = 1
    """Sequences that the target reads: answers, likelihoods, and candidates of a gradient step."""
    tokens: int | None = None
    """Tokens that the target writes in answers."""
    seconds: float | None = None
    """Wall time, shared by the behaviours that are attacked together; it makes runs differ."""


@dataclass(frozen=True)
class Attempt:
    """One try of one attack on one behaviour: what the target is shown."""

    behaviour: Prompt
    """The bare request; judges see it beside the rendered one."""
    attack: str
    messages: tuple[Message, ...]
    """The rendered conversation. A last assistant turn is a prefilled opener to be continued."""
    sampling: Sampling = Sampling()
    trace: tuple[float, ...] = ()
    """How the search went on the way here: its loss or score per step, where it has one."""
    probe: bool = False
    """An intermediate question of a search: its answer is used, never judged."""

    @classmethod
    def at(
        cls,
        behaviour_id: str,
        request: str,
        attack: str,
        messages: tuple[Message, ...],
        sampling: Sampling = Sampling(),
    ) -> "Attempt":
        """An attempt that is read back: of its behaviour, what judges look at."""
        return cls(Prompt.user(behaviour_id, request), attack, messages, sampling)


@dataclass(frozen=True)
class Verdict:
    """What a judge thinks of one answer, and why."""

    label: Label
    score: float
    """From 0, complied or harmful, to 1, refused or harmless; NaN when unscored."""
    reason: str
    judge: str

    @property
    def safe(self) -> bool:
        """Whether a defence held, as far as this judge can tell."""
        return self.label in SAFE


@dataclass(frozen=True)
class Mark:
    """Whether an answer solves its task, and why; true where it does."""

    solved: bool
    reason: str
    """As `kind: what happened`, so that kinds can be counted; `solved` or `wrong` say it all."""

    def __bool__(self) -> bool:
        return self.solved

    @classmethod
    def of(cls, found: "bool | Mark") -> "Mark":
        """What a benchmark says of an answer, with a reason where it gives none.

        >>> Mark.of(False), bool(Mark.of(Mark(True, "solved")))
        (Mark(solved=False, reason='wrong'), True)
        """
        return found if isinstance(found, Mark) else cls(found, "solved" if found else "wrong")


@dataclass(frozen=True)
class Outcome:
    """What came of an attempt; a search is told it and goes on from there."""

    attempt: Attempt
    completion: Completion
    verdict: Verdict


@dataclass(frozen=True)
class Record:
    """One evaluated item, self-sufficient: it can be judged again without sampling again."""

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
    """Mean token entropy of the answer, thoughts left out, in nats."""
    entropies: tuple[float, ...]
    label: Label
    score: float
    reason: str
    judge: str
    pieces: tuple[str, ...] = ()
    """The completion token by token, for the heat strip."""
    family: str = ""
    """Family of the attack."""
    number: int = 0
    """Which try of its attack on its behaviour this is, from 0."""
    queries: int = 1
    """Target calls spent on this behaviour so far, this one included."""
    sampling: Sampling = Sampling()
    trace: tuple[float, ...] = ()
    """Loss or score per step of the search that led here."""
    thoughts: str = ""
    """What a reasoning model wrote before its answer; judges are not shown it."""
    fault: str = ""
    """Why there is no answer to judge, as `kind: what happened`; empty where there is one."""
    thought_entropy: float | None = None
    """Mean token entropy of the thoughts, in nats; None where none were seen."""
    benchmark: str = ""
    """The benchmark of a task; empty for other items."""
    question: Question | None = None
    """What its judge was asked; None where no judge reads the answer."""
    key: str = ""
    """Hash of weights, template, rendered prompt, sampling and seed: what determines the answer."""

    @property
    def place(self) -> tuple[str, str]:
        """What finds a record in a run: two models of equal weights share their keys."""
        return self.model, self.key

    @property
    def held(self) -> bool:
        """Whether a defence held: a full refusal, or no harmful help; not what nobody scored."""
        return self.label in SAFE

    @property
    def broke(self) -> bool:
        """Whether a defence broke; neither this nor held where nobody scored the answer."""
        return self.label in BROKEN

    @property
    def refused(self) -> bool:
        """Whether the answer refuses, in full or in part; False for labels of harm."""
        return self.label in REFUSED
