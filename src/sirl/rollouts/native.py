"""The native batched sampler: prefills each distinct prompt once, records every token's entropy.

The KV cache of a prompt is shared by its group, and finished rows leave the batch. Entropies come
from the logits that were sampled from, so no second forward pass is needed. Supports models with
a plain KV cache; `sirl.rollouts.huggingface` is for the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache

from sirl.models.chat import ChatModel
from sirl.models.forward import head_factor, next_logits
from sirl.models.head import Factor
from sirl.rollouts.local import LocalEngine, SampleBuffer, left_padded

__all__ = ["NativeEngine"]

COMPACT_BELOW = 0.9
"""Finished rows leave once less than this share of the batch is alive, since copying costs."""
LOOK_EVERY = 8
"""Tokens between checks for ended rows, since a check synchronises with the device."""


class NativeEngine(LocalEngine):
    """Samples with a growing KV cache from which finished rows are removed."""

    @torch.inference_mode()
    def decode(self, prompts: Sequence[tuple[int, ...]], draft: SampleBuffer, group: int) -> None:
        """Sample all rows to their end. Rows are prompts x group, grouped by prompt."""
        state = prefill(self.chat, prompts, group)
        look_every = 1 if self.chat.device.type == "cpu" else LOOK_EVERY
        alive = torch.arange(len(draft.rows), device=self.chat.device)
        for position in range(self.new_tokens):
            token_ids = draft.draw(state.logits, position, alive)
            if position + 1 == self.new_tokens:
                return
            if (position + 1) % look_every == 0:
                running = draft.running[alive]
                left = int(running.sum())
                if not left:
                    return
                if left <= COMPACT_BELOW * len(alive):
                    keep = running.nonzero().squeeze(1)
                    alive, token_ids = alive[keep], token_ids[keep]
                    state.select(keep)
            state.advance(self.chat, token_ids)


@dataclass
class State:
    """The decoding batch: KV cache, mask, and next-token logits (rows x vocab)."""

    cache: DynamicCache
    is_token: Tensor
    position: Tensor
    logits: Tensor
    head: Factor | None
    """The prepared head, if it is a plain linear layer."""

    def select(self, keep: Tensor) -> None:
        """Keep only the rows at these indices."""
        self.cache.batch_select_indices(keep)
        self.is_token, self.position = self.is_token[keep], self.position[keep]

    def advance(self, chat: ChatModel, token_ids: Tensor) -> None:
        """Run one token per row."""
        self.is_token = torch.cat([self.is_token, torch.ones_like(self.is_token[:, :1])], dim=1)
        self.position = self.position + 1
        self.logits = next_logits(
            chat,
            self.head,
            input_ids=token_ids.unsqueeze(1),
            attention_mask=self.is_token,
            position_ids=self.position.unsqueeze(1),
            past_key_values=self.cache,
            use_cache=True,
        )


def prefill(chat: ChatModel, prompts: Sequence[tuple[int, ...]], group: int) -> State:
    """Prefill each prompt once, left-padded, and share its cache with its group."""
    input_ids, is_token = left_padded(chat, prompts)
    cache = DynamicCache(config=chat.model.config)
    head = head_factor(chat)
    logits = next_logits(
        chat,
        head,
        input_ids=input_ids,
        attention_mask=is_token,
        position_ids=(is_token.cumsum(dim=1) - 1).clamp(min=0),
        past_key_values=cache,
        use_cache=True,
    )
    cache.batch_repeat_interleave(group)
    is_token = is_token.repeat_interleave(group, dim=0)
    position = is_token.sum(dim=1) - 1
    return State(cache, is_token, position, logits.repeat_interleave(group, dim=0), head)
