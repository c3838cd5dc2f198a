"""The checks of streams that are being decoded, behind forks of their caches."""

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch.nn.functional import pad

from sirl.errors import ModelError
from sirl.guard.checks import Check, CheckReader
from sirl.guard.probe import LinearProbe
from sirl.guard.slots import Batch, Drawn, Layers, Stream, behind, prefix
from sirl.rollouts.local import left_padded
from sirl.types import Completion

__all__ = ["Checks", "Join", "Scorer", "Told", "Wanted"]

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
    answer: "Future[float]"


@dataclass(frozen=True)
class Scorer:
    """Scores checks with a probe."""

    reader: CheckReader
    probe: LinearProbe

    def scores(self, rows: Sequence[tuple[tuple[int, ...], Layers]]) -> list[float]:
        """Scores of several checks in one forward pass.

        Args:
            rows: The tokens of each check, and the cache of its first tokens.
        """
        chat = self.reader.chat
        pasts = [min(layers[0][0].shape[2], len(ids) - 1) for ids, layers in rows]
        ids = [own[past:] for (own, _), past in zip(rows, pasts, strict=True)]
        input_ids, is_token = left_padded(chat, ids)
        wide = max(pasts)
        cached = torch.zeros(len(rows), wide, dtype=torch.long, device=is_token.device)
        for row, past in enumerate(pasts):
            cached[row, wide - past :] = 1
        mask = torch.cat([cached, is_token], dim=1)
        states, _, _ = self.reader.forward(
            input_ids=input_ids,
            attention_mask=mask,
            position_ids=(mask.cumsum(dim=1) - 1).clamp(min=0)[:, wide:],
            past_key_values=behind(stacked([layers for _, layers in rows], pasts, wide)),
            use_cache=True,
        )
        found: list[float] = self.probe.score(states[:, 0]).tolist()
        return found


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

    def __init__(self, scorer: Scorer | None) -> None:
        self.scorer = scorer
        self.wanted: list[Wanted] = []

    def run(self, batch: Batch, known: Mapping[Stream, Join], waiting: Collection[Stream]) -> None:
        """Run the checks whose streams have been prefilled."""
        ready = [w for w in self.wanted if w.stream not in waiting]
        self.wanted = [w for w in self.wanted if w.stream in waiting]
        ready = [w for w in ready if w.answer.set_running_or_notify_cancel()]
        alive = [w for w in ready if w.stream in known]
        for gone in (w for w in ready if w.stream not in known):
            gone.answer.set_exception(ModelError("the stream of this check has ended"))
        if not alive:
            return
        try:
            if self.scorer is None:
                raise ModelError("nothing is watched")
            rows = [self.row(w, batch, known[w.stream].begun) for w in alive]
            scores = self.scorer.scores(rows)
        except Exception as error:
            for wanted in alive:
                wanted.answer.set_exception(error)
            return
        for wanted, score in zip(alive, scores, strict=True):
            wanted.answer.set_result(score)

    def row(self, wanted: Wanted, batch: Batch, begun: bool) -> tuple[tuple[int, ...], Layers]:
        """The tokens of a check, and what is cached of them."""
        if self.scorer is None:
            raise ModelError("nothing is watched")
        stream, position, _ = wanted
        own = tuple(stream.token_ids[:position])
        so_far = Completion("", stream.prompt_ids, own, "", (), (), "length")
        ids = self.scorer.reader.ids(Check(so_far, position, begun))
        return ids, batch.part(stream, min(stream.cached, len(stream.prompt_ids) + position))

    def fail(self, error: Exception) -> None:
        """End all checks with an error."""
        for wanted in self.wanted:
            if wanted.answer.set_running_or_notify_cancel():
                wanted.answer.set_exception(error)
        self.wanted = []
