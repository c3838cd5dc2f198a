"""A model that can chat: weights, tokenizer, template, and the tokens that end a turn."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from sirl.errors import InputError, ModelError
from sirl.types import Completion, Message

__all__ = ["ChatModel"]

VERSION = "sirl_version"
"""Name of the count on the module itself, so that a copy of the weights goes its own way."""


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

    @property
    def device(self) -> torch.device:
        """Where the weights live."""
        device: torch.device = next(self.model.parameters()).device
        return device

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
            InputError: The chat template refuses the conversation.
        """
        turns = [{"role": m.role, "content": m.content} for m in messages]
        opened = not self.closes and bool(messages) and messages[-1].role == "assistant"
        try:
            text = self.tokenizer.apply_chat_template(
                turns,
                tokenize=False,
                add_generation_prompt=not opened,
                continue_final_message=opened,
            )
        except Exception as error:  # a template is foreign code and raises what it likes
            roles = ", ".join(m.role for m in messages)
            raise InputError(
                f"the chat template of {self.name} refuses a conversation of ({roles}): {error}"
            ) from error
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return tuple(int(i) for i in ids)

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of a completion, without its end-of-turn token and other special tokens."""
        text: str = self.tokenizer.decode(list(token_ids), skip_special_tokens=True)
        return text

    def pieces(self, token_ids: Sequence[int]) -> tuple[str, ...]:
        """The text of each token by itself; the end-of-turn token keeps its name."""
        return tuple(self.tokenizer.decode([i]) for i in token_ids)
