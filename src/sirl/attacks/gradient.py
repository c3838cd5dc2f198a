"""Gradient search for a suffix that makes the target start with a compliant answer.

GCG (Zou et al., arXiv 2307.15043): the gradient with respect to the one-hot suffix tokens proposes
replacements, and the target's loss selects among them. Unlike the published search, replacements
are spread evenly over the positions and biased towards the steepest gradients, no suffix is
evaluated twice, and a quarter of each step's candidates combine the best changes at several
positions.

The optimised text is the text that is asked: the suffix is rendered by the model's chat template,
and candidates that do not survive a round trip through the tokenizer are skipped. The tokens before
the suffix are processed once per search.

Axes: `rows` are candidates, `seq` tokens, `vocab` the vocabulary. Losses are in nats.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import cycle
from random import Random
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from sirl.attacks.objectives import (
    AntiRefusal,
    Goal,
    LowEntropy,
    Objective,
    Penalty,
    TargetOpener,
    goal,
)
from sirl.errors import ModelError
from sirl.models.chat import ChatModel
from sirl.models.memory import out_of_memory
from sirl.models.packing import common_prefix
from sirl.roles import Access, Tries
from sirl.types import Attempt, Budget, Message, Need, Prompt

__all__ = ["ATTACKS", "Gcg", "Slot", "SuffixReader", "joined", "slot"]

MARK = "[the suffix goes here]"
STARTS = ((" !", " x"), (" x", " !"), ("!", "x"))
"""Initial suffix and one to compare it with; the first pair of single tokens is used."""
DRAWS = 8
"""Maximum number of draws of neighbours before a step continues with fewer."""
JOINED = 4
"""One in this many candidates combines several changes."""

Suffix = tuple[int, ...]
Read = list[tuple[float, Suffix]]
"""(loss, suffix) pairs, lowest loss first."""


@dataclass(frozen=True)
class Gcg:
    """Greedy coordinate gradient on a suffix after the request."""

    name: str
    objective: Objective
    steps: int = 40
    candidates: int = 64
    """Suffixes evaluated per step."""
    top_k: int = 64
    """Replacements per position, by gradient, from which candidates are drawn."""
    length: int = 20
    """Length of the suffix in tokens."""
    patience: int = 8
    """Steps between attempts; an early suffix mostly gets gibberish as an answer."""
    family: str = "gradient"
    needs: frozenset[Need] = frozenset({"gradients"})
    penalty: Penalty | None = None
    """Added to the loss, for an attacker who knows what a guard scores."""

    @property
    def budget(self) -> Budget:
        """Passes over the plain answer, gradients and candidates of all steps, and attempts."""
        attempts = -(-self.steps // self.patience)
        return Budget(queries=self.looks + self.steps * (1 + self.candidates) + attempts)

    @property
    def looks(self) -> int:
        """Passes over the plain answer and, if the objective needs it, over the continuation."""
        return 1 + bool(self.objective.lookahead)

    def tries(self, behaviour: Prompt, access: Access) -> Tries:
        """Yield the best suffix so far every `patience` steps and at the end."""
        chat: ChatModel = access.target_model
        wanted = goal(chat, behaviour, access.opener(behaviour), self.objective.lookahead)
        place = slot(chat, behaviour, self.length)
        reader = SuffixReader(place, wanted, self.objective, self.candidates, self.penalty)
        random = Random(f"{access.seed}/{self.name}/{behaviour.id}")
        suffix = best = place.start
        least = float("inf")
        seen = {suffix}
        trace: list[float] = []
        goes_on = access.spend(self.looks)
        for step in range(1, self.steps + 1):
            found = self.step(reader, suffix, seen, random)
            goes_on &= access.spend(1 + len(found))
            if found:
                loss, suffix = min(found)
                trace.append(round(loss, 4))
                least, best = min((least, best), (loss, suffix))
            if step % self.patience == 0 or step == self.steps or not goes_on:
                yield [Attempt(behaviour, self.name, place.messages(best), trace=tuple(trace))]
            if not goes_on:
                return

    def step(
        self, reader: "SuffixReader", suffix: Suffix, seen: set[Suffix], random: Random
    ) -> Read:
        """One step: new candidates near a suffix, with their losses; they are added to `seen`."""
        few = self.candidates // JOINED
        near = self.neighbours(reader, suffix, self.candidates - few, seen, random)
        found = reader.ranked(near)
        fresh = [s for s in joined(suffix, [s for _, s in found]) if s not in seen]
        further = reader.slot.faithful(fresh)[:few]
        seen.update(further)
        return found + reader.ranked(further)

    def neighbours(
        self, reader: "SuffixReader", suffix: Suffix, count: int, seen: set[Suffix], random: Random
    ) -> list[Suffix]:
        """New suffixes with one token replaced; they are added to `seen`."""
        slopes = reader.gradient(torch.tensor(suffix))
        best = (-slopes).topk(min(self.top_k, slopes.shape[1]), dim=1).indices
        choices = reader.allowed[best].tolist()
        found: list[Suffix] = []
        for _ in range(DRAWS):
            places = random.sample(range(len(suffix)), len(suffix))
            drawn: dict[Suffix, None] = {}
            for _, i in zip(range(count), cycle(places), strict=False):
                token = choices[i][int(random.random() ** 2 * len(choices[i]))]
                drawn[(*suffix[:i], token, *suffix[i + 1 :])] = None
            fresh = [near for near in drawn if near not in seen]
            seen.update(fresh)
            found += reader.slot.faithful(fresh)
            if len(found) >= count:
                break
        return found[:count]


def joined(suffix: Suffix, ranked: Sequence[Suffix]) -> list[Suffix]:
    """Combine the best two single-token changes, the best three, and so on, one per position.

    >>> joined((1, 2, 3), [(1, 2, 9), (1, 2, 8), (7, 2, 3), (1, 6, 3)])
    [(7, 2, 9), (7, 6, 9)]
    """
    whole, changed = list(suffix), set[int]()
    found: list[Suffix] = []
    for near in ranked:
        i = common_prefix(suffix, near)
        if i not in changed:
            whole[i] = near[i]
            changed.add(i)
            found.append(tuple(whole))
    return found[1:]


@dataclass(frozen=True)
class Slot:
    """The position of a suffix in a conversation, as text and as tokens."""

    chat: ChatModel
    behaviour: Prompt
    before: str
    """The rendered conversation up to the end of the request."""
    after: str
    """The template's text after the suffix."""
    before_ids: tuple[int, ...]
    after_ids: tuple[int, ...]
    start: Suffix
    """The initial suffix."""

    def texts(self, suffixes: Sequence[Suffix]) -> list[str]:
        """The text of each suffix, decoded after a word so that leading spaces are kept."""
        word = encode(self.chat, ["a"])[0]
        whole = self.chat.tokenizer.batch_decode(
            [(*word, *suffix) for suffix in suffixes], clean_up_tokenization_spaces=False
        )
        return [text.removeprefix("a") for text in whole]

    def faithful(self, suffixes: Sequence[Suffix]) -> list[Suffix]:
        """The suffixes that survive decoding, rendering and encoding without changes.

        Templates may strip a message, so suffixes that end with white space are excluded.
        """
        texts = self.texts(suffixes)
        read = encode(self.chat, [f"{self.before}{text}{self.after}" for text in texts])
        return [
            suffix
            for ids, suffix, text in zip(read, suffixes, texts, strict=True)
            if ids == (*self.before_ids, *suffix, *self.after_ids) and text == text.rstrip()
        ]

    def messages(self, suffix: Suffix) -> tuple[Message, ...]:
        """The conversation with the suffix after the request."""
        return suffixed(self.behaviour, self.texts([suffix])[0])


def slot(chat: ChatModel, behaviour: Prompt, length: int) -> Slot:
    """Locate a suffix of `length` tokens in the rendered conversation.

    The tokens that two different suffixes have in common are the tokens around the suffix; this
    works for every tokenizer.

    Raises:
        ModelError: The template or the tokenizer changes every initial suffix.
    """
    turns = [{"role": m.role, "content": m.content} for m in suffixed(behaviour, MARK)]
    text = chat.voice.text(chat.tokenizer, turns)
    before, _, after = text.rpartition(MARK)
    for start, other in STARTS:
        ids, others = encode(chat, [f"{before}{s * length}{after}" for s in (start, other)])
        head, tail = common_prefix(ids, others), common_prefix(ids[::-1], others[::-1])
        end = len(ids) - tail
        found = Slot(chat, behaviour, before, after, ids[:head], ids[end:], ids[head:end])
        if len(found.start) == length and chat.render(found.messages(found.start)) == ids:
            return found
    raise ModelError(
        f"template and tokenizer of {chat.name} encode no suffix of {length} tokens "
        "consistently: leave out the gradient attacks"
    )


def suffixed(behaviour: Prompt, suffix: str) -> tuple[Message, ...]:
    """The conversation with a text appended to the request."""
    return (*behaviour.messages[:-1], Message("user", behaviour.request + suffix))


def encode(chat: ChatModel, texts: Sequence[str]) -> list[tuple[int, ...]]:
    """Token ids of rendered texts."""
    ids = chat.tokenizer(list(texts), add_special_tokens=False)["input_ids"] if texts else []
    return [tuple(row) for row in ids]


@dataclass
class SuffixReader:
    """Computes losses and gradients of suffixes in their slot."""

    slot: Slot
    goal: Goal
    objective: Objective
    rows: int
    """Suffixes per batch; halved when out of memory."""
    penalty: Penalty | None = None

    @property
    def embed(self) -> Any:  # noqa: ANN401 - a module of whatever class
        """The model's token embedding module, including the scaling of some models."""
        return self.slot.chat.model.get_input_embeddings()

    @property
    def allowed(self) -> Tensor:
        """Token ids allowed in a suffix."""
        return self.slot.chat.plain_ids

    @cached_property
    def table(self) -> Tensor:
        """Embeddings of the allowed tokens (vocab x width)."""
        with torch.no_grad():
            table: Tensor = self.embed(self.allowed.to(self.slot.chat.device))
        return table

    @cached_property
    def prefix(self) -> DynamicCache:
        """Keys and values of the tokens before the suffix.

        Raises:
            ModelError: The model's cache has more than keys and values.
        """
        chat = self.slot.chat
        cache = DynamicCache(config=chat.model.config)
        ids = torch.tensor([self.slot.before_ids], device=chat.device)
        with torch.no_grad(), chat.precision():
            chat.model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        if not all(isinstance(getattr(layer, "keys", None), Tensor) for layer in cache.layers):
            raise ModelError(
                f"{chat.name} has a cache with more than keys and values: leave out the "
                "gradient attacks"
            )
        return cache

    @cached_property
    def rest(self) -> Tensor:
        """Token ids (seq) after the suffix, without the answer's last, which predicts nothing."""
        after = torch.tensor(self.slot.after_ids, device=self.goal.answer.device)
        return torch.cat([after, self.goal.answer[:-1]])

    def gradient(self, suffix: Tensor) -> Tensor:
        """Gradient of the loss with respect to one-hot suffix tokens (seq x allowed tokens)."""
        device = self.slot.chat.device
        embeds = self.embed(suffix.to(device)).detach().unsqueeze(0).requires_grad_()
        with torch.enable_grad():
            whole = torch.cat([embeds, self.embed(self.rest).detach().unsqueeze(0)], dim=1)
            (slope,) = torch.autograd.grad(self.loss(inputs_embeds=whole).sum(), embeds)
        slopes: Tensor = slope[0] @ self.table.T
        return slopes.cpu()

    def ranked(self, suffixes: Sequence[Suffix]) -> Read:
        """Suffixes with their losses, lowest loss first."""
        losses = self.losses(torch.tensor(suffixes)).tolist() if suffixes else []
        return sorted(zip(losses, suffixes, strict=True))

    @torch.no_grad()
    def losses(self, suffixes: Tensor) -> Tensor:
        """The loss of each suffix (rows x seq), in batches that fit in memory."""
        found: list[Tensor] = []
        done = 0
        while done < len(suffixes):
            part = suffixes[done : done + self.rows].to(self.goal.answer.device)
            whole = torch.cat([part, self.rest.expand(len(part), -1)], dim=1)
            try:
                found.append(self.loss(input_ids=whole).cpu())
            except RuntimeError as error:
                if not out_of_memory(error) or len(part) == 1:
                    raise
                self.rows = len(part) // 2
            else:
                done += len(part)
        return torch.cat(found)

    def loss(self, **tokens: Tensor) -> Tensor:
        """Loss (rows) of `input_ids` or `inputs_embeds` that follow the prefix."""
        last = len(self.goal.answer)
        found = self.run(tokens, last)
        loss = self.objective(found.logits, self.goal)
        if self.penalty is None:
            return loss
        cuts = [self.cut_states(tokens, n, self.penalty) for n in self.cut_lengths(self.penalty)]
        cuts.append(found.hidden_states[self.penalty.cut_layer][:, -last])
        return loss + self.penalty(found.hidden_states[self.penalty.layer][:, -last], cuts)

    def run(self, tokens: dict[str, Tensor], keep: int) -> Any:  # noqa: ANN401 - of the model
        """The model's output for tokens that follow the prefix, with logits of the last ones."""
        (given,) = tokens.values()
        with self.slot.chat.precision():
            return self.slot.chat.model(
                **tokens,
                past_key_values=spread(self.prefix, len(given)),
                use_cache=True,
                logits_to_keep=keep,
                output_hidden_states=self.penalty is not None,
            )

    def cut_lengths(self, penalty: Penalty) -> list[int]:
        """Tokens of the suffix that each cut within it keeps; none changes earlier cuts."""
        before = len(self.slot.before_ids)
        end = before + len(self.slot.start)
        ids = (*self.slot.before_ids, *self.slot.start, *self.slot.after_ids)
        return [n - before for n in penalty.places(ids) if before < n <= end]

    def cut_states(self, tokens: dict[str, Tensor], length: int, penalty: Penalty) -> Tensor:
        """States (rows x width) after the first tokens of a suffix, where the answer begins."""
        ((kind, given),) = tokens.items()
        end = torch.tensor([penalty.closing], device=given.device)
        if kind == "inputs_embeds":
            end = self.embed(end).detach()
        short = torch.cat([given[:, :length], end.expand(len(given), *end.shape[1:])], dim=1)
        states: Tensor = self.run({kind: short}, 1).hidden_states[penalty.cut_layer][:, -1]
        return states


def spread(cache: DynamicCache, rows: int) -> DynamicCache:
    """Expand a one-row cache to many rows without copying; the given cache stays unchanged.

    Sharing is safe because layers concatenate new keys into a new tensor.
    """
    wide = copy.copy(cache)
    layers: list[Any] = [copy.copy(layer) for layer in cache.layers]
    for layer in layers:
        layer.keys = layer.keys.expand(rows, -1, -1, -1)
        layer.values = layer.values.expand(rows, -1, -1, -1)
    wide.layers = layers
    return wide


ATTACKS: tuple[Gcg, ...] = (
    Gcg("gcg", TargetOpener()),
    Gcg("gcg_anti_refusal", AntiRefusal()),
    Gcg("gcg_low_entropy", LowEntropy()),
)
