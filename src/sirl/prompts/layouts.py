"""Refuses files whose rows are turns of conversations, or whose requests vary in another column."""

import re
from collections import Counter
from pathlib import Path

from sirl.errors import InputError
from sirl.prompts.files import ID_KEYS, Row, shown
from sirl.prompts.labels import Fields
from sirl.prompts.parts import has_words
from sirl.prompts.requests import ROLES, TURN_KEYS, TURNS, Found, asked_key
from sirl.text import normalised

__all__ = ["Layout"]

SPEAKER_KEYS = ("role", "messagerole", "turnrole", "author", "from", "sender", "speaker")
"""Columns of speakers; they may also name persons or personas, whose rows are requests."""
USERS = frozenset({"human", "prompter", "user"})
MODELS = frozenset({
    *ROLES, "agent", "ai", "bot", "chatbot", "function", "llm", "model", "tool"
}) - USERS  # fmt: skip
CONVERSATION_KEYS = (
    "chatid", "conv", "conversationhash", "conversationid", "convid", "convoid", "dialog",
    "dialogid", "dialogueid", "messagetreeid", "session", "sessionid", "thread", "threadid",
)  # fmt: skip
GROUP_KEYS = (*ID_KEYS, "groupid", "promptid", "questionid", "taskid", "uid")
"""Columns that name a conversation if a column with the number of the turn stands beside them."""
NUMBER = re.compile(r"turn(id)?|(message|turn|utterance)(idx|index|no|num|number)")
"""Names of columns with the number of a turn."""
LATER = re.compile(
    r"followup(message|prompt|question|request|turn)?s?\d*"
    r"|(next|second|third)(goal|instruction|message|prompt|question|request|turn)"
    r"|(user)?(goal|human|instruction|message|prompt|query|question|request|turn|user)"
    r"(\d{1,2}|three|two)"
)
"""Names of columns with a further turn or prompt."""
ABOUT = re.compile(
    r"annotat|answer|assistant|author|categor|chosen|comment|completion|created|critique|explan|expected"
    r"|generat|gold|hash|judg|label|method|model|note|output|rational|reason|refer|reject|reply"
    r"|respon|result|score|solution|target|thought|timestamp|updated|url|verdict"
    r"|(class|cot|date|id|index|key|lang|language|source|tag|time|type|uid)s?\d*$"
)
"""Names of columns that tell about a request or answer it."""
FEWEST, MOST = 5, 0.8
"""In so many rows, a prompt in so large a part of them is the frame of another column."""


class Layout:
    """What the rows of a file so far have been."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.roles: set[bool] = set()
        """Whether a row was the user's."""
        self.turns: dict[tuple[str, str], tuple[str, int]] = {}
        """Request and line of the first row, by column and conversation."""
        self.asked: Counter[tuple[str, str]] = Counter()
        """Number of rows, by asked column and request."""
        self.others: dict[str, set[str]] = {}
        """Texts of each column that is not asked."""

    def add(self, row: Row, fields: Fields) -> None:
        """Note a row.

        Raises:
            InputError: The rows are turns of conversations, or this one has further turns.
        """
        key = asked_key(fields)
        name, value = fields.get(key, ("", None))
        if key in TURN_KEYS or not isinstance(value, str) or TURNS.match(value):
            return
        text = normalised(value)
        if other := later(fields, text):
            raise InputError(
                f"{self.path}:{row.line}: {shown(other)} holds more turns or prompts beside "
                f"{shown(name)}: write turns as a list in messages, or give each prompt a row of "
                "its own"
            )
        if why := self.role(fields) or self.conversation(row, fields, text):
            column, said = why
            raise InputError(
                f"{self.path}:{row.line}: the rows are turns of conversations ({said}): write each "
                "conversation as one row with a list of turns in messages, or remove the column "
                f"{shown(column)} if each row is a request of its own"
            )

    def role(self, fields: Fields) -> tuple[str, str] | None:
        """The column by which the rows are turns of several speakers, and why."""
        for key in SPEAKER_KEYS:
            name, value = fields.get(key, ("", None))
            if not isinstance(value, str) or not value.strip():
                continue
            speaker = value.strip().casefold()
            self.roles.add(speaker in USERS)
            if speaker in MODELS or len(self.roles) > 1:
                return name, f"{shown(name)} is {shown(value.strip())}"
        return None

    def conversation(self, row: Row, fields: Fields, text: str) -> tuple[str, str] | None:
        """The column by which another request is in the conversation of an earlier row, and why."""
        number = any(NUMBER.fullmatch(k) and v is not None for k, (_, v) in fields.items())
        for key in (*CONVERSATION_KEYS, *(GROUP_KEYS if number else ())):
            name, value = fields.get(key, ("", None))
            if value in (None, "") or isinstance(value, list | dict):
                continue
            asked, line = self.turns.setdefault((key, str(value)), (text, row.line))
            if asked != text:
                return name, f"{shown(name)} {shown(str(value))} is also in line {line}"
        return None

    def count(self, fields: Fields, found: Found) -> None:
        """Count a row by what it asks, and note its other texts."""
        asked = "\n".join(m.content for m in found.messages)
        self.asked[found.names[0], normalised(asked)] += 1
        for key, (name, value) in fields.items():
            if name not in found.names and has_words(value) and not ABOUT.search(key):
                self.others.setdefault(name, set()).add(normalised(value))

    def check(self) -> None:
        """Check the file as a whole.

        Raises:
            InputError: Nearly all rows ask the same, while another column of texts varies.
        """
        rows = self.asked.total()
        if rows < FEWEST:
            return
        ((column, _), same), *_ = self.asked.most_common(1)
        varies = (name for name, texts in self.others.items() if len(texts) > rows / 2)
        other = next(varies, "")
        if same < MOST * rows or not other:
            return
        asked, other = shown(column), shown(other)
        raise InputError(
            f"{self.path} asks the same {asked} in {same:,} of {rows:,} rows, while {other} "
            f"varies: rename {other} to input to ask it behind {asked}; rename it to prompt and "
            f"remove {asked} to ask it alone; or remove {other}"
        )


def later(fields: Fields, text: str) -> str:
    """The name of a column with a further turn or prompt, which the asked text is not."""
    for key, (name, value) in fields.items():
        listed = key == "turns" and isinstance(value, list) and len(value) > 1
        more = LATER.fullmatch(re.sub(r"\W", "", key)) and has_words(value)
        if listed or (more and normalised(value) != text):
            return name
    return ""
