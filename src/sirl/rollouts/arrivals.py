"""Collects answers of endpoints and functions as they arrive, and handles failed requests.

A request that fails for good is recorded with its reason if the target answers others. A target
that answers none, or has load or server errors that do not end, is an outage, which ends the work,
so that it can be resumed.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Generic, Literal, TypeVar

from sirl.errors import ModelError, OutageError
from sirl.types import Completion, Message

__all__ = [
    "HELLO",
    "SHORTEST_STREAK",
    "About",
    "Contact",
    "Deliver",
    "Lost",
    "Streak",
    "in_order",
    "losses_apart",
    "streamed",
]

About = Literal["prompt", "request", "server", "silence", "endpoint"]
"""The scope of a failure: the target works but blocked this prompt; this request cannot be served;
the server or the account cannot serve it now; the target answers no greeting and may never have
done so; it cannot be used at present."""
HELLO = (Message("user", "Reply with the word yes."),)
"""A greeting; a target that fails a request and answers this is not out."""
SHORTEST_STREAK = 3
"""Consecutive failures that indicate a fault of the target rather than of a prompt."""
UNGREETED = " (a greeting was not answered either)"
"""Ends the sentence of an outage for which a greeting was tried."""
PATIENCE = 1.0
"""Seconds that cancelled requests have to end."""
Found = TypeVar("Found")
Asked = TypeVar("Asked")
Deliver = Callable[[Found], Awaitable[None]]
"""Delivers a result and waits until the consumer has taken it."""


@dataclass(frozen=True)
class Lost:
    """A request that failed for good."""

    sentence: str
    """What happened and how to fix it, for the user."""
    fault: str
    """The same for the record, as `kind: what happened`."""
    about: About
    paused: bool = False
    """Whether it was given up because the endpoint asks for a long pause."""


@dataclass
class Contact(Generic[Asked]):
    """What a target has answered in this run; shared by engines that differ in sampling."""

    answers: int = 0
    """Number of answers, those to greetings included."""
    greeted: bool = False
    """Whether it has answered a greeting."""
    last: Asked | None = None
    """What it answered last."""
    failed: int = 0
    """Failures in a row at the end of the last call."""

    def note(self, asked: Asked) -> None:
        """Note an answer."""
        self.answers += 1
        self.last = asked

    def proof(self) -> Asked | None:
        """What to ask again if a greeting is not answered; None if that is proof enough."""
        return None if self.greeted else self.last

    def ungreeted(self, lost: Lost, *, again: bool) -> Lost:
        """The loss with its scope if no greeting is answered; `again`: the last prompt is."""
        about: About = "endpoint" if self.answers and not again else "silence"
        return replace(lost, about=about, sentence=lost.sentence + UNGREETED)


@dataclass
class Streak:
    """Failures in a row within one call of an engine, and the outage that they show.

    Nothing is sent once there is an outage.
    """

    contact: Contact[Any]
    longest: int
    """Failures of the server in a row that are an outage although greetings are answered."""
    unproven: int = SHORTEST_STREAK
    """Failures in a row that are one if no greeting has ever been answered."""
    failed: int = field(init=False)
    first: str = ""
    outage: str = ""
    """The sentence of the failure that showed it; empty if there is none."""

    def __post_init__(self) -> None:
        self.failed = self.contact.failed

    def note(self, found: object) -> None:
        """Count a result."""
        if not isinstance(found, Lost) or found.about in ("prompt", "request"):
            self.failed, self.first = 0, ""
            return
        self.failed, self.first = self.failed + 1, self.first or found.sentence
        limit = self.unproven if found.about == "silence" else self.longest
        if found.about == "endpoint":
            self.outage = self.outage or found.sentence
        elif self.failed >= limit:
            self.outage = self.outage or self.first

    def end(self) -> None:
        """Raise OutageError if there is an outage."""
        self.contact.failed = 0 if self.outage else self.failed
        if self.outage:
            raise OutageError(self.outage)


Arrivals = Iterable[list[tuple[int, Completion | Lost]]]


def losses_apart(
    arrivals: Arrivals, streak: Streak, apart: Callable[[int, Lost], Completion]
) -> Generator[list[tuple[int, Completion]], None, None]:
    """Completions by index; `apart` turns a lost request into a completion with a fault.

    Failures that may belong to an outage are held back to the end and dropped if there is one, so
    that a resumed run asks again. Answers that arrive after the outage are still yielded. The
    consumer may throw in an outage of its own, such as that of a judge.

    Raises:
        OutageError: There is one.
    """
    held: list[tuple[int, Completion]] = []
    for together in arrivals:
        out = []
        for index, found in together:
            if isinstance(found, Completion):
                out.append((index, found))
            elif found.about == "prompt":
                out.append((index, apart(index, found)))
            else:
                held.append((index, apart(index, found)))
        if out:
            try:
                yield out
            except OutageError as elsewhere:
                streak.outage = streak.outage or str(elsewhere)
                yield []
    streak.end()
    if held:
        yield held


def streamed(
    main: Callable[[Deliver[Found]], Coroutine[Any, Any, None]],
) -> Generator[list[Found], None, None]:
    """The results that a coroutine delivers; results that are ready together form one list.

    It runs in a thread, so that requests continue while results are judged, and signals are
    handled at once. Closing the iterator cancels it. ModelError: no event loop can be created.
    """
    box: SimpleQueue[tuple[Found, asyncio.Event] | BaseException | None] = SimpleQueue()
    begun: Future[tuple[asyncio.AbstractEventLoop, asyncio.Task[None]]] = Future()

    async def deliver(found: Found) -> None:
        taken = asyncio.Event()
        box.put((found, taken))
        await taken.wait()

    async def noted() -> None:
        task = asyncio.current_task()
        assert task is not None  # this runs as one
        begun.set_result((asyncio.get_running_loop(), task))
        await main(deliver)

    def work() -> None:
        try:
            with asyncio.Runner() as runner:
                runner.get_loop()  # fails here rather than with an unawaited coroutine
                runner.run(noted())
        except BaseException as error:  # re-raised in the consumer
            if not begun.done():  # no event loop, such as without file descriptors
                begun.set_exception(error)
            box.put(error)
        else:
            box.put(None)

    thread = Thread(target=work, name="requests", daemon=True)
    thread.start()
    try:
        loop, task = begun.result()
    except OSError as error:
        raise ModelError(
            f"requests cannot be sent: {error}; check the limits of this machine (ulimit -a)"
        ) from error
    try:
        while together := taken_from(box, loop):
            yield together
    finally:
        with suppress(RuntimeError):  # the loop has already ended
            loop.call_soon_threadsafe(task.cancel)
        thread.join(PATIENCE)


def taken_from(
    box: "SimpleQueue[tuple[Found, asyncio.Event] | BaseException | None]",
    loop: asyncio.AbstractEventLoop,
) -> list[Found]:
    """All waiting results, at least one; empty at the end. Errors are raised in order."""
    results: list[Found] = []
    entry = box.get()
    while True:
        if isinstance(entry, BaseException) or entry is None:
            if results:
                box.put(entry)  # it is the last entry
            elif entry is not None:
                raise entry
            return results
        found, taken = entry
        loop.call_soon_threadsafe(taken.set)
        results.append(found)
        try:
            entry = box.get_nowait()
        except Empty:
            return results


def in_order(come: Iterable[list[tuple[int, Completion]]]) -> list[Completion]:
    """All completions, ordered by index."""
    found = dict(pair for together in come for pair in together)
    return [found[index] for index in range(len(found))]
