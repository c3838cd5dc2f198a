"""Serves an app with uvicorn; shuts down gracefully on SIGTERM."""

import asyncio
import logging
import math
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

import uvicorn
from fastapi import FastAPI

from sirl.errors import ConfigError
from sirl.guard.server.gate import Gate

__all__ = ["bound", "listen"]

LOG = logging.getLogger("sirl.guard")
GRACE = 5
"""Seconds beyond the drain after which connections are cut."""
POLL = 0.05
"""Seconds between two looks at what still runs."""


class Server(uvicorn.Server):
    """A server whose first signal closes the gates: running answers end, new ones are refused.

    It listens until they have ended, so that whoever asks learns that it is not ready.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        gates: Sequence[Gate],
        drain: float,
        ready: Callable[[str], None],
    ) -> None:
        super().__init__(config)
        self.ready = ready
        self.gates = gates
        self.drain = drain
        self.loop: asyncio.AbstractEventLoop | None = None
        """Where it listens; None before that."""
        self.end = 0.0
        """When the drain is over, by the clock of the event loop."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain, then exit; a second signal ends listening, a second Ctrl-C everything.

        Before it listens there is nothing to drain.
        """
        if self.loop is None or any(gate.draining for gate in self.gates):
            self.should_exit = True
            super().handle_exit(sig, frame)
            return
        for gate in self.gates:
            gate.drain()
        self.loop.call_soon_threadsafe(self.begin_drain, sig)

    def begin_drain(self, sig: int) -> None:
        """Start to drain, in the event loop."""
        loop = asyncio.get_running_loop()
        self.end = loop.time() + self.drain
        self.draining = loop.create_task(self.drained(sig))

    async def drained(self, sig: int) -> None:
        """Exit once no answer runs; after the given time those that do end with an error."""
        LOG.warning(
            "%s: the server shuts down; answers that have %g seconds to end: %d",
            signal.Signals(sig).name, self.drain, sum(g.active + g.waiting for g in self.gates),
        )  # fmt: skip
        while self.busy and asyncio.get_running_loop().time() < self.end:
            await asyncio.sleep(POLL)
        for gate in self.gates:
            gate.cut()
        super().handle_exit(sig, None)

    @property
    def busy(self) -> bool:
        """Whether an answer is being made, or waits."""
        return any(gate.active or gate.waiting for gate in self.gates)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the connections, at the latest a little after the drain."""
        now = asyncio.get_running_loop().time()
        left = max(0.0, self.end - now) if self.busy else 0.0
        self.config.timeout_graceful_shutdown = math.ceil(left) + GRACE
        await super().shutdown(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say where."""
        self.loop = asyncio.get_running_loop()
        await super().startup(sockets)
        if self.servers:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            self.ready(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens at an address; port 0 takes a free one.

    It listens before a server runs, since two sockets that only are bound may share an address.

    Raises:
        ConfigError: The address is taken, or not one of this machine.
    """
    own = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        own.bind((host, port))
        own.listen()
    except OSError as error:
        own.close()
        raise ConfigError(
            f"the server cannot listen at {host}, port {port}: {error.strerror}; give another "
            "--port or --host"
        ) from error
    return own


def listen(app: FastAPI, at: socket.socket, *, drain: float, ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        app: The app, whose gates are those of all that it serves.
        at: A socket that listens, which is closed at the end.
        drain: Seconds that running answers have to finish.
        ready: Called with the address once the server listens.
    """
    config = uvicorn.Config(
        app, host=at.getsockname()[0], log_level="warning", access_log=False,
        server_header=False, lifespan="off",
    )  # fmt: skip
    with signals_kept():
        Server(config, app.state.gates, drain, ready).run(sockets=[at])


@contextmanager
def signals_kept() -> Iterator[None]:
    """Take the signals that uvicorn raises again once it has ended."""
    before = {s: signal.signal(s, lambda *_: None) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
