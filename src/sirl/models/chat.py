"""A chat model: weights, tokenizer, chat template, end-of-turn tokens."""

import re
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from sirl.errors import InputError, ModelError, first_line, printable
from sirl.models.template import Voice, left_out, omission
from sirl.types import Completion, Message

__all__ = ["ChatModel", "Manner", "Padding", "manner_of", "settle", "unwrapped", "written"]

VERSION = "sirl_version"
"""Attribute on the module, so that a deep copy has its own counter."""
MANNER = "sirl_manner"
"""Attribute on the module, so that a deep copy keeps it."""
TAG = re.compile(r"<[^<>]+>|\[[^\[\]]+\]|\u25c1[^\u25b7]+\u25b7")
"""Tags in angle, square or triangular brackets; a mark may consist of several."""
Padding = Literal["left", "right", "none"]


@dataclass(frozen=True)
class Manner:
    """How a model must be run, as found by trials when it is loaded."""

    own_logits: bool = False
    """Whether logits need its full forward pass, because it post-processes them."""
    padding: Padding = "left"
    """Padding side of unpacked batches; 'none' runs each row alone."""
    generates: bool = False
    """Whether it can only be sampled with transformers' `generate`."""
    like_prompts: bool = False
    """Whether only prompts of equal length may share a batch."""
    notes: tuple[str, ...] = ()
    """Warnings about everything that is unusual for this model."""


def unwrapped(model: Any) -> Any:  # noqa: ANN401 - plain, or wrapped by peft
    """The module that carries the state, without a wrapper of peft."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def manner_of(model: Any) -> Manner:  # noqa: ANN401 - plain, or wrapped by peft
    """The manner of a model; the default if it was not tried."""
    manner: Manner = getattr(unwrapped(model), MANNER, Manner())
    return manner


def settle(model: Any, manner: Manner) -> None:  # noqa: ANN401 - plain, or wrapped by peft
    """Set the manner of a model."""
    setattr(unwrapped(model), MANNER, manner)


@dataclass(frozen=True)
class ChatModel:
    """A causal language model with its tokenizer and chat template."""

    name: str
    """The path or id it was loaded from."""
    model: Any
    tokenizer: Any
    end_ids: frozenset[int]
    """Ids of end-of-turn tokens."""
    pad_id: int
    context: int
    """Context length in tokens."""
    autocast: torch.dtype | None = None
    """Autocast dtype while the weights stay in float32; None for the dtype of the weights."""
    closes: bool = False
    """Whether to close a final assistant turn and open another, as for guard models."""
    voice: Voice = field(default_factory=Voice)
    """Arguments of its chat template."""
    omissions: dict[tuple[str, ...], str] = field(
        default_factory=dict, init=False, compare=False, repr=False
    )
    """Cache of what its template leaves out, by the template and the roles of a conversation."""

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        device: torch.device = next(self.model.parameters()).device
        return device

    @property
    def rows(self) -> int:
        """Rows of the embedding; the tokenizer may have more tokens."""
        rows: int = self.model.get_input_embeddings().weight.shape[0]
        return rows

    @cached_property
    def plain_ids(self) -> Tensor:
        """Ids of the tokens that are printable ASCII, without special tokens."""
        reserved = set(self.tokenizer.get_added_vocab().values())
        reserved |= set(self.tokenizer.all_special_ids)
        texts = self.tokenizer.batch_decode([[i] for i in range(len(self.tokenizer))])
        found = [i for i, t in enumerate(texts) if t and t.isascii() and t.isprintable()]
        return torch.tensor([i for i in found if i not in reserved])

    @property
    def manner(self) -> Manner:
        """How it must be run."""
        return manner_of(self.model)

    @property
    def version(self) -> int:
        """Version of the weights: batches so far, skipped ones included."""
        version: int = getattr(self.model, VERSION, 0)
        return version

    def count_update(self, batches: int = 1) -> None:
        """Increase the version."""
        setattr(self.model, VERSION, self.version + batches)

    def refuse_stale(self, completions: Sequence[Completion]) -> None:
        """Check that the completions were sampled from the current weights.

        Raises:
            ModelError: They were sampled from other weights, or their version is unknown.
        """
        for c in completions:
            if c.version != self.version:
                source = "an unknown version" if c.version is None else f"version {c.version}"
                raise ModelError(
                    f"completion {c.sample} of prompt {c.prompt_id} was sampled from {source} of "
                    f"the weights and the policy is at version {self.version}: sample from the "
                    "policy itself, after every update"
                )

    def precision(self) -> AbstractContextManager[Any]:
        """The autocast context of every forward pass."""
        if self.autocast is None:
            return nullcontext()
        return torch.autocast(self.device.type, self.autocast)

    def render(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Token ids of a conversation with the generation prompt.

        Raises:
            InputError: The chat template rejects the conversation or leaves out some of it, or
                the embedding lacks a token.
            ModelError: The template does not terminate.
        """
        return self.encode(written(self, messages))

    def omitted(self, roles: Sequence[str], *, goes_on: bool) -> str:
        """What the chat template leaves out of a conversation of these roles; empty if nothing."""
        key = (str(self.tokenizer.chat_template), str(goes_on), *roles)
        if key not in self.omissions:
            out = left_out(self.tokenizer, self.voice, roles, goes_on=goes_on)
            self.omissions[key] = omission(self.name, roles, out) if out else ""
        return self.omissions[key]

    def encode(self, text: str) -> tuple[int, ...]:
        """Token ids of a text, without special tokens.

        Raises:
            InputError: The embedding has no row for one of them.
        """
        ids = tuple(int(i) for i in self.tokenizer(text, add_special_tokens=False)["input_ids"])
        if ids and max(ids) >= self.rows:
            token = self.tokenizer.convert_ids_to_tokens(max(ids))
            raise InputError(
                f"the tokenizer of {self.name} reads {printable(repr(token))} as token {max(ids)}, "
                f"and the embedding has {self.rows} rows: leave it out, or resize the embedding"
            )
        return ids

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of a completion, without its end-of-turn token and other special tokens."""
        text: str = self.tokenizer.decode(list(token_ids), skip_special_tokens=True)
        return text

    def transcript(self, token_ids: Sequence[int]) -> str:
        """The text of tokens, including special ones."""
        text: str = self.tokenizer.decode(list(token_ids))
        return text

    def knows_mark(self, mark: str) -> bool:
        """Whether a mark, or a tag in it, occurs in the chat template or is a token."""
        template = str(getattr(self.tokenizer, "chat_template", None) or "")
        known = {*self.tokenizer.get_added_vocab(), *self.tokenizer.all_special_tokens}
        tags = TAG.findall(mark) or [mark]
        return any(tag in known or tag in template for tag in tags)

    def pieces(self, token_ids: Sequence[int]) -> tuple[str, ...]:
        """The text of each token; special tokens by name."""
        return tuple(self.tokenizer.decode([i]) for i in token_ids)


def written(chat: ChatModel, messages: Sequence[Message]) -> str:
    """The text of a conversation with the generation prompt.

    A final assistant turn is a prefill and stays open, unless the model `closes` it.

    Raises:
        InputError: The chat template rejects the conversation or leaves out some of it.
        ModelError: The template does not terminate.
    """
    turns = [{"role": m.role, "content": m.content} for m in messages]
    opened = not chat.closes and bool(messages) and messages[-1].role == "assistant"
    try:
        text: str = chat.voice.text(chat.tokenizer, turns, answers=not opened, goes_on=opened)
    except ModelError:
        raise
    except Exception as error:  # a template is third-party code and may raise anything
        roles = ", ".join(m.role for m in messages)
        raise InputError(
            f"the chat template of {chat.name} rejects a conversation of ({roles}): "
            f"{first_line(error)}"
        ) from error
    if lacking := chat.omitted([m.role for m in messages], goes_on=opened):
        raise InputError(lacking)
    return text
