"""Continuous batching in one thread, which owns the model.

transformers has a scheduler for this (`generate_batch`, `ContinuousBatchingManager`).
It cannot serve a guard: it returns token ids and optional log-probabilities of processed logits,
while a check needs hidden states behind a *fork* of a stream's cache and the entropy of raw logits;
its paged cache offers no such fork to a caller; its draws come from one generator for the whole
batch, so an answer would depend on who else is asking; and it takes one sampling setting for all.
Therefore sirl has its own scheduler. Between two steps streams join (their prompts are prefilled
together) and leave, and all checks requested in the meantime run as one batch. A long prompt, or
last turn that is read by itself, is prefilled in chunks, one between two steps, so that it does not
hold up the other streams.
"""

import logging
import math
import queue
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

import torch

from sirl.errors import ModelError
from sirl.guard.slots import DecodingBatch, Drawn, Stream
from sirl.guard.stream_checks import Checks, CheckScorer, Join, Told, Wanted
from sirl.models.chat import ChatModel
from sirl.models.forward import head_factor

__all__ = ["CHUNK", "Batcher"]

LOG = logging.getLogger("sirl.guard")
SHARE = 1024
"""Columns of the cache that each of the most streams may have when all run."""
CHUNK = 256
"""Tokens of a long prompt that are run between two steps."""


def settle(answer: Future[Any], work: Callable[[], Any]) -> None:
    """Run work for its result, if it is still wanted."""
    if not answer.set_running_or_notify_cancel():
        return
    try:
        answer.set_result(work())
    except Exception as error:
        answer.set_exception(error)


def told_to(joined: Join, told: Told) -> bool:
    """Tell a stream something; False if its event loop has ended."""
    try:
        joined.tell(told)
    except RuntimeError:  # its event loop has ended
        LOG.warning("a stream is gone without having been closed")
        return False
    return True


def refuse(inbox: "queue.SimpleQueue[Any]", error: Exception) -> None:
    """Answer all that waits in an inbox with an error."""
    while True:
        try:
            wanted = inbox.get_nowait()
        except queue.Empty:
            return
        match wanted:
            case Join() as joined:
                told_to(joined, error)
            case Wanted(answer=answer) | (_, Future() as answer):
                if answer.set_running_or_notify_cancel():
                    answer.set_exception(error)


def joining(
    waiting: Iterable[Stream], decoded: Sequence[Stream], most: int, cells: int
) -> list[Stream]:
    """The waiting streams, in order, for which there is room.

    Args:
        waiting: Streams that want to join.
        decoded: Those that are in the batch.
        most: Rows at most.
        cells: Rows x columns at most; a stream alone always has room.
    """
    new: list[Stream] = []
    for stream in waiting:
        rows = [*decoded, *new, stream]
        wide = max(len(s.prompt_ids) + s.max_tokens for s in rows)
        if len(rows) > most or (len(rows) > 1 and len(rows) * wide > cells):
            break
        new.append(stream)
    return new


def ends(stream: Stream, drawn: Drawn, end_ids: Collection[int]) -> bool:
    """Whether this token is the last of its stream."""
    return drawn.token_id in end_ids or len(stream.token_ids) >= stream.max_tokens


class Batcher:
    """Decodes streams together in a separate thread.

    Args:
        chat: The model.
        scorer: Scores checks; None if nothing is watched.
        most: Maximum number of streams decoded together.
        chunk: Tokens of a long prompt that are run between two steps.
    """

    def __init__(
        self, chat: ChatModel, scorer: CheckScorer | None, most: int, chunk: int = CHUNK
    ) -> None:
        self.chat = chat
        self.scorer = scorer
        self.most = most
        self.chunk = chunk
        self.cells = max(chat.context, most * SHARE)
        """Rows x columns of the cache at most: every row is as wide as the longest."""
        self.batch = DecodingBatch(chat, head_factor(chat))
        self._inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._waiting: dict[Stream, Join] = {}
        self._known: dict[Stream, Join] = {}
        self._checks = Checks(scorer)
        self._over = False
        """Whether the thread has ended."""
        self._thread = threading.Thread(target=self._run, name="sirl-batcher", daemon=True)

    @property
    def alive(self) -> bool:
        """Whether the thread takes requests."""
        return not self._over

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
        self._put(Join(stream, tell, begun))

    def leave(self, stream: Stream) -> None:
        """Forget a stream, finished or not."""
        self._put(stream)

    def check(self, stream: Stream, position: int) -> Future[float]:
        """The score of a stream's first tokens."""
        wanted = Wanted(stream, position, Future())
        self._put(wanted)
        return wanted.answer

    def call(self, work: Callable[[], Any]) -> Future[Any]:
        """Run other work on the model between two steps."""
        answer: Future[Any] = Future()
        self._put((work, answer))
        return answer

    @torch.inference_mode()
    def _run(self) -> None:
        """The thread."""
        try:
            while self._goes_on():
                pass
        finally:
            self._over = True
            error = ModelError(f"{self.chat.name} has stopped decoding")
            self._end_all(error)
            refuse(self._inbox, error)

    def _goes_on(self) -> bool:
        """One round of the thread. False: stop."""
        try:
            if not self._read_inbox():
                return False
            self._admit()
            self._checks.run(self.batch, self._known, self._waiting)
            self._step()
        except Exception as error:  # a fault of the model ends the streams, not the server
            LOG.exception("decoding failed")
            self._end_all(error)
            self.batch = DecodingBatch(self.chat, self.batch.factor)
        return True

    def _put(self, wanted: object) -> None:
        """Hand something to the thread; one that has ended refuses it at once."""
        self._inbox.put(wanted)
        if self._over:
            refuse(self._inbox, ModelError(f"{self.chat.name} has stopped decoding"))

    def _read_inbox(self) -> bool:
        """Read the inbox; wait for it if there is nothing to do. False: stop."""
        idle = not (self.batch.streams or self._waiting or self._checks.wanted)
        while idle or not self._inbox.empty():
            idle = False
            match self._inbox.get():
                case None:
                    return False
                case Join() as joined:
                    self._waiting[joined.stream] = self._known[joined.stream] = joined
                case Wanted() as wanted:
                    self._checks.wanted.append(wanted)
                case Stream() as stream:
                    self._forget(stream)
                case (work, answer):
                    settle(answer, work)
        return True

    def _forget(self, stream: Stream) -> None:
        self._known.pop(stream, None)
        self._waiting.pop(stream, None)
        for prompt in stream.read:
            prompt.parked = None
        if stream in self.batch.streams:
            self.batch.leave([stream], keep=False)

    def _admit(self) -> None:
        """Let waiting streams join, in order, while there is room for them and their answers.

        A long prompt keeps its room while it waits for its last chunk.
        """
        new = joining(self._waiting, self.batch.streams, self.most, self.cells)
        long = {s: [p for p in s.read if p.unread > self.chunk] for s in new}
        ready = [s for s in new if not long[s]]
        if first := next((s for s in new if long[s]), None):
            self._attempt([first], partial(self.batch.prefill, long[first][0], self.chunk))
        in_part = [[s] for s in ready if s.parked]
        for streams in [[s for s in ready if not s.parked], *in_part]:
            if streams and self._attempt(streams, partial(self.batch.join, streams)):
                for stream in streams:
                    del self._waiting[stream]

    def _attempt(self, streams: Sequence[Stream], work: Callable[[], None]) -> bool:
        """Run prompts; a fault ends these streams. Whether it went well."""
        try:
            work()
        except Exception as error:  # the batch is as it was: the others go on
            LOG.exception("streams could not join")
            for stream in streams:
                del self._waiting[stream]
                told_to(self._known.pop(stream), error)
            return False
        return True

    def _step(self) -> None:
        """Draw a token for every stream and run it; streams that end leave."""
        if not self.batch.streams:
            return
        drawn = dict(zip(self.batch.streams, self.batch.draw(), strict=True))
        if not all(math.isfinite(d.entropy) and math.isfinite(d.logprob) for d in drawn.values()):
            raise ModelError(f"{self.chat.name} gave logits that are not finite")
        ended = [s for s, d in drawn.items() if ends(s, d, self.chat.end_ids)]
        if ended:
            self.batch.leave(ended, keep=True)
        for stream, token in drawn.items():
            self._tell(stream, token)
        for stream in ended:
            self._tell(stream, None)
        if self.batch.streams:
            self.batch.advance()

    def _tell(self, stream: Stream, told: Told) -> None:
        """Tell a stream something; one that cannot hear it any more is forgotten."""
        if stream in self._known and not told_to(self._known[stream], told):
            self._forget(stream)

    def _end_all(self, error: Exception) -> None:
        """End all streams and checks with an error; the batch, which may be broken, is not used."""
        self._checks.fail(error)
        known, self._known, self._waiting = self._known, {}, {}
        for joined in known.values():
            told_to(joined, error)
