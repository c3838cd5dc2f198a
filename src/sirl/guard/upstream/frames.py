"""Server-sent events, from bytes that arrive in any chunks."""

from collections.abc import Iterator

__all__ = ["LONGEST", "BrokenFrameError", "Frames"]

LONGEST = 1 << 20
"""Bytes of one event at most."""


class BrokenFrameError(ValueError):
    """The bytes are not events."""


class Frames:
    """Splits a stream into the data of its events; where the bytes are cut does not matter."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> Iterator[str]:
        """The data of the events that these bytes complete; to be read to its end.

        Raises:
            BrokenFrameError: An event is too long or no UTF-8.
        """
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            self._check(line)
            plain = line.removesuffix(b"\r")
            if plain.startswith(b"data:"):
                self._data.append(plain.removeprefix(b"data:").removeprefix(b" "))
            elif not plain and self._data:
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
