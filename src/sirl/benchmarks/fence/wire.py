"""Remote calls between the tests and the answer, with plain data as results.

Both ends are a `Wire`. Values are sent as JSON, so that an object with overridden equality, truth
or arithmetic never reaches the other end: it arrives as a plain value, as a function that makes a
remote call, or as an `Opaque` that equals only itself.
"""

import builtins
import json
import os
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from itertools import islice
from typing import Any, Final

__all__ = ["AnswerError", "Opaque", "UnsendableError", "Wire"]

LONGEST = 16 << 20
"""Maximum bytes of a message."""
EXACT = 1 << 53
"""Integers from this size on are sent in hexadecimal, which has no limit on digits."""
COLLECTIONS: Final[dict[str, Callable[[Any], Any]]] = {
    "list": list,
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "keys": lambda items: dict.fromkeys(items).keys(),
    "dict": dict,
    "Counter": lambda pairs: Counter(dict(pairs)),
    "OrderedDict": OrderedDict,
    "defaultdict": lambda parts: defaultdict(parts[0], parts[1:]),
    "deque": lambda parts: deque(parts[1:], parts[0]),
    "items": lambda parts: Items(parts[0], parts[1:]),
    "range": lambda ends: range(*ends),
    "complex": lambda parts: complex(*parts),
    "slice": lambda ends: slice(*ends),
}
WRITTEN: Final[dict[str, Callable[[str], Any]]] = {
    "int": lambda text: int(text, 16),
    "bytes": bytes.fromhex,
    "bytearray": bytearray.fromhex,
    "object": lambda kind: Opaque(str(kind)),
}
"""Types that are sent as text."""
RARE = {
    "decimal.Decimal": "__call__",
    "fractions.Fraction": "__call__",
    "datetime.date": "fromisoformat",
    "datetime.datetime": "fromisoformat",
    "datetime.time": "fromisoformat",
}
"""Types of rarely used modules, sent as text, with the method that parses it."""
PACKED: Final[dict[Any, Callable[[Any], Any]]] = {
    int: lambda n: n if -EXACT < n < EXACT else ["int", hex(n)],
    bytes: lambda data: ["bytes", data.hex()],
    bytearray: lambda data: ["bytearray", data.hex()],
}
COLLECTED: Final[dict[Any, Callable[[Any], Any]]] = {
    list: iter,
    tuple: iter,
    set: iter,
    frozenset: iter,
    dict: lambda pairs: pairs.items(),
    Counter: lambda pairs: pairs.items(),
    OrderedDict: lambda pairs: pairs.items(),
    defaultdict: lambda pairs: (pairs.default_factory, *pairs.items()),
    deque: lambda items: (items.maxlen, *items),
    complex: lambda z: (z.real, z.imag),
    range: lambda r: (r.start, r.stop, r.step),
    slice: lambda s: (s.start, s.stop, s.step),
}
"""Types that are sent as their items."""
PLAIN: Final[tuple[Any, ...]] = (
    int, float, complex, str, bytes, bytearray, list, tuple, set, frozenset,
    Counter, OrderedDict, dict, deque,
)  # fmt: skip
"""Types whose subclasses are sent as themselves."""
SINGLE = 64
"""Items of an iterator that are fetched one by one, since the next one may never come."""
TOGETHER = 1024
"""Maximum items that are fetched at once afterwards."""


class AnswerError(Exception):
    """The answer raised an error that is not an ordinary built-in one."""


class UnsendableError(TypeError):
    """A test passes an object that cannot be sent to the answer's process."""


class Opaque:
    """Placeholder for an object that cannot be sent; equals only itself."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __repr__(self) -> str:
        return f"<{self.kind}>"


class Items(Opaque):
    """Placeholder for an iterable that cannot be sent itself, such as an array."""

    def __init__(self, kind: str, items: list[Any]) -> None:
        super().__init__(kind)
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.items)

    def __getitem__(self, place: Any) -> Any:  # noqa: ANN401 - index or slice, and anything
        return self.items[place]


class Wire:
    """One end of the connection.

    Attributes:
        fault: Why further messages are invalid; None while the connection works. It is permanent,
            so that a test that catches every error cannot hide that the answer left.
    """

    def __init__(self, end: int, names: Mapping[str, Any], *, trusted: bool) -> None:
        self.end = end
        self.names = names
        self.trusted = trusted
        """Whether this is the tests' end, which refuses to send objects it cannot send exactly."""
        self.fault: str | None = None
        self.functions: dict[str, Callable[..., Any]] = {}

    def function(self, name: str) -> Callable[..., Any]:
        """A function that calls the function of that name at the other end."""

        def far(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - any function
            return self.call(name, args, kwargs)

        far.__name__ = far.__qualname__ = name
        return far

    def call(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:  # noqa: ANN401
        """Call a function of the other end; its changes to lists, sets and dicts are applied here.

        Raises:
            Exception: The function raised this built-in error.
            AnswerError: It raised another error, or the other end has left.
        """
        self.send("call", name, [self.pack(a) for a in args], self.pack(dict(kwargs)))
        heard = self.outcome()
        try:
            if heard[0] == "gave":
                value, changes = self.unpack(heard[1]), heard[2]
                given: dict[Any, Any] = {**dict(enumerate(args)), **kwargs}
                for place, new in changes:
                    overwrite(given[place], self.unpack(new))
                return value
            error = error_of(*map(str, heard[1:3]))
            leaves = bool(heard[3])
        except (LookupError, TypeError, ValueError, RecursionError) as fault:
            raise self.lost("the answer's process broke the protocol") from fault
        if leaves:
            raise self.lost(f"the answer left: {error}")
        raise error

    def outcome(self) -> list[Any]:
        """The result of a call; calls from the other end are served meanwhile."""
        while True:
            heard = self.receive()
            if heard[0] != "call":
                return heard
            self.obey(*heard[1:])

    def serve(self) -> None:
        """Serve calls until the other end leaves."""
        while self.fault is None:
            try:
                heard = self.receive()
            except AnswerError:
                return
            self.obey(*heard[1:])

    def obey(self, name: str, args: list[Any], kwargs: Any) -> None:  # noqa: ANN401 - JSON
        """Call a function of this end and send its result."""
        try:
            given, named = [self.unpack(a) for a in args], self.unpack(kwargs)
            value = self.pack(self.named(name)(*given, **named))
            sent = {**dict(enumerate(args)), **{pair[1]: pair[2] for pair in kwargs[1:]}}
            places = {**dict(enumerate(given)), **named}
            after = [(p, self.pack(a)) for p, a in places.items() if isinstance(a, CHANGING)]
            self.send("gave", value, [(p, new) for p, new in after if new != sent[p]])
        except BaseException as error:  # noqa: BLE001 - every error is sent
            leaves = not isinstance(error, Exception)
            self.send("raised", type(error).__name__, str(error)[:1000], leaves)

    def named(self, name: str) -> Callable[..., Any]:
        """A function of this end by name."""
        if name in self.functions:
            return self.functions[name]
        if name not in self.names:
            raise NameError(f"name {name!r} is not defined")
        found: Callable[..., Any] = self.names[name]
        return found

    def lost(self, fault: str) -> AnswerError:
        """Record a fault of the connection and return the error to raise."""
        self.fault = self.fault or fault
        return AnswerError(fault)

    def send(self, *message: Any) -> None:  # noqa: ANN401 - JSON
        """Send a message."""
        body = json.dumps(message).encode()
        if len(body) > LONGEST:
            raise ValueError(f"a value of {len(body)} bytes is too long to be sent")
        rest = memoryview(len(body).to_bytes(4, "big") + body)
        try:
            while rest:
                rest = rest[os.write(self.end, rest) :]
        except OSError as gone:
            raise self.lost("the answer's process has ended") from gone

    def receive(self) -> list[Any]:
        """The next message.

        Raises:
            AnswerError: The other end has left or broke the protocol.
        """
        length = int.from_bytes(self.read(4), "big")
        if length > LONGEST:
            raise self.lost("the answer's process broke the protocol")
        try:
            heard = json.loads(self.read(length))
        except (ValueError, RecursionError) as fault:
            raise self.lost("the answer's process broke the protocol") from fault
        if not isinstance(heard, list) or not heard:
            raise self.lost("the answer's process broke the protocol")
        return heard

    def read(self, length: int) -> bytes:
        """Read exactly `length` bytes."""
        found = bytearray()
        while len(found) < length:
            try:
                more = os.read(self.end, length - len(found))
            except OSError:
                more = b""
            if not more:
                raise self.lost("the answer's process has ended")
            found += more
        return bytes(found)

    def pack(self, value: Any) -> Any:  # noqa: ANN401 - anything, to JSON
        """A value as JSON."""
        kind = type(value)
        if value is None or kind in (bool, str, float):
            return value
        if kind in PACKED:
            return PACKED[kind](value)
        if kind in COLLECTED:
            return [kind.__name__, *map(self.pack, COLLECTED[kind](value))]
        for plain in PLAIN:
            if isinstance(value, plain):
                return self.pack(plain(value))
        return self.pack_rare(value)

    def pack_rare(self, value: Any) -> Any:  # noqa: ANN401 - anything, to JSON
        """A value of a rare or user-defined type as JSON."""
        kind = type(value)
        name = f"{kind.__module__}.{kind.__qualname__}"
        if name in RARE:
            return [name, value.isoformat() if hasattr(value, "isoformat") else str(value)]
        if kind.__module__ == "numpy" and getattr(value, "ndim", None) == 0:
            return self.pack(value.item())
        if kind is type({}.keys()):
            return ["keys", *map(self.pack, value)]
        return self.pack_object(value, name)

    def pack_object(self, value: Any, name: str) -> Any:  # noqa: ANN401 - anything, to JSON
        """A function, an iterable or an opaque object as JSON."""
        if isinstance(value, Items):
            return ["items", value.kind, *map(self.pack, value)]
        if isinstance(value, Opaque) or (self.trusted and isinstance(value, BaseException)):
            raise AnswerError(f"{value!r} of the answer cannot be handed back to it")
        if callable(value):
            key = f"#{len(self.functions)}"
            self.functions[key] = value
            return ["function", key]
        if hasattr(type(value), "__iter__"):
            if hasattr(type(value), "__len__"):
                return ["items", name, *map(self.pack, value)]
            return ["iterator", self.pack(some_of(iter(value)))]
        if self.trusted:
            raise UnsendableError(name)
        return ["object", name]

    def unpack(self, sent: Any) -> Any:  # noqa: ANN401 - JSON, to anything
        """The value of its JSON form.

        Raises:
            LookupError, TypeError, ValueError: The JSON is invalid.
        """
        if not isinstance(sent, list):
            if isinstance(sent, dict):
                raise TypeError("no object is sent")
            return sent
        kind, *items = sent
        if kind == "function":
            return self.function(str(items[0]))
        if kind == "iterator":
            return fetched(self.function(str(items[0][1])))
        if kind in WRITTEN:
            return WRITTEN[kind](items[0])
        if kind in RARE:
            module, name = kind.split(".")
            return getattr(getattr(import_module(module), name), RARE[kind])(items[0])
        return COLLECTIONS[kind]([self.unpack(item) for item in items])


def some_of(items: Iterator[Any]) -> Callable[[int], list[Any]]:
    """A function that returns whether an error follows, then the next items of an iterator.

    If it returns fewer items than requested, they are the last ones.
    """
    late: list[Exception] = []

    def some(count: int) -> list[Any]:
        found: list[Any] = []
        if late:
            raise late.pop()
        try:
            found.extend(islice(items, count))
        except Exception as error:
            if not found:
                raise
            late.append(error)
        return [bool(late), *found]

    return some


def fetched(some: Callable[[int], Any]) -> Iterator[Any]:
    """The items of an iterator of the other end, fetched on demand."""
    had, count = 0, 1
    while True:
        fails, *items = some(count)
        yield from items
        had += len(items)
        if len(items) < count and not fails:
            return
        count = 1 if had < SINGLE else min(2 * count, TOGETHER)


CHANGING = (list, dict, set, bytearray, deque)


def overwrite(old: Any, new: Any) -> None:  # noqa: ANN401 - anything
    """Apply the function's changes to an argument."""
    if type(old) is not type(new) or not isinstance(old, CHANGING):
        raise TypeError("an argument that cannot change has changed")
    if isinstance(old, list | bytearray):
        old[:] = new
        return
    old.clear()
    if isinstance(old, deque):
        old.extend(new)
    else:
        old.update(new)


def error_of(name: str, text: str) -> Exception:
    """A built-in error by name; `AnswerError` for any other and for StopIteration."""
    kind = getattr(builtins, name, None)
    ends = (StopIteration, StopAsyncIteration)
    if isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, ends):
        return ValueError(text) if issubclass(kind, UnicodeError) else kind(text)
    return AnswerError(f"{name}: {text}")
