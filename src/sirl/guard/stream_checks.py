"""The checks of streams that are being decoded, on forks of their caches."""

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from typing import NamedTuple

import numpy as np
import torch
from torch.nn.functional import pad

from sirl.errors import ModelError
from sirl.guard.checks import ROWS, Check
from sirl.guard.scoring import Fitted
from sirl.guard.slots import DecodingBatch, Drawn, Layers, Stream, behind, prefix
from sirl.models.chat import ChatModel
from sirl.rollouts.local import left_padded
from sirl.types import Completion

__all__ = ["CheckRow", "CheckScorer", "Checks", "Join", "Told", "Wanted"]

CACHED = 1 << 16
"""Cached tokens of all rows per forward pass, which copies them."""

Told = Drawn | Exception | None
"""What a stream hears: a token, a failure, or None at its end."""


class Join(NamedTuple):
    """A stream begins."""

    stream: Stream
    tell: Callable[[Told], None]
    begun: bool


class Wanted(NamedTuple):
    """A check that was asked for."""

    stream: Stream
    position: int
    answer: Future[float]


class CheckRow(NamedTuple):
    """The tokens of a check, and what is cached of them."""

    ids: tuple[int, ...]
    layers: Layers

    @property
    def past(self) -> int:
        """Tokens that need not be run; the last one always is."""
        return min(self.layers[0][0].shape[2], len(self.ids) - 1)


class CheckScorer:
    """Scores checks as a guard does.

    Args:
        chat: The model.
        fitted: What the guard has learned from it.
    """

    def __init__(self, chat: ChatModel, fitted: Fitted) -> None:
        self.fitted = fitted
        self.reader = fitted.reader(chat)

    def rows(
        self, stream: Stream, position: int, batch: DecodingBatch, *, begun: bool
    ) -> list[CheckRow]:
        """What a check of a stream reads: the answer so far; first, the prompt at cuts too."""
        own = tuple(stream.token_ids[:position])
        so_far = Completion("", stream.prompt_ids, own, "", (), (), "length")
        length = min(stream.cached, len(stream.prompt_ids) + position)
        check = CheckRow(
            self.reader.ids(Check(so_far, position, begun)), batch.part(stream, length)
        )
        return [check] if position else [check, *self.cuts(stream, batch)]

    def cuts(self, stream: Stream, batch: DecodingBatch) -> list[CheckRow]:
        """A prompt at the cuts of its last turn, and at its end."""
        alone = stream.turn.prompt_ids if stream.turn else ()
        own, cuts = self.reader.cutter.cuts_of_turns(stream.prompt_ids, alone)
        layers = batch.cache_of(stream.turn) if stream.turn else []
        turn = [CheckRow(cut.ids, prefix(layers, 0, cut.kept)) for cut in own]
        return [*turn, *(CheckRow(cut.ids, batch.part(stream, cut.kept)) for cut in cuts)]

    def scores(self, checks: Sequence[Sequence[CheckRow]]) -> list[float]:
        """The score of each check, from its rows."""
        states = iter(self.states([row for own in checks for row in own]))
        found = []
        for own in checks:
            first, *others = [next(states) for _ in own]
            score = self.fitted.probe.score(first[None, 0])
            cuts = self.fitted.cuts.score(np.stack(others)[:, 1]) if others else score
            found.append(float(max(score.max(), cuts.max())))
        return found

    def states(self, rows: Sequence[CheckRow]) -> list[np.ndarray]:
        """The states (layers x width) of each row, in batches whose caches fit in memory."""
        found: dict[int, np.ndarray] = {}
        order = sorted(range(len(rows)), key=lambda n: rows[n].past)
        while order:
            size = min(ROWS, max(1, CACHED // max(1, rows[order[-1]].past)))
            chosen, order = order[-size:], order[:-size]
            found |= zip(chosen, self.forward([rows[n] for n in chosen]), strict=True)
        return [found[n] for n in range(len(rows))]

    def forward(self, rows: Sequence[CheckRow]) -> np.ndarray:
        """The states (rows x layers x width) of rows in one forward pass."""
        pasts = [row.past for row in rows]
        ids = [row.ids[row.past :] for row in rows]
        input_ids, is_token = left_padded(self.reader.chat, ids)
        wide = max(pasts)
        cached = torch.zeros(len(rows), wide, dtype=torch.long, device=is_token.device)
        for n, past in enumerate(pasts):
            cached[n, wide - past :] = 1
        mask = torch.cat([cached, is_token], dim=1)
        found = self.reader.forward(
            input_ids=input_ids,
            attention_mask=mask,
            position_ids=(mask.cumsum(dim=1) - 1).clamp(min=0)[:, wide:],
            past_key_values=behind(stacked([row.layers for row in rows], pasts, wide)),
            use_cache=True,
        )
        return found.states


def stacked(parts: Sequence[Layers], pasts: Sequence[int], wide: int) -> Layers:
    """Caches of several streams as one, padded on the left."""
    cut = [prefix(layers, 0, past) for layers, past in zip(parts, pasts, strict=True)]
    return [
        tuple(
            torch.cat([pad(t, (0, 0, wide - t.shape[2], 0)) for t in side])
            for side in zip(*pairs, strict=True)
        )  # type: ignore[misc]
        for pairs in zip(*cut, strict=True)
    ]


class Checks:
    """Checks that were asked for and have not run; each round runs them as one batch."""

    def __init__(self, scorer: CheckScorer | None) -> None:
        self.scorer = scorer
        self.wanted: list[Wanted] = []

    def run(
        self, batch: DecodingBatch, known: Mapping[Stream, Join], waiting: Collection[Stream]
    ) -> None:
        """Run the checks whose streams have been prefilled."""
        ready = [w for w in self.wanted if w.stream not in waiting]
        self.wanted = [w for w in self.wanted if w.stream in waiting]
        ready = [w for w in ready if w.answer.set_running_or_notify_cancel()]
        alive = [w for w in ready if w.stream in known]
        for gone in (w for w in ready if w.stream not in known):
            gone.answer.set_exception(ModelError("the stream of this check has ended"))
        rows: dict[Wanted, list[CheckRow]] = {}
        for wanted in alive:
            try:
                rows[wanted] = self.rows(wanted, batch, begun=known[wanted.stream].begun)
            except Exception as error:  # noqa: BLE001 - of this check alone, which its future tells
                wanted.answer.set_exception(error)
        if self.scorer is None or not rows:
            return
        try:
            scores = self.scorer.scores([*rows.values()])
        except Exception as error:
            for wanted in rows:
                wanted.answer.set_exception(error)
            return
        for wanted, score in zip(rows, scores, strict=True):
            wanted.answer.set_result(score)

    def rows(self, wanted: Wanted, batch: DecodingBatch, *, begun: bool) -> list[CheckRow]:
        """What one check reads."""
        if self.scorer is None:
            raise ModelError("nothing is watched")
        return self.scorer.rows(wanted.stream, wanted.position, batch, begun=begun)

    def fail(self, error: Exception) -> None:
        """End all checks with an error."""
        for wanted in self.wanted:
            if wanted.answer.set_running_or_notify_cancel():
                wanted.answer.set_exception(error)
        self.wanted = []
