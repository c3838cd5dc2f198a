"""Samples with transformers' `generate`, for any model that it supports.

`generate` handles recurrent layers, mixed caches and other state. It is slower than the native
sampler: a prompt is prefilled once per completion, and finished rows stay in the batch until the
last one ends.

A logits processor draws the token from the same uniforms as the native sampler, records its
numbers, and masks all other tokens, so that `generate` has no choice. It must see the raw logits:
processors of the checkpoint's `generation_config` (repetition penalties, suppressed tokens, forced
ends) would change the policy's distribution without being part of its entropy, so they are off
while sampling.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from sirl.models.chat import ChatModel, unwrapped
from sirl.rollouts.local import LocalEngine, SampleBuffer, left_padded

__all__ = ["HuggingFaceEngine"]


class HuggingFaceEngine(LocalEngine):
    """Samples with transformers' `generate`."""

    @torch.inference_mode()
    def decode(self, prompts: Sequence[tuple[int, ...]], draft: SampleBuffer, group: int) -> None:
        """Sample all rows to their end. Rows are prompts x group, grouped by prompt."""
        input_ids, is_token = left_padded(self.chat, prompts)
        processor = DrawProcessor(draft, input_ids.shape[1])
        settings = GenerationConfig(  # type: ignore[no-untyped-call]
            max_new_tokens=self.new_tokens,
            do_sample=False,
            eos_token_id=sorted(self.chat.end_ids),
            pad_token_id=self.chat.pad_id,
        )
        with self.chat.precision(), raw(self.chat) as model:
            model.generate(
                input_ids.repeat_interleave(group, dim=0),
                attention_mask=is_token.repeat_interleave(group, dim=0),
                generation_config=settings,
                logits_processor=LogitsProcessorList([processor]),
            )


class DrawProcessor(LogitsProcessor):
    """Draws and records the next token of every row, and masks all others."""

    def __init__(self, draft: SampleBuffer, width: int) -> None:
        self.draft = draft
        self.width = width
        """Length of the padded prompts."""
        self.all_rows = torch.arange(len(draft.rows), device=draft.running.device)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores of 0 for the drawn token and minus infinity for the others."""
        position = input_ids.shape[1] - self.width
        token_ids = self.draft.draw(scores, position, self.all_rows)
        return scores.fill_(-torch.inf).scatter_(1, token_ids.unsqueeze(1), 0.0)


@contextmanager
def raw(chat: ChatModel) -> Iterator[Any]:
    """The model with adapters on and the checkpoint's generation config turned off."""
    model = unwrapped(chat.model)
    own = model.generation_config
    model.generation_config = GenerationConfig()  # type: ignore[no-untyped-call]
    try:
        yield model
    finally:
        model.generation_config = own
