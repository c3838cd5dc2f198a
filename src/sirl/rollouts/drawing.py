"""How tokens are drawn, whoever computes the logits; engines in this process share it.

The uniforms that pick a token are a function of (run seed, step, prompt id, sample, position),
never of the batch. The last bits of a logit do depend on the batch, and would move a choice where
a uniform falls on the edge between two tokens; a vocabulary laid out in one line has thousands of
edges. So a token is picked going down a tree of sums, with a uniform of its own for each fork.
What is noted of a token is taken from the very logits that it was drawn from, at temperature 1
and before anything is ruled out. All of it stays on the device of the logits until the rows are
written, so that nothing waits for a token.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from sirl.entropy import TokenNumbers, token_numbers
from sirl.errors import InputError
from sirl.models.chat import ChatModel
from sirl.models.memory import out_of_memory
from sirl.types import Completion, Prompt, Sampling

__all__ = [
    "DRAWS",
    "Decoder",
    "Draft",
    "Row",
    "check_room",
    "kept",
    "left_padded",
    "like_lengths",
    "pick",
    "row_key",
    "sampled",
    "uniforms",
]

GOLDEN = 0x9E3779B97F4A7C15
"""2^64 over the golden ratio: SplitMix64's step."""
FREE = Sampling()
"""The model's own distribution."""
FAN = 8
"""Branches of each fork on the way down to a token."""
DRAWS = 8
"""Uniforms a token: as many forks as 8^8 = 17 million tokens need."""
CACHED = 1 << 18
"""Logits that a processor's cache holds with what is made of them."""


@dataclass(frozen=True)
class Row:
    """One completion that is to be written."""

    prompt: Prompt
    prompt_ids: tuple[int, ...]
    sample: int
    key: int


class Draft:
    """Completions while they are written, on the device of their logits."""

    def __init__(
        self, rows: Sequence[Row], chat: ChatModel, new_tokens: int, sampling: Sampling
    ) -> None:
        self.rows = rows
        self.sampling = sampling
        size, device = (len(rows), new_tokens), chat.device
        draws = uniforms([row.key for row in rows], new_tokens)
        self.uniforms = torch.from_numpy(draws).float().to(device)
        """rows x new_tokens x draws, in [0, 1]."""
        self.ends = torch.tensor(sorted(chat.end_ids), device=device)
        self.token_ids = torch.zeros(size, dtype=torch.long, device=device)
        self.numbers = torch.zeros(len(TokenNumbers._fields), *size, device=device)
        """Log-probability, entropy and certainty (3 x rows x new_tokens), in nats."""
        self.lengths = torch.zeros(len(rows), dtype=torch.long, device=device)
        self.running = torch.ones(len(rows), dtype=torch.bool, device=device)

    def draw(self, logits: Tensor, position: int, alive: Tensor) -> Tensor:
        """The next token of the rows at the indices `alive`, noted.

        Of a row that has ended anything may be drawn; it stays at its length.
        """
        draws, found = self.uniforms[alive, position], []
        for part in tiles(logits):
            token_ids = pick(logits[part], draws[part], self.sampling)
            found.append((token_ids, *token_numbers(logits[part], token_ids)))
        token_ids, *numbers = (torch.cat(column) for column in zip(*found, strict=True))
        self.token_ids[alive, position] = token_ids
        self.numbers[:, alive, position] = torch.stack(numbers).float()
        self.lengths[alive] += self.running[alive]
        self.running[alive] &= ~torch.isin(token_ids, self.ends)
        return token_ids

    def completions(self, chat: ChatModel, seed: int) -> list[Completion]:
        """The finished rows as values."""
        columns = (self.token_ids, *self.numbers, self.lengths, self.running)
        found = []
        for row, ids, logprobs, entropies, certainties, length, runs in zip(
            self.rows, *(column.tolist() for column in columns), strict=True
        ):
            found.append(
                Completion(
                    prompt_id=row.prompt.id,
                    prompt_ids=row.prompt_ids,
                    token_ids=tuple(ids[:length]),
                    text=chat.decode(ids[: length if runs else length - 1]),
                    logprobs=tuple(logprobs[:length]),
                    entropies=tuple(entropies[:length]),
                    finish="length" if runs else "stop",
                    sample=row.sample,
                    seed=seed,
                    certainties=tuple(certainties[:length]),
                    version=chat.version,
                )
            )
        return found


@runtime_checkable
class Decoder(Protocol):
    """An engine as what writes rows to their end."""

    @property
    def chat(self) -> ChatModel:
        """The model that is sampled from."""
        ...

    @property
    def seed(self) -> int:
        """Seed of the run."""
        ...

    @property
    def new_tokens(self) -> int:
        """Longest completion, in tokens."""
        ...

    @property
    def sampling(self) -> Sampling:
        """How tokens are picked."""
        ...

    @property
    def rows(self) -> int:
        """Completions decoded together."""
        ...

    def decode(self, prompts: Sequence[tuple[int, ...]], draft: Draft, group: int) -> None:
        """Write all rows to their end. Rows are prompts x group, siblings adjacent."""
        ...


def sampled(
    engine: Decoder, prompts: Sequence[Prompt], *, group: int, step: int
) -> list[Completion]:
    """`group` completions of each prompt, siblings adjacent, in the order of the prompts.

    A batch that does not fit the memory is read as two halves, and so on down to one prompt.

    Raises:
        InputError: A prompt leaves no room for an answer; it is never cut.
    """
    rendered = [engine.chat.render(p.messages) for p in prompts]
    for prompt, ids in zip(prompts, rendered, strict=True):
        check_room(engine.chat, engine.new_tokens, prompt, ids)
    done: dict[tuple[int, int], Completion] = {}
    waiting = like_lengths([len(ids) for ids in rendered], max(1, engine.rows // group))
    while waiting:
        chosen = waiting.pop(0)
        rows = [
            Row(prompts[i], rendered[i], s, row_key(engine.seed, step, prompts[i].id, s))
            for i in chosen
            for s in range(group)
        ]
        draft = Draft(rows, engine.chat, engine.new_tokens, engine.sampling)
        try:
            engine.decode([rendered[i] for i in chosen], draft, group)
        except RuntimeError as error:
            if not out_of_memory(error) or len(chosen) == 1:
                raise
            waiting[:0] = halves(chosen)  # uniforms do not depend on the batch
            continue
        places = ((i, s) for i in chosen for s in range(group))
        done.update(zip(places, draft.completions(engine.chat, engine.seed), strict=True))
    return [done[i, s] for i in range(len(prompts)) for s in range(group)]


def check_room(chat: ChatModel, new_tokens: int, prompt: Prompt, ids: Sequence[int]) -> None:
    """Refuse a prompt that leaves no room for an answer."""
    if len(ids) + new_tokens > chat.context:
        raise InputError(
            f"prompt {prompt.id} has {len(ids)} tokens; with {new_tokens} new ones it "
            f"exceeds the context of {chat.context}: shorten it or lower new_tokens"
        )


def left_padded(chat: ChatModel, prompts: Sequence[tuple[int, ...]]) -> tuple[Tensor, Tensor]:
    """Prompts padded on the left, and which are tokens (prompts x longest prompt)."""
    width = max(len(ids) for ids in prompts)
    input_ids = torch.full((len(prompts), width), chat.pad_id)
    is_token = torch.zeros_like(input_ids)
    for row, ids in enumerate(prompts):
        input_ids[row, width - len(ids) :] = torch.tensor(ids)
        is_token[row, width - len(ids) :] = 1
    return input_ids.to(chat.device), is_token.to(chat.device)


def like_lengths(lengths: Sequence[int], most: int) -> list[list[int]]:
    """Indices of prompts that are read together: at most `most`, less than half of it padding.

    >>> like_lengths([40, 900, 30, 50, 1000], most=2)
    [[2, 0], [3], [1, 4]]
    """
    batches: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        last = batches[-1] if batches else []
        if last and len(last) < most and lengths[i] < 2 * lengths[last[0]]:
            last.append(i)
        else:
            batches.append([i])
    return batches


def row_key(seed: int, step: int, prompt_id: str, sample: int) -> int:
    """The 64-bit key of a completion's stream of uniforms."""
    name = f"{seed}\0{step}\0{sample}\0{prompt_id}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big")


def uniforms(keys: Sequence[int], positions: int) -> np.ndarray:
    """Float64 in [0, 1): keys x positions x draws, each the SplitMix64 hash of its place.

    Source: Steele et al., 2014.
    """
    steps = np.arange(1, positions * DRAWS + 1, dtype=np.uint64)
    with np.errstate(over="ignore"):
        x = np.array(keys, dtype=np.uint64)[:, None] + steps * np.uint64(GOLDEN)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x = x ^ (x >> np.uint64(31))
    uniform: np.ndarray = (x >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return uniform.reshape(len(keys), positions, DRAWS)


def pick(logits: Tensor, uniforms: Tensor, sampling: Sampling = FREE) -> Tensor:
    """Token of each row (rows x vocab): at every fork a uniform (rows x draws) chooses the branch.

    Never a token of probability zero, whatever the rounding: the cut stays below the total.
    """
    wide = logits.float()
    if sampling.temperature == 0:
        return wide.argmax(dim=-1)
    forks = tree(kept((wide / sampling.temperature).softmax(dim=-1), sampling))
    place = torch.zeros(len(wide), dtype=torch.long, device=wide.device)
    for fork, uniform in zip(reversed(forks), uniforms.unbind(dim=1), strict=False):
        here = place[:, None, None].expand(-1, FAN, 1)
        mass = fork.gather(2, here).squeeze(2).cumsum(dim=1)
        total = mass[:, -1]
        cut = torch.minimum(uniform * total, torch.nextafter(total, torch.zeros_like(total)))
        place = place + (mass <= cut.unsqueeze(1)).sum(dim=1) * fork.shape[2]
    return place


def tiles(logits: Tensor) -> list[slice]:
    """Rows that are looked at together: on a processor, few enough to stay in its cache."""
    rows, vocab = logits.shape
    size = max(1, CACHED // vocab) if logits.device.type == "cpu" else rows
    return [slice(start, start + size) for start in range(0, rows, size)]


def tree(probs: Tensor) -> list[Tensor]:
    """Sums of probabilities (rows x vocab) from the leaves up, each rows x branches x places.

    The branches of a place lie as far apart as there are places: what is added up lies in rows.

    >>> [tuple(fork.shape) for fork in tree(torch.ones(2, 100))]
    [(2, 8, 13), (2, 8, 2), (2, 8, 1)]
    """
    forks, sums = [], probs
    while sums.shape[1] > 1:
        places = -(-sums.shape[1] // FAN)
        whole = pad(sums, (0, FAN * places - sums.shape[1]))
        forks.append(whole.view(-1, FAN, places))
        sums = forks[-1].sum(dim=1)
    return forks


def kept(probs: Tensor, sampling: Sampling) -> Tensor:
    """The probabilities with those that top-k and top-p rule out at zero; not normalised.

    Top-p keeps the fewest likeliest tokens whose sum reaches it, one at least.
    """
    if sampling.top_k:
        least = probs.topk(min(sampling.top_k, probs.shape[-1]), dim=-1).values[:, -1:]
        probs = probs.where(probs >= least, 0.0)
    if sampling.top_p < 1:
        ordered, order = probs.sort(dim=-1, descending=True, stable=True)
        before = ordered.cumsum(dim=-1) - ordered
        ruled_out = before >= sampling.top_p * ordered.sum(dim=-1, keepdim=True)
        ruled_out[:, 0] = False
        probs = probs.masked_fill(torch.zeros_like(ruled_out).scatter(1, order, ruled_out), 0.0)
    return probs


def halves(chosen: list[int]) -> list[list[int]]:
    """A batch as two, for a second try with less memory."""
    middle = len(chosen) // 2
    return [chosen[:middle], chosen[middle:]]
