"""The last turn of a conversation."""

from collections.abc import Sequence

from sirl.types import Message

__all__ = ["before_last_turn", "last_of_several", "last_turn"]


def last_turn(messages: Sequence[Message]) -> tuple[Message, ...]:
    """System messages and what the user has said since the last answer, with a begun one.

    >>> said = [("system", "a"), ("user", "b"), ("assistant", "c"), ("user", "d"), ("user", "e")]
    >>> [m.content for m in last_turn([Message(role, text) for role, text in said])]
    ['a', 'd', 'e']
    """
    earlier = before_last_turn(messages)
    instructions = (m for m in earlier if m.role == "system")
    return (*instructions, *messages[len(earlier) :])


def last_of_several(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The last turn of a conversation; empty if it is the only one."""
    last = last_turn(messages)
    return () if last == tuple(messages) else last


def before_last_turn(messages: Sequence[Message]) -> tuple[Message, ...]:
    """A conversation up to the answer before the last turn; empty if that is the only one."""
    start = max((n for n, m in enumerate(messages) if m.role == "user"), default=0)
    while start and messages[start - 1].role != "assistant":
        start -= 1
    return tuple(messages[:start])
