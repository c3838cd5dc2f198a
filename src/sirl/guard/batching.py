"""Continuous batching in one thread, which owns the model.

transformers has a scheduler for this (`generate_batch`, `ContinuousBatchingManager`).
It cannot serve a guard: it returns token ids and optional log-probabilities of processed logits,
while a check needs hidden states behind a *fork* of a stream's cache and the entropy of raw logits;
its paged cache offers no such fork to a caller; its draws come from one generator for the whole
batch, so an answer would depend on who else is asking; and it takes one sampling setting for all.
So this scheduler is ours. It is small: between two steps streams join (their prompts are prefilled
together) and leave, and all checks that have been asked for meanwhile run as one batch.

Prompts are not prefilled in chunks: a long one delays the next token of the others.
"""

import logging
import math
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from sirl.errors import ModelError
from sirl.guard.checks import Check, CheckReader
from sirl.guard.probe import LinearProbe
from sirl.guard.slots import Batch, Drawn, Layers, Stream, behind, prefix
from sirl.models.chat import ChatModel
from sirl.models.forward import head_factor
from sirl.rollouts.local import left_padded
from sirl.types import Completion

__all__ = ["Batcher", "Scorer"]

LOG = logging.getLogger("sirl.guard")
Told = Drawn | Exception | None
"""What a stream hears: a token, a failure, or None at its end."""


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


def settle(answer: "Future[Any]", work: Callable[[], Any]) -> None:
    """Run work for its result."""
    try:
        answer.set_result(work())
    except Exception as error:
        answer.set_exception(error)


def stacked(parts: Sequence[Layers], pasts: Sequence[int], wide: int) -> Layers:
    """Caches of several streams as one, padded on the left."""
    cut = [prefix(layers, 0, past) for layers, past in zip(parts, pasts, strict=True)]
    return [
        tuple(
            torch.cat([torch.nn.functional.pad(t, (0, 0, wide - t.shape[2], 0)) for t in side])
            for side in zip(*pairs, strict=True)
        )  # type: ignore[misc]
        for pairs in zip(*cut, strict=True)
    ]


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


class Batcher:
    """Decodes streams together in a thread of its own.

    Args:
        chat: The model.
        scorer: Scores checks; None if nothing is watched.
        most: Streams that are decoded together at most.
    """

    def __init__(self, chat: ChatModel, scorer: Scorer | None, most: int) -> None:
        self.chat = chat
        self.scorer = scorer
        self.most = most
        self.batch = Batch(chat, head_factor(chat))
        self._inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._waiting: list[Join] = []
        self._known: dict[Stream, Join] = {}
        self._checks: list[Wanted] = []
        self._thread = threading.Thread(target=self._run, name="sirl-batcher", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread after its current step."""
        self._inbox.put(None)
        self._thread.join()

    def join(self, stream: Stream, tell: Callable[[Told], None], *, begun: bool) -> None:
        """Decode a stream; `tell` is called in the thread with each token, then with None.

        `begun` says whether its prompt begins the answer.
        """
        self._inbox.put(Join(stream, tell, begun))

    def leave(self, stream: Stream) -> None:
        """Forget a stream, finished or not."""
        self._inbox.put(stream)

    def check(self, stream: Stream, position: int) -> "Future[float]":
        """The score of a stream's first tokens."""
        wanted = Wanted(stream, position, Future())
        self._inbox.put(wanted)
        return wanted.answer

    def call(self, work: Callable[[], Any]) -> "Future[Any]":
        """Run other work on the model between two steps."""
        answer: Future[Any] = Future()
        self._inbox.put((work, answer))
        return answer

    @torch.inference_mode()
    def _run(self) -> None:
        """The thread."""
        while self._heard():
            try:
                self._admit()
                self._run_checks()
                self._step()
            except Exception as error:  # a fault of the model ends the streams, not the server
                LOG.exception("decoding failed")
                self._fail(error)
        self._fail(ModelError("the server has stopped"))

    def _heard(self) -> bool:
        """Read the inbox; wait for it if there is nothing to do. False: stop."""
        idle = not (self.batch.streams or self._waiting or self._checks)
        while idle or not self._inbox.empty():
            idle = False
            match self._inbox.get():
                case None:
                    return False
                case Join() as joined:
                    self._waiting.append(joined)
                    self._known[joined.stream] = joined
                case Wanted() as wanted:
                    self._checks.append(wanted)
                case Stream() as stream:
                    self._forget(stream)
                case (work, answer):
                    settle(answer, work)
        return True

    def _forget(self, stream: Stream) -> None:
        self._known.pop(stream, None)
        self._waiting = [j for j in self._waiting if j.stream is not stream]
        stream.parked = None
        if stream in self.batch.streams:
            self.batch.leave([stream], keep=False)

    def _admit(self) -> None:
        """Let waiting streams join while there is room."""
        room = self.most - len(self.batch.streams)
        if new := self._waiting[: max(0, room)]:
            self._waiting = self._waiting[len(new) :]
            self.batch.join([j.stream for j in new])

    def _run_checks(self) -> None:
        """Run the checks whose streams have been prefilled, as one batch."""
        ready = [w for w in self._checks if w.stream not in {j.stream for j in self._waiting}]
        self._checks = [w for w in self._checks if w not in ready]
        alive = [w for w in ready if w.stream in self._known]
        for gone in (w for w in ready if w not in alive):
            gone.answer.cancel()
        if not alive:
            return
        try:
            if self.scorer is None:
                raise ModelError("nothing is watched")
            scores = self.scorer.scores([self._row(w, self.scorer.reader) for w in alive])
        except Exception as error:
            for wanted in alive:
                wanted.answer.set_exception(error)
            return
        for wanted, score in zip(alive, scores, strict=True):
            wanted.answer.set_result(score)

    def _row(self, wanted: Wanted, reader: CheckReader) -> tuple[tuple[int, ...], Layers]:
        """The tokens of a check, and what is cached of them."""
        stream, position, _ = wanted
        own = tuple(stream.token_ids[:position])
        so_far = Completion("", stream.prompt_ids, own, "", (), (), "length")
        ids = reader.ids(Check(so_far, position, self._known[stream].begun))
        cached = min(stream.cached, len(stream.prompt_ids) + position)
        return ids, self.batch.part(stream, cached)

    def _step(self) -> None:
        """Draw a token for every stream and run it; streams that end leave."""
        if not self.batch.streams:
            return
        drawn = dict(zip(self.batch.streams, self.batch.draw(), strict=True))
        if not all(math.isfinite(d.entropy) and math.isfinite(d.logprob) for d in drawn.values()):
            raise ModelError(f"{self.chat.name} gave logits that are not finite")
        ended = [s for s, d in drawn.items() if self._ends(s, d)]
        if ended:
            self.batch.leave(ended, keep=True)
        for stream, token in drawn.items():
            self._known[stream].tell(token)
        for stream in ended:
            self._known[stream].tell(None)
        if self.batch.streams:
            self.batch.advance()

    def _ends(self, stream: Stream, drawn: Drawn) -> bool:
        """Whether this token is the last of its stream."""
        return drawn.token_id in self.chat.end_ids or len(stream.token_ids) >= stream.max_tokens

    def _fail(self, error: Exception) -> None:
        """End all streams and checks with an error."""
        for wanted in self._checks:
            wanted.answer.set_exception(error)
        for joined in self._known.values():
            joined.tell(error)
        self._known, self._waiting, self._checks = {}, [], []
        self.batch = Batch(self.chat, self.batch.factor)
