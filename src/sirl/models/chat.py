"""A model that can chat: weights, tokenizer, template, and the tokens that end a turn."""

import re
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from sirl.errors import InputError, ModelError, first_line, printable
from sirl.models.template import Voice
from sirl.types import Completion, Message

__all__ = ["ChatModel", "Manner", "Padding", "manner_of", "settle", "unwrapped"]

VERSION = "sirl_version"
"""Name of the count on the module itself, so that a copy of the weights goes its own way."""
MANNER = "sirl_manner"
"""Name of the manner on the module itself, so that a copy of the weights keeps it."""
TAG = re.compile(r"<[^<>]+>|\[[^\[\]]+\]|\u25c1[^\u25b7]+\u25b7")
"""Marks in pointed or square brackets, of which a longer mark is made."""
Padding = Literal["left", "right", "none"]


@dataclass(frozen=True)
class Manner:
    """How a model is read and sampled, as trials at load found that it can be."""

    own_logits: bool = False
    """Whether its own forward pass alone makes its logits: its head is more than a product."""
    padding: Padding = "left"
    """Where prompts are padded when it is not read packed; 'none' reads each row by itself."""
    generates: bool = False
    """Whether transformers' `generate` alone samples from it."""
    like_prompts: bool = False
    """Whether only prompts of one length are sampled together."""
    notes: tuple[str, ...] = ()
    """A sentence on each thing that is done otherwise than for most models."""


def unwrapped(model: Any) -> Any:  # noqa: ANN401 - plain, or wrapped by peft
    """The model itself; adapters that are switched on or off are part of it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def manner_of(model: Any) -> Manner:  # noqa: ANN401 - plain, or wrapped by peft
    """How a model is read; one that was never tried is read as most are."""
    manner: Manner = getattr(unwrapped(model), MANNER, Manner())
    return manner


def settle(model: Any, manner: Manner) -> None:  # noqa: ANN401 - plain, or wrapped by peft
    """Have a model be read in this manner from now on."""
    setattr(unwrapped(model), MANNER, manner)


@dataclass(frozen=True)
class ChatModel:
    """A causal language model with what is needed to talk to it."""

    name: str
    """The path or id it was loaded from."""
    model: Any
    tokenizer: Any
    end_ids: frozenset[int]
    """Tokens that end a turn."""
    pad_id: int
    context: int
    """Longest prompt and completion together, in tokens."""
    autocast: torch.dtype | None = None
    """Precision of the products while the weights stay in float32, or None for the weights' own."""
    closes: bool = False
    """Whether a last assistant turn is closed and another begun, as guard models are asked."""
    voice: Voice = field(default_factory=Voice)
    """What its template is told beside the conversation."""

    @property
    def device(self) -> torch.device:
        """Where the weights live."""
        device: torch.device = next(self.model.parameters()).device
        return device

    @property
    def rows(self) -> int:
        """Tokens that the embedding holds; a tokenizer may know more."""
        rows: int = self.model.get_input_embeddings().weight.shape[0]
        return rows

    @property
    def manner(self) -> Manner:
        """How it is read and sampled."""
        return manner_of(self.model)

    @property
    def version(self) -> int:
        """Batches taken so far, those included that were skipped as not finite."""
        version: int = getattr(self.model, VERSION, 0)
        return version

    def learned(self, batches: int = 1) -> None:
        """Count batches taken."""
        setattr(self.model, VERSION, self.version + batches)

    def refuse_stale(self, completions: Sequence[Completion]) -> None:
        """See that these very weights, as they are now, wrote the completions.

        Raises:
            ModelError: Others did, or nobody says which.
        """
        for c in completions:
            if c.version != self.version:
                told = "an untold version" if c.version is None else f"version {c.version}"
                raise ModelError(
                    f"completion {c.sample} of prompt {c.prompt_id} was sampled from {told} of the "
                    f"weights and the policy is at version {self.version}: sample from the policy "
                    "itself, after every update"
                )

    def precision(self) -> AbstractContextManager[Any]:
        """The precision in which every forward pass runs."""
        if self.autocast is None:
            return nullcontext()
        return torch.autocast(self.device.type, self.autocast)

    def render(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Token ids of a conversation, ready for the assistant to speak.

        A last assistant turn is an opener to be continued: its end is left open, unless the
        model `closes`.

        Raises:
            InputError: The chat template refuses the conversation, or the embedding lacks a token.
            ModelError: The template does not end.
        """
        turns = [{"role": m.role, "content": m.content} for m in messages]
        opened = not self.closes and bool(messages) and messages[-1].role == "assistant"
        try:
            text = self.voice.text(self.tokenizer, turns, answers=not opened, goes_on=opened)
        except ModelError:
            raise
        except Exception as error:  # a template is foreign code and raises what it likes
            roles = ", ".join(m.role for m in messages)
            raise InputError(
                f"the chat template of {self.name} refuses a conversation of ({roles}): "
                f"{first_line(error)}"
            ) from error
        return self.encode(text)

    def encode(self, text: str) -> tuple[int, ...]:
        """Token ids of a text as it stands.

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
        """The text of tokens as they follow each other, special ones included."""
        text: str = self.tokenizer.decode(list(token_ids))
        return text

    def knows_mark(self, mark: str) -> bool:
        """Whether the chat template or a token of its own writes a mark, or a tag in it."""
        template = str(getattr(self.tokenizer, "chat_template", None) or "")
        known = {*self.tokenizer.get_added_vocab(), *self.tokenizer.all_special_tokens}
        tags = TAG.findall(mark) or [mark]
        return any(tag in known or tag in template for tag in tags)

    def pieces(self, token_ids: Sequence[int]) -> tuple[str, ...]:
        """The text of each token by itself; the end-of-turn token keeps its name."""
        return tuple(self.tokenizer.decode([i]) for i in token_ids)
