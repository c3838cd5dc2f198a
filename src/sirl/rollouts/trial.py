"""Chooses the sampler of a model when it is loaded, by comparing it with plain forward passes.

Fixed answers to two prompts of different length are forced through the sampler, some ending before
others; the recorded log-probabilities and entropies must match a forward pass over each alone.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from sirl.entropy import token_numbers
from sirl.errors import ModelError, first_line
from sirl.models.chat import ChatModel, settle
from sirl.models.memory import out_of_memory
from sirl.models.trial import agree, alone, probe
from sirl.rollouts.huggingface import HuggingFaceEngine
from sirl.rollouts.local import BatchRow, SampleBuffer
from sirl.rollouts.native import LOOK_EVERY, NativeEngine
from sirl.types import Completion, Prompt, Sampling

__all__ = ["settle_sampler"]

SHORT = 5
"""Tokens of the longest given answer, if the sampler checks for ended rows at every token."""
GROUP = 2
Sampler = type[NativeEngine] | type[HuggingFaceEngine]


class ForcedBuffer(SampleBuffer):
    """Forces given answers and records their per-token numbers."""

    def __init__(self, chat: ChatModel, answers: Sequence[Completion], new_tokens: int) -> None:
        rows = [
            BatchRow(Prompt("trial", ()), c.prompt_ids, n % GROUP, 0) for n, c in enumerate(answers)
        ]
        super().__init__(rows, chat, new_tokens, Sampling())
        ids = [[*c.token_ids, *[chat.pad_id] * new_tokens][:new_tokens] for c in answers]
        self.given = torch.tensor(ids, device=chat.device)
        self.last = torch.tensor([len(c.token_ids) for c in answers], device=chat.device)

    def draw(self, logits: Tensor, position: int, alive: Tensor) -> Tensor:
        """Record and return the given token of the rows `alive`."""
        token_ids = self.given[alive, position]
        self.numbers[:, alive, position] = torch.stack(token_numbers(logits, token_ids)).float()
        self.running[alive] &= position + 1 < self.last[alive]
        return token_ids


@torch.no_grad()
def settle_sampler(chat: ChatModel, *, native: bool) -> None:
    """Choose the fastest sampler whose numbers match the model's own forward pass.

    With `native`, the native sampler is tried first; if it does not match, transformers' `generate`
    is used, with a warning.

    Raises:
        ModelError: Neither sampler matches the forward pass.
    """
    answers = forced_answers(chat)
    own = alone(chat, answers)
    like, manner = [False, True], chat.manner
    tries: list[tuple[Sampler, bool]] = []
    if native and not manner.generates:
        tries.append((NativeEngine, False))
    reasons = []
    for kind, alike in [*tries, *((HuggingFaceEngine, alike) for alike in like)]:
        try:
            found = forced_numbers(kind, chat, answers, alike=alike)
            if agree(chat, found, own):
                notes = (*manner.notes, *said_of(chat, tries, kind, alike=alike))
                settled = replace(
                    manner,
                    generates=kind is HuggingFaceEngine and bool(tries or manner.generates),
                    like_prompts=alike,
                    notes=notes,
                )
                settle(chat.model, settled)
                return
            reasons.append("its logits differ from those of a forward pass")
        except Exception as error:  # a model's code may raise anything
            if isinstance(error, RuntimeError) and out_of_memory(error):
                raise
            reasons.append(first_line(error))
    raise ModelError(
        f"{chat.name} cannot be sampled here, neither by the native sampler nor by generate(): "
        f"{reasons[-1]}; "
        "use another model, or serve it and give its endpoint"
    )


def said_of(chat: ChatModel, tries: Sequence[object], kind: Sampler, *, alike: bool) -> list[str]:
    """Warnings if another sampler is used than requested, or prompt lengths are not mixed."""
    said = []
    if tries and kind is HuggingFaceEngine:
        said.append(
            f"the native sampler does not support the cache of {chat.name}: sampler=huggingface "
            "is used"
        )
    if alike:
        said.append(f"only prompts of equal length are batched together for {chat.name}")
    return said


def forced_answers(chat: ChatModel) -> list[Completion]:
    """Given answers to two prompts, grouped by prompt; one of each pair ends early."""
    length = SHORT if chat.device.type == "cpu" else LOOK_EVERY + 2
    end = min(i for i in chat.end_ids if i < chat.rows)
    first, second = dict.fromkeys(c.prompt_ids for c in probe(chat))
    words = [i for i in (*first, *second) if i not in chat.end_ids] or [0]
    long = tuple(words[n % len(words)] for n in range(length))
    plan = [(first, (*long[:2], end)), (first, long), (second, long[::-1]), (second, (end,))]
    return [Completion("", prompt, ids, "", (), (), "length") for prompt, ids in plan]


def forced_numbers(
    kind: Sampler, chat: ChatModel, answers: Sequence[Completion], *, alike: bool
) -> list[Tensor]:
    """Log-probabilities and entropies (2 x seq) of each answer, as a sampler records them."""
    length = max(len(c.token_ids) for c in answers)
    engine = kind(chat, 0, length)
    batches = [[*answers]]
    if alike:
        batches = [[*answers[i : i + GROUP]] for i in range(0, len(answers), GROUP)]
    found = []
    for batch in batches:
        draft = ForcedBuffer(chat, batch, length)
        engine.decode([c.prompt_ids for c in batch[::GROUP]], draft, GROUP)
        found += [draft.numbers[:2, n, : len(c.token_ids)] for n, c in enumerate(batch)]
    return found
