"""The model under evaluation behind one interface: a local model, an endpoint or a function."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Any, NamedTuple

from sirl.models.thoughts import begun, set_apart
from sirl.roles import Engine
from sirl.types import Completion, Message, Need, Prompt, Sampling

__all__ = ["Likelihoods", "Reading", "Target", "digest", "no_pieces", "read_as_text", "settings_of"]

Likelihoods = Callable[[Sequence[tuple[Message, ...]], str], list[float]]
"""Mean log-probability per token (nats) of an answer after each conversation."""


class Reading(NamedTuple):
    """A prompt as the target reads it."""

    size: int
    """Tokens, or characters where tokens are not known."""
    digest: str
    """Hash of exactly what is read: template and tokenizer are in it."""
    fault: str
    """Why it cannot be asked; empty when it can."""
    opened: str = ""
    """The mark with which it leaves the model's thoughts open; empty where it does not."""


@dataclass(frozen=True)
class Target:
    """A model under evaluation."""

    name: str
    """What tables call it: target, base, hardened."""
    identity: str
    """Hash of weights or address, of the longest answer, and of the seed."""
    engine: Callable[[Sampling], Engine]
    read: Callable[[Prompt], Reading]
    pieces: Callable[[Sequence[int]], tuple[str, ...]]
    """The text of each token by itself."""
    offers: frozenset[Need]
    rows: int
    """Answers sampled together, and recorded together."""
    seed: int
    chat: Any = None
    """The `sirl.models.chat.ChatModel`, where the weights are in this process."""
    likelihoods: Likelihoods | None = None
    tasks: "Target | None" = None
    """The same model with room for longer answers, where tasks are to be answered at length."""

    def sample(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Completion]:
        """One completion of each prompt, what the model thought before its answer set apart."""
        completions = self.engine(sampling).sample(prompts)
        return [self.apart(p, c) for p, c in zip(prompts, completions, strict=True)]

    def apart(self, prompt: Prompt, completion: Completion) -> Completion:
        """A completion with what the model thought before its answer set apart."""
        decode = self.chat.decode if self.chat else None
        pieces = self.pieces(completion.token_ids)
        return set_apart(completion, self.opened(prompt), pieces, decode)

    def opened(self, prompt: Prompt) -> str:
        """The mark of thoughts in whose midst the answer begins; empty for none."""
        last = prompt.messages[-1]
        given = begun(last.content) if last.role == "assistant" else ""
        return given or self.read(prompt).opened

    def asked(self, *, task: bool) -> "Target":
        """Who answers a task, or anything else."""
        return self.tasks if task and self.tasks else self


def digest(*parts: object) -> str:
    """A short hash of plain values; the same in every process."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True)
    return hashlib.blake2b(text.encode("ascii"), digest_size=16).hexdigest()


def settings_of(value: object) -> object:
    """A part's settings as plain values: the same text in every process.

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


def read_as_text(prompt: Prompt) -> Reading:
    """How a target reads whose tokenizer is its own affair."""
    turns = [asdict(m) for m in prompt.messages]
    return Reading(sum(len(m.content) for m in prompt.messages), digest(turns), "")


def no_pieces(token_ids: Sequence[int]) -> tuple[str, ...]:
    """Empty strings, for a target that does not expose tokens."""
    return tuple("" for _ in token_ids)
