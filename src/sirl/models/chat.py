"""A model that can chat: weights, tokenizer, template, and the tokens that end a turn."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from sirl.errors import InputError
from sirl.types import Message

__all__ = ["ChatModel"]


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
