"""What a check reads: the state of a fresh assistant header after the answer so far.

A check closes the assistant's turn after the first k tokens of an answer and opens another with
the chat template's own header, as in Any-Depth Alignment (arXiv 2510.18081). The state of the last
header token shows whether the model would refuse now, however far it has been led. Before the
first token, the prompt's own header is read.
"""

from collections.abc import Sequence
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
from sirl.models.forward import SPARED, decoder, head_factor, is_packed, run_packed
from sirl.models.head import Factor
from sirl.models.packing import common_prefix, pack_tree
from sirl.models.template import PLACE
from sirl.rollouts.local import left_padded, like_lengths
from sirl.types import Completion, Message

__all__ = [
    "ROWS",
    "Check",
    "CheckReader",
    "Readings",
    "candidate_layers",
    "fork",
    "fresh_header",
    "room_before",
]

ROWS = 64
"""Checks per padded forward pass, and logits at once."""
TOKENS = 4096
"""Tokens per forward pass with shared beginnings."""


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


def room_before(chat: ChatModel, new_tokens: int) -> int:
    """Maximum tokens of a prompt so that an answer and a check behind it fit the context.

    Raises:
        ModelError: The template has no way to ask again.
    """
    return chat.context - new_tokens - len(fresh_header(chat))


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
        """Read checks; results in the given order."""
        return self.read_ids([self.ids(check) for check in checks])

    @torch.inference_mode()
    def read_ids(self, rows: Sequence[tuple[int, ...]]) -> Readings:
        """Read what follows the last of some tokens; results in the given order."""
        distinct = sorted({*rows})
        width = int(self.chat.model.config.get_text_config().hidden_size)
        states = np.zeros((len(distinct), len(self.layers), width), dtype=np.float32)
        mass, top = np.zeros(len(distinct)), np.zeros(len(distinct))
        factor = self.factor if is_packed(self.chat.model) else None
        for chosen in self.batches(distinct, shared=factor is not None):
            own = [distinct[i] for i in chosen]
            found = self.read_tree(own, factor) if factor else self.read_padded(own)
            states[chosen], mass[chosen] = found.states, found.refusal_mass
            top[chosen] = found.top_logprob
        numbers = {ids: n for n, ids in enumerate(distinct)}
        at = [numbers[ids] for ids in rows]
        return Readings(states[at], mass[at], top[at])

    def batches(self, rows: Sequence[tuple[int, ...]], *, shared: bool) -> list[list[int]]:
        """Indices of rows in lexicographic order, per forward pass.

        Unless beginnings are shared, rows of similar length; of the same length where the model
        cannot take left padding.
        """
        if shared:
            return like_beginnings(rows, TOKENS)
        same = self.chat.manner.padding != "left" or self.chat.manner.like_prompts
        return like_lengths([len(ids) for ids in rows], ROWS, same=same)

    def read_tree(self, rows: Sequence[tuple[int, ...]], factor: Factor) -> Readings:
        """Read rows in lexicographic order; the beginnings that they share are run once."""
        tree = pack_tree(rows, self.chat.device)
        hidden = run_packed(self.chat, tree, output_hidden_states=True).hidden_states
        parts = [
            self.readings(
                [hidden[layer][0, last] for layer in self.layers],
                factor.logits(hidden[-1][0, last]),
            )
            for last in torch.split(tree.last, ROWS)
        ]
        arrays = ([p.states, p.refusal_mass, p.top_logprob] for p in parts)
        return Readings(*(np.concatenate(own) for own in zip(*arrays, strict=True)))

    def read_padded(self, rows: Sequence[tuple[int, ...]]) -> Readings:
        """Read rows as a padded batch."""
        input_ids, is_token = left_padded(self.chat, rows)
        return self.forward(
            input_ids=input_ids,
            attention_mask=is_token,
            position_ids=(is_token.cumsum(dim=1) - 1).clamp(min=0),
            use_cache=False,
        )

    def forward(self, **inputs: Any) -> Readings:  # noqa: ANN401 - of the model
        """What follows each row of a batch."""
        run = self.chat.model if self.factor is None else decoder(self.chat.model)
        with self.chat.precision():
            found = run(**inputs, output_hidden_states=True)
        hidden = found.hidden_states
        return self.readings(
            [hidden[layer][:, -1] for layer in self.layers],
            self.factor.logits(hidden[-1][:, -1].contiguous())
            if self.factor
            else found.logits[:, -1].float(),
        )

    def readings(self, states: list[Tensor], logits: Tensor) -> Readings:
        """What follows the last tokens of rows.

        Args:
            states: Their states (rows x width) in each layer to read.
            logits: Those of the next token (rows x vocab).
        """
        logprobs = logits.log_softmax(dim=1)
        mass = torch.full_like(logprobs[:, 0], -np.inf)
        if self.openers:
            mass = logprobs[:, self.openers].logsumexp(dim=1)
        top = logprobs.amax(dim=1)
        return Readings(
            torch.stack(states, dim=1).float().cpu().numpy(), mass.cpu().numpy(), top.cpu().numpy()
        )

    @torch.inference_mode()
    def peek(self, cache: DynamicCache) -> Readings:
        """Check an answer that is being sampled: run the header on top of its cache (one row).

        The cache stays as it is. This is a check while streaming; `read` needs the whole text.
        """
        past = cache.get_seq_length()
        ids = torch.tensor([self.header], device=self.chat.device)
        places = torch.arange(past, past + len(self.header), device=self.chat.device)
        return self.forward(
            input_ids=ids,
            attention_mask=torch.ones(1, past + len(self.header), device=ids.device).long(),
            position_ids=places.unsqueeze(0),
            past_key_values=fork(cache),
            use_cache=True,
        )


def like_beginnings(rows: Sequence[tuple[int, ...]], most: int) -> list[list[int]]:
    """Indices of rows per tree of at most `most` tokens; a longer row has its own.

    >>> like_beginnings([(1, 2, 3), (1, 2, 4), (1, 2, 5, 6), (7,)], most=5)
    [[0, 1], [2, 3]]
    """
    batches: list[list[int]] = []
    previous: tuple[int, ...] = ()
    run = whole = 0
    for n, row in enumerate(rows):
        new = len(row) - common_prefix(previous, row)
        if batches and run + new <= most and whole + len(row) <= SPARED * most:
            batches[-1].append(n)
            run, whole = run + new, whole + len(row)
        else:
            batches.append([n])
            run = whole = len(row)
        previous = row
    return batches


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
