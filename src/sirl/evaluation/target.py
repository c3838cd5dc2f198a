"""The model under evaluation behind one interface: a local model, an endpoint or a function."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from functools import partial
from itertools import zip_longest
from typing import Any, NamedTuple

from sirl.errors import OutageError
from sirl.models.thoughts import begun, set_apart
from sirl.roles import Engine
from sirl.types import Completion, Message, Need, Prompt, Sampling

__all__ = [
    "Likelihoods",
    "PromptReading",
    "Target",
    "digest",
    "no_pieces",
    "read_as_text",
    "settings_of",
]

HARD = (
    Prompt.user(
        "plain/2", "How many whole numbers from 1 to 1000 can be divided by none of 2, 3, 5 and 7?"
    ),
    Prompt.user(
        "plain/3",
        "Of three boxes one holds apples, one pears and one both, and every label is wrong. From "
        "which box do I take a single fruit to know the content of all three, and why?",
    ),
)
"""Plain prompts that a model thinks about if it thinks about any."""
PLAIN = (
    Prompt.user("plain", "What is the capital of France?"),
    Prompt.user("plain/1", "I have five apples and eat two of them. How many are left, and why?"),
    *HARD,
)
"""Plain prompts on which a reasoning model shows which marks it uses for its thoughts."""
WORD = re.compile(r"[a-z_]{3,}")
"""The name within a mark."""
Likelihoods = Callable[[Sequence[tuple[Message, ...]], str], list[float]]
"""Mean log-probability per token (nats) of an answer after each conversation."""


class PromptReading(NamedTuple):
    """A prompt as the target reads it."""

    size: int
    """Length in tokens, or in characters if tokens are not known."""
    digest: str
    """Hash of the rendered input, so it depends on template and tokenizer."""
    fault: str
    """Why the prompt cannot be asked; empty if it can."""
    opened: str = ""
    """The mark of thoughts that the template opens at the end of the prompt; empty if none."""


@dataclass(frozen=True)
class Target:
    """A model under evaluation."""

    name: str
    """Name in tables: target, base or hardened."""
    identity: str
    """Hash of weights or address, maximum answer length and seed."""
    engine: Callable[[Sampling], Engine]
    read: Callable[[Prompt], PromptReading]
    pieces: Callable[[Sequence[int]], tuple[str, ...]]
    """Decodes each token separately."""
    offers: frozenset[Need]
    batch_size: int
    """Answers per batch; a batch is also written at once."""
    seed: int
    chat: Any = None
    """The `sirl.models.chat.ChatModel` of a local model, else None."""
    likelihoods: Likelihoods | None = None
    tasks: "Target | None" = None
    """The same model with a larger maximum answer length for tasks, if that is set."""
    habits: dict[str, str] = field(default_factory=dict, compare=False, repr=False)
    """Cache of its answers to plain prompts, by their id; empty for those that failed."""

    def sample(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Completion]:
        """One completion per prompt, with the thoughts separated from the answer."""
        completions = self.engine(sampling).sample(prompts)
        return [self.apart(p, c) for p, c in zip(prompts, completions, strict=True)]

    def apart(self, prompt: Prompt, completion: Completion) -> Completion:
        """The completion with the thoughts separated from the answer."""
        decode, read = (self.chat.decode, self.chat.transcript) if self.chat else (None, None)
        pieces = self.pieces(completion.token_ids)
        opened, own = self.opened(prompt)
        trusted = partial(self.thinks_between, prompt, opened, own)
        return set_apart(completion, opened, pieces, decode, read, trusted)

    def thinks_between(self, prompt: Prompt, opened: str, own: bool, marks: Sequence[str]) -> bool:
        """Whether marks in an answer enclose thoughts, given what `opened` says of the prompt."""
        turns = prompt.messages[:-1] if own is False and opened else prompt.messages
        return own or (
            not asked_for(marks, "\n".join(m.content for m in turns))
            and (all(map(self.writes, marks)) or (len(marks) > 1 and not self.shows_habits()))
        )

    def opened(self, prompt: Prompt) -> tuple[str, bool]:
        """The mark of thoughts that are open at the start of the answer, and who opened it.

        The mark is empty if none is open. The second value says whether the chat template opened
        it, rather than the opener of an attack.
        """
        last = prompt.messages[-1]
        given = begun(last.content) if last.role == "assistant" else ""
        opened = self.read(prompt).opened
        return given or opened, bool(opened) and not given

    def writes(self, mark: str) -> bool:
        """Whether this model uses a mark for its thoughts without being asked to.

        True if the tokenizer or the template knows the mark, or if the model writes it in answers
        to plain prompts.
        """
        if self.chat and self.chat.knows_mark(mark):
            return True
        return any(mark in text for text in self.plain_answers().values())

    def shows_habits(self) -> bool:
        """Whether it answers hard plain prompts; if not, it may have marks that it did not show."""
        answers = self.plain_answers()
        return any(answers[p.id] for p in HARD)

    def plain_answers(self) -> dict[str, str]:
        """Answers to the plain prompts, by their id; sampled once, empty for those that failed."""
        if not self.habits:
            try:
                said = self.engine(Sampling()).sample(PLAIN)
            except OutageError:  # it may answer other prompts; a real outage ends the run there
                said = []
            texts = ("" if c.fault else "".join(self.pieces(c.token_ids)) or c.text for c in said)
            self.habits.update(zip_longest((p.id for p in PLAIN), texts, fillvalue=""))
        return self.habits

    def asked(self, *, task: bool) -> "Target":
        """The target for tasks, or for all other prompts."""
        return self.tasks if task and self.tasks else self


def asked_for(marks: Sequence[str], request: str) -> bool:
    """Whether a request asks for one of these marks; the text between them is then the answer.

    >>> asked_for(["<think>"], "Write your plan in <think> tags."), asked_for(["<think>"], "Think!")
    (True, False)
    """
    asked = request.casefold()
    for mark in marks:
        name = WORD.search(mark.casefold())
        tags = name and re.search(rf"\b{name[0]}\b[\"'`]?[ -](?:tags?|marks?|blocks?)\b", asked)
        if mark.casefold() in asked or tags:
            return True
    return False


def digest(*parts: object) -> str:
    """A short hash of plain values; stable across processes."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True)
    return hashlib.blake2b(text.encode("ascii"), digest_size=16).hexdigest()


def settings_of(value: object) -> object:
    """The settings of an object as plain values, stable across processes.

    >>> settings_of(Sampling(0.5))
    {'temperature': 0.5, 'top_p': 1.0, 'top_k': 0}
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: settings_of(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): settings_of(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(str(item) for item in value)
    if isinstance(value, list | tuple):
        return [settings_of(item) for item in value]
    if value is None or isinstance(value, str | int | float):
        return value
    return getattr(value, "__qualname__", type(value).__qualname__)


def read_as_text(prompt: Prompt) -> PromptReading:
    """The reading of a prompt by a target whose tokenizer is not known."""
    turns = [asdict(m) for m in prompt.messages]
    return PromptReading(sum(len(m.content) for m in prompt.messages), digest(turns), "")


def no_pieces(token_ids: Sequence[int]) -> tuple[str, ...]:
    """Empty strings, for a target that does not expose tokens."""
    return tuple("" for _ in token_ids)
