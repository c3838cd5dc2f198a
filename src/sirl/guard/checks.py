"""What a check reads: the state of a fresh assistant header after the answer so far.

A check closes the assistant's turn after the first k tokens of an answer and opens another with
the chat template's own header, as in Any-Depth Alignment (arXiv 2510.18081). The state of the last
header token shows whether the model would refuse now, however far it has been led. Before the
first token, the prompt's own header is read.
"""

from collections.abc import Iterator, Sequence
from copy import copy, deepcopy
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from sirl.errors import ModelError
from sirl.guard.cuts import Cutter
from sirl.guard.turns import last_of_several
from sirl.models.chat import ChatModel
from sirl.models.forward import decoder, head_factor
from sirl.models.head import Factor
from sirl.models.template import PLACE
from sirl.rollouts.local import left_padded, like_lengths
from sirl.types import Completion, Message

__all__ = ["ROWS", "Check", "CheckReader", "Readings", "candidate_layers", "fork", "fresh_header"]

ROWS = 64
"""Checks per forward pass."""


class Check(NamedTuple):
    """An answer so far."""

    completion: Completion
    position: int
    """Judge its first tokens, so many."""
    begun: bool = False
    """Whether the prompt itself begins the answer (a prefill)."""
    turn: tuple[int, ...] = ()
    """The last turn of the prompt by itself, rendered; empty if it is the only one."""


@dataclass(frozen=True)
class Readings:
    """What several checks read."""

    states: np.ndarray
    """checks x layers x width, float32."""
    refusal_mass: np.ndarray
    """Log-probability (checks) that the next answer begins with a refusal opener."""
    top_logprob: np.ndarray
    """Log-probability (checks) of the likeliest first token."""


def candidate_layers(chat: ChatModel) -> tuple[int, ...]:
    """Hidden layers whose states may be read: the middle, three quarters, and the last.

    Layer 0 is the embedding.
    """
    depth = int(chat.model.config.get_text_config().num_hidden_layers)
    return tuple(sorted({max(1, depth // 2), max(1, 3 * depth // 4), depth}))


def fresh_header(chat: ChatModel) -> tuple[int, ...]:
    """Token ids that close an assistant turn and open another.

    A template that opens no assistant turn after one gets the user's turn "?" in between.

    Raises:
        ModelError: The template has no way to ask again.
    """
    turns = [Message("user", PLACE), Message("assistant", PLACE)]
    for asked in (turns, [*turns, Message("user", "?")]):
        try:
            opened, closed = (rendered(chat, asked, answers=a) for a in (True, False))
        except ModelError:
            raise
        except Exception:  # a template is third-party code and may reject a conversation
            continue
        if opened != closed and opened.count(PLACE) == 2:
            return chat.encode(opened.rpartition(PLACE)[2])
    raise ModelError(
        f"the chat template of {chat.name} opens no assistant turn after another one: the guard "
        "cannot ask the model what it would say now"
    )


def rendered(chat: ChatModel, messages: Sequence[Message], *, answers: bool) -> str:
    """The text of a conversation, with or without the generation prompt."""
    turns = [{"role": m.role, "content": m.content} for m in messages]
    return chat.voice.text(chat.tokenizer, turns, answers=answers)


class CheckReader:
    """Reads checks of one model.

    Args:
        chat: The model that answers.
        layers: Hidden layers to read; 0 is the embedding.
        openers: Ids of the tokens that begin its refusals.
    """

    def __init__(self, chat: ChatModel, layers: Sequence[int], openers: Sequence[int]) -> None:
        self.chat = chat
        self.layers = tuple(layers)
        self.openers = sorted(openers)
        self.header = fresh_header(chat)
        self.cutter = Cutter.of(chat)
        self.factor: Factor | None = head_factor(chat)

    def turn(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """The last turn of a conversation by itself, rendered; empty if it is the only one."""
        last = last_of_several(messages)
        return self.chat.render(last) if last else ()

    def cuts(self, prompt_ids: tuple[int, ...], turn: tuple[int, ...]) -> list[tuple[int, ...]]:
        """A prompt at the cuts of its last turn, and at its end."""
        return [cut.ids for cuts in self.cutter.cuts_of_turns(prompt_ids, turn) for cut in cuts]

    def ids(self, check: Check) -> tuple[int, ...]:
        """The tokens of a check."""
        completion, position, begun, _ = check
        own = completion.token_ids[:position]
        if own and own[-1] in self.chat.end_ids:
            own = own[:-1]  # the header closes the turn
        closing = self.header if own or begun else ()
        return (*completion.prompt_ids, *own, *closing)

    def read(self, checks: Sequence[Check]) -> Readings:
        """Read checks in batches of similar length; results in the given order."""
        return self.read_ids([self.ids(check) for check in checks])

    @torch.inference_mode()
    def read_ids(self, rows: Sequence[tuple[int, ...]]) -> Readings:
        """Read what follows the last of some tokens; results in the given order."""
        numbers = {ids: n for n, ids in enumerate(dict.fromkeys(rows))}  # prompts share beginnings
        width = int(self.chat.model.config.get_text_config().hidden_size)
        states = np.zeros((len(numbers), len(self.layers), width), dtype=np.float32)
        mass, top, distinct = np.zeros(len(numbers)), np.zeros(len(numbers)), list(numbers)
        for chosen in self.batches(distinct):
            input_ids, is_token = left_padded(self.chat, [distinct[i] for i in chosen])
            found = self.forward(
                input_ids=input_ids,
                attention_mask=is_token,
                position_ids=(is_token.cumsum(dim=1) - 1).clamp(min=0),
                use_cache=False,
            )
            states[chosen], mass[chosen], top[chosen] = found
        at = [numbers[ids] for ids in rows]
        return Readings(states[at], mass[at], top[at])

    def batches(self, rows: Sequence[tuple[int, ...]]) -> Iterator[list[int]]:
        """Indices per batch; without padding where the model cannot take left padding."""
        same = self.chat.manner.padding != "left" or self.chat.manner.like_prompts
        yield from like_lengths([len(ids) for ids in rows], ROWS, same=same)

    def forward(self, **inputs: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # noqa: ANN401 - of the model
        """States, and log-probabilities of openers and of the likeliest token, after each row."""
        with self.chat.precision():
            if self.factor is None:
                found = self.chat.model(**inputs, output_hidden_states=True)
                logits: Tensor = found.logits[:, -1].float()
            else:
                found = decoder(self.chat.model)(**inputs, output_hidden_states=True)
        if self.factor is not None:
            logits = self.factor.logits(found.hidden_states[-1][:, -1].contiguous())
        states = torch.stack([found.hidden_states[layer][:, -1] for layer in self.layers], dim=1)
        logprobs = logits.log_softmax(dim=1)
        mass = torch.full_like(logprobs[:, 0], -np.inf)
        if self.openers:
            mass = logprobs[:, self.openers].logsumexp(dim=1)
        top = logprobs.amax(dim=1)
        return states.float().cpu().numpy(), mass.cpu().numpy(), top.cpu().numpy()

    @torch.inference_mode()
    def peek(self, cache: DynamicCache) -> Readings:
        """Check an answer that is being sampled: run the header on top of its cache (one row).

        The cache stays as it is. This is a check while streaming; `read` needs the whole text.
        """
        past = cache.get_seq_length()
        ids = torch.tensor([self.header], device=self.chat.device)
        places = torch.arange(past, past + len(self.header), device=self.chat.device)
        found = self.forward(
            input_ids=ids,
            attention_mask=torch.ones(1, past + len(self.header), device=ids.device).long(),
            position_ids=places.unsqueeze(0),
            past_key_values=fork(cache),
            use_cache=True,
        )
        return Readings(*found)


def fork(cache: DynamicCache) -> DynamicCache:
    """A cache that grows on its own from the state of another one.

    Layers of keys and values share their tensors, since they concatenate new keys into a new
    tensor. Other layers, such as those of linear attention, are updated in place and are copied.
    """
    if any(type(x) not in (DynamicLayer, DynamicSlidingWindowLayer) for x in cache.layers):
        return deepcopy(cache)
    forked = copy(cache)
    forked.layers = [copy(layer) for layer in cache.layers]
    return forked
