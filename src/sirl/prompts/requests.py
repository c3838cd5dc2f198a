"""Reads the request of a row from its fields: a conversation, or a text with its material."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, get_args

from sirl.prompts.files import is_missing, shown, text_fault
from sirl.prompts.labels import Fields
from sirl.prompts.parts import has_words, part_fault
from sirl.text import many, normalised
from sirl.types import Message, Role

__all__ = [
    "ROLES",
    "SEPARATOR",
    "TEXT_KEYS",
    "TURNS",
    "TURN_KEYS",
    "Found",
    "asked_key",
    "read_fields",
]

TURN_KEYS = ("messages", "conversations", "conversation")
TEXT_KEYS = ("prompt", "goal", "instruction", "question", "behavior", "behaviour", "query")
"""In order of preference."""
SEPARATOR = "\n\n---\n\n"
"""Separates context and request of a contextual behaviour."""
CONTEXT_KEYS = ("contextstring", "context")
"""Material that stands in front of its request."""
INPUT_KEYS = ("input",)
"""Material that stands behind an instruction, as in Alpaca's rows."""
FRONT_KEYS, BACK_KEYS = ("passage", "document", "article", "paragraph"), ("input", "inputs")
"""Other names of material in front of a request and behind it, if they hold words."""
SYSTEM_KEYS = ("systemprompt", "system")
ROLES: Mapping[str, Role] = {
    **{role: role for role in get_args(Role)},
    "developer": "system", "human": "user", "gpt": "assistant", "chatgpt": "assistant",
}  # fmt: skip
"""Roles by name; OpenAI's developer speaks as the system, and the last three are from ShareGPT."""
TEXT_PARTS = ("text", "input_text", "output_text")
"""Types of parts of OpenAI's messages that are text."""
MARK = re.compile(
    r"<[|\uff5c][^\s<>|\uff5c]{1,40}[|\uff5c]>|\[/?(?:INST|SYSTEM_PROMPT)\]|<</?SYS>>"
    r"|<(?:start|end)_of_turn>|<\|turn>|<turn\|>|<[be]os>"
    r"|(?:^###? ?(?:Assistant|Response)|\s(?:ASSISTANT|Assistant)):(?=\s*\Z)"
    r"|\A\s*(?i:human|user):(?=\s(?s:.*)\s(?i:ai|assistant|bot):)",
    re.MULTILINE,
)
"""Marks of turns in chat templates, and the names of speakers in transcripts."""
TURNS = re.compile(r"\s*\[\s*\{\s*['\"](role|content|from|value)['\"]\s*:")


class Found(NamedTuple):
    """The messages of a row and the names of the fields they were read from."""

    messages: tuple[Message, ...] = ()
    names: tuple[str, ...] = ()
    fault: str = ""
    answered: bool = False
    """Whether an answer ends the conversation in the file; it is no part of the messages."""


def read_fields(fields: Fields) -> Found:
    """The conversation of a row, or its fault."""
    if fault := part_fault(fields):
        return Found(fault=fault)
    fields = present(fields)
    system, fault = one_text(fields, SYSTEM_KEYS)
    if fault:
        return Found(fault=fault)
    front = (Message("system", system[1]),) if system else ()
    key = asked_key(fields)
    if not key:
        listed = next((f"; {texts_in(*held)}" for held in fields.values() if texts_in(*held)), "")
        return Found(fault=f"none of {', '.join((*TEXT_KEYS, *TURN_KEYS))} is present{listed}")
    name, value = fields[key]
    turns = isinstance(value, list) or (isinstance(value, str) and TURNS.match(value))
    if key in TURN_KEYS or turns:
        return with_system(front, system, read_turns(name, value))
    found = with_system(front, system, read_text(fields, key))
    if mark := next(filter(None, (MARK.search(m.content) for m in found.messages)), None):
        way = "give the turns in messages, or remove it"
        return Found(
            fault=f"the prompt holds {shown(mark[0].strip())}, a mark of chat templates: {way}"
        )
    return found


def present(fields: Fields) -> Fields:
    """The fields, with None for each that stands for no value beside the request."""
    return {
        key: (name, None if key not in TEXT_KEYS and is_missing(value) else value)
        for key, (name, value) in fields.items()
    }


def asked_key(fields: Fields) -> str:
    """The folded name of the column that is asked; empty if there is none."""
    turns = (k for k in TURN_KEYS if k in fields and fields[k][1] not in (None, ""))
    return next(turns, "") or next((k for k in TEXT_KEYS if k in fields), "")


def with_system(front: tuple[Message, ...], system: tuple[str, str] | None, found: Found) -> Found:
    """A conversation with the system turn of its row in front."""
    if found.fault or system is None:
        return found
    if found.messages[0].role == "system":
        return Found(fault=f"{shown(system[0])} and a system turn are both given: remove one")
    return found._replace(messages=(*front, *found.messages), names=(*found.names, system[0]))


def read_text(fields: Fields, key: str) -> Found:
    """A single-turn request with its material."""
    name, text = fields[key]
    if not isinstance(text, str):
        return Found(fault=f"{shown(name)} is not text")
    if text.strip() and is_missing(text):
        return Found(fault=f"{shown(name)} is {shown(text.strip())!r}, which stands for no prompt")
    context, fault = one_text(fields, CONTEXT_KEYS)
    given, other = one_text(fields, INPUT_KEYS if key == "instruction" else ())
    context = context or worded(fields, FRONT_KEYS)
    given = given or worded(fields, BACK_KEYS)
    if fault := fault or other or ("" if text.strip() else text_fault(text)):
        return Found(fault=fault)
    names = (name, *(material[0] for material in (given, context) if material))
    request = normalised(text)  # material that only repeats it is not asked again
    if given and normalised(given[1]) != request:
        text = f"{text.strip()}\n\n{given[1]}"
    if context and normalised(context[1]) != request:
        # Contextual behaviours: the context comes first, as in HarmBench.
        text = f"{context[1]}{SEPARATOR}{text}"
    return Found((Message("user", text.strip()),), names, text_fault(text))


def worded(fields: Fields, keys: Sequence[str]) -> tuple[str, str] | None:
    """Name and text of the first of these fields that holds words, not a number or a list."""
    held = (fields[k] for k in keys if k in fields)
    return next(((name, value) for name, value in held if has_words(value)), None)


def one_text(fields: Fields, keys: Sequence[str]) -> tuple[tuple[str, str] | None, str]:
    """Name and text of the non-empty one of these fields, or its fault."""
    held = [fields[k] for k in keys if k in fields and fields[k][1] not in (None, "")]
    held = [(name, v) for name, v in held if not isinstance(v, str) or v.strip()]
    if not held:
        return None, ""
    name, value = held[0]
    if any(v != value for _, v in held):
        return None, f"{shown(name)} and {shown(held[1][0])} differ: remove one"
    if not isinstance(value, str):
        return None, f"{shown(name)} is not text"
    return (name, value), text_fault(value)


def read_turns(name: str, turns: Any) -> Found:  # noqa: ANN401 - any JSON value
    """Chat messages, or their fault; table cells hold them as JSON."""
    if isinstance(turns, str):
        try:
            turns = json.loads(turns)
        except (ValueError, RecursionError):
            return Found(fault=f"{shown(name)} is not a list of turns in JSON")
    if not isinstance(turns, list) or not turns:
        return Found(fault=f"{shown(name)} is not a list of turns")
    if fault := texts_in(name, turns):
        return Found(fault=fault)
    messages = []
    for turn in turns:
        message, fault = read_turn(turn)
        if message is None or fault:
            return Found(fault=fault)
        messages.append(message)
    answered = messages[-1].role == "assistant"
    asked = messages[:-1] if answered else messages
    if not asked or asked[-1].role != "user":
        last = "turn before the answer" if answered else "last turn"
        return Found(fault=f"the {last} is not the user's")
    return Found(tuple(asked), (name,), answered=answered)


def texts_in(name: str, value: Any) -> str:  # noqa: ANN401 - any JSON value
    """The fault of a list of texts where a row has one request; empty for any other value."""
    if not isinstance(value, list) or not value or not all(isinstance(v, str) for v in value):
        return ""
    way = 'give each text a row of its own, such as {"prompt": "..."}'
    return f"{shown(name)} is a list of {many(len(value), 'text')}: {way}"


def read_turn(turn: Any) -> tuple[Message | None, str]:  # noqa: ANN401 - any JSON value
    """A turn given as `role` and `content` or as `from` and `value`, or its fault."""
    said = turn.get("role", turn.get("from")) if isinstance(turn, dict) else None
    known = ", ".join(get_args(Role))
    if not isinstance(said, str):
        return None, f"a turn has no role: give it one of {known}"
    role = ROLES.get(said)
    if role is None:
        return None, f"a turn has the role {shown(said)!r}, which is none of {known}"
    text, fault = joined(turn.get("content", turn.get("value")))
    return Message(role, text), fault or text_fault(text)


def joined(content: Any) -> tuple[str, str]:  # noqa: ANN401 - any JSON value
    """The content of a turn, whose text may be in parts as in OpenAI's messages, or its fault."""
    parts = content if isinstance(content, list) else [content]
    texts = [part.get("text") if isinstance(part, dict) else part for part in parts]
    kinds = [part.get("type", "text") for part in parts if isinstance(part, dict)]
    if other := next((str(kind) for kind in kinds if kind not in TEXT_PARTS), ""):
        return "", f"a turn has a part of type {shown(other)}, and sirl asks text alone"
    said = [text for text in texts if isinstance(text, str)]
    if not said or len(said) < len(texts):
        return "", "a turn has no text as content"
    return "\n".join(said), ""
