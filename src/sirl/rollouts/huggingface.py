"""Samples with transformers' own `generate`: for any model that it serves.

Recurrent layers, mixed caches and whatever a model's own code keeps between tokens are its affair.
The price over the native sampler: a prompt is read once per completion, and finished rows stay in
the batch until the last one ends.

A logits processor draws the token, from the same uniforms as the native sampler, notes its
numbers, and leaves it as the only one possible; `generate` itself has nothing to choose. It is to
see the raw logits: what a checkpoint's `generation_config` puts before a processor of the caller's
(repetition penalties, suppressed tokens, forced ends) would be neither the policy's distribution
nor in its entropy, and is laid aside while sampling.
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
    """Writes rows by `generate`."""

    @torch.inference_mode()
    def decode(self, prompts: Sequence[tuple[int, ...]], draft: SampleBuffer, group: int) -> None:
        """Write all rows to their end. Rows are prompts x group, siblings adjacent."""
        input_ids, is_token = left_padded(self.chat, prompts)
        scribe = DrawProcessor(draft, input_ids.shape[1])
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
                logits_processor=LogitsProcessorList([scribe]),
            )


class DrawProcessor(LogitsProcessor):
    """Draws and notes the next token of every row, and leaves no other possible."""

    def __init__(self, draft: SampleBuffer, width: int) -> None:
        self.draft = draft
        self.width = width
        """Tokens before the first that is drawn."""
        self.everyone = torch.arange(len(draft.rows), device=draft.running.device)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores with one token left: minus infinity for the others."""
        position = input_ids.shape[1] - self.width
        token_ids = self.draft.draw(scores, position, self.everyone)
        return scores.fill_(-torch.inf).scatter_(1, token_ids.unsqueeze(1), 0.0)


@contextmanager
def raw(chat: ChatModel) -> Iterator[Any]:
    """The model that generates, adapters on, with the checkpoint's own settings laid aside."""
    model = unwrapped(chat.model)
    own = model.generation_config
    model.generation_config = GenerationConfig()  # type: ignore[no-untyped-call]
    try:
        yield model
    finally:
        model.generation_config = own
