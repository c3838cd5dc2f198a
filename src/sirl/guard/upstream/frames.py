"""Server-sent events, from bytes that arrive in any chunks."""

import re
from collections.abc import Iterator

__all__ = ["LONGEST", "BrokenFrameError", "Frames"]

LONGEST = 1 << 20
"""Bytes of one event at most."""
LINE_END = re.compile(rb"\r\n|\r|\n")


class BrokenFrameError(ValueError):
    """The bytes are not events."""


class Frames:
    """Splits a stream into the data of its events; where the bytes are cut does not matter."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._after_return = False
        """Whether the last byte was \\r: a \\n behind it belongs to the same end of line."""

    def feed(self, chunk: bytes) -> Iterator[str]:
        """The data of the events that these bytes complete; to be read to its end.

        Raises:
            BrokenFrameError: An event is too long or no UTF-8.
        """
        new = chunk.removeprefix(b"\n") if self._after_return else chunk
        self._after_return = chunk.endswith(b"\r") if chunk else self._after_return
        *lines, self._rest = LINE_END.split(self._rest + new)
        for line in lines:
            self._check(line)
            if line.startswith(b"data:"):
                self._data.append(line.removeprefix(b"data:").removeprefix(b" "))
            elif not line and self._data:
                yield self._event()
        self._check(self._rest)

    def _check(self, line: bytes) -> None:
        if len(line) + sum(map(len, self._data)) > LONGEST:
            raise BrokenFrameError(f"sent an event of more than {LONGEST} bytes")

    def _event(self) -> str:
        data, self._data = b"\n".join(self._data), []
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise BrokenFrameError("sent an event that is not UTF-8") from error
