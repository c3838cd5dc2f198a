"""Collects answers of endpoints and functions as they arrive, and handles failed requests.

Once the target has answered anything, a request that fails for good is recorded with its reason;
before that, a target that fails every request is an error.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Literal, TypeVar

from sirl.errors import ModelError
from sirl.types import Completion

__all__ = ["About", "Contact", "Deliver", "Lost", "in_order", "losses_apart", "streamed"]

About = Literal["prompt", "request", "server", "endpoint"]
"""What a failure says: the target works and blocked this prompt; this request cannot be served;
the server was in trouble, perhaps with this request alone; nothing can be asked at present."""
SHORTEST_STREAK = 3
"""Failures in a row that speak against the target rather than against one prompt."""
PATIENCE = 1.0
"""Seconds that a cancelled request has to end."""
Found = TypeVar("Found")
Deliver = Callable[[Found], Awaitable[None]]
"""Hands a result over, and waits until it is taken."""


@dataclass(frozen=True)
class Lost:
    """A request that failed for good."""

    sentence: str
    """What happened and the way out, for a person."""
    fault: str
    """The same for the record of the item: `kind: what happened`."""
    about: About


@dataclass
class Contact:
    """Whether a target has ever answered; shared by the engines that ask it."""

    proven: bool = False


Arrivals = Iterable[list[tuple[int, Completion | Lost]]]


def losses_apart(
    arrivals: Arrivals,
    contact: Contact,
    sizes: tuple[int, int],
    apart: Callable[[int, Lost], Completion],
) -> Generator[list[tuple[int, Completion]], None, None]:
    """Results by index, with each lost one as the completion that `apart` makes of it.

    Failures that may be of the whole target are held back until it answers again, so that an
    outage leaves nothing behind; after as many as are asked together it is given up. `sizes` are
    how many are asked together, and in all.

    Raises:
        ModelError: It never answered, or stopped answering.
    """
    held: list[tuple[int, Lost]] = []
    streak = max(sizes[0], SHORTEST_STREAK)
    for together in arrivals:
        out = []
        for index, found in together:
            if isinstance(found, Completion):
                out.append((index, found))
            elif found.about == "prompt" or (contact.proven and found.about == "request"):
                out.append((index, apart(index, found)))
            else:
                held.append((index, found))
                continue
            contact.proven = True
            out += [(i, apart(i, lost)) for i, lost in held]
            held = []
        if out:
            yield out
        if len(held) >= (streak if contact.proven else min(streak, sizes[1])):
            raise ModelError(held[0][1].sentence)
    if held and (not contact.proven or any(lost.about == "endpoint" for _, lost in held)):
        raise ModelError(held[0][1].sentence)
    if held:
        yield [(i, apart(i, lost)) for i, lost in held]


def streamed(
    main: Callable[[Deliver[Found]], Coroutine[Any, Any, None]],
) -> Generator[list[Found], None, None]:
    """What a coroutine delivers; results that came together come in one list.

    It runs in a thread, so that requests go on while results are judged, and a signal is heard
    at once. Closing the iterator cancels it. ModelError: this machine cannot begin.
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
                runner.get_loop()  # it fails before there is a coroutine that nothing awaits
                runner.run(noted())
        except BaseException as error:  # it is raised where the results are read
            if not begun.done():  # no loop could be made, as where no file can be opened
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
            f"nothing can be asked: {error}; see which limit of this machine is reached (ulimit -a)"
        ) from error
    try:
        while together := taken_from(box, loop):
            yield together
    finally:
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(task.cancel)
        thread.join(PATIENCE)


def taken_from(
    box: "SimpleQueue[tuple[Found, asyncio.Event] | BaseException | None]",
    loop: asyncio.AbstractEventLoop,
) -> list[Found]:
    """All results that wait, at least one; nothing at the end. An error is raised in its turn."""
    results: list[Found] = []
    entry = box.get()
    while True:
        if isinstance(entry, BaseException) or entry is None:
            if results:
                box.put(entry)  # nothing follows it
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
    """Completions that come with their index, by their index."""
    found = dict(pair for together in come for pair in together)
    return [found[index] for index in range(len(found))]
