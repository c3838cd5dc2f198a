"""Finds the parts of a request that stand in other columns and are not read."""

import re
from typing import Any

from sirl.prompts.files import is_missing, shown
from sirl.prompts.labels import Fields

__all__ = ["has_words", "part_fault"]

WHOLE = re.compile(
    r"history|(answer|candidate|mc|multiple|possible)?(alternative|choice|distractor|ending|option)s"
    r"(text|label)?"
)
"""Names of columns that hold all choices, or the turns before."""
ONE = re.compile(
    r"(?P<what>alternative|ans|answer|choices?|distractor|ending|opt?|options?|sol|solution"
    r"|(answer|mc)(choice|option)|(incorrect|wrong)(answer|option))?(?P<nth>[a-j]|\d{1,2})(text)?"
)
"""Names of columns that hold one choice each, such as `A`, `option_1` or `opa`."""
FEWEST = {"ans": 3, "answer": 3}
"""Columns that make choices, if not two: answers to compare are two."""

MEDIA = re.compile(
    r"(decoded|input|prompt|question)?(audio|gif|image|img|jpe?g|mp[34]|photo|picture|pixel"
    r"|png|screenshot|video|wav)s?"
    r"(b64|base64|bytes|content|data|file(name)?|id|list|name|path|src|uri|url|value)?s?\d*"
)
"""Names of columns of images, sounds and films."""
ATTACHED = re.compile(r"(attachment|file|media)s?(name|path)?")
FILE = re.compile(
    r".+\.(aac|avi|bmp|flac|gif|jpe?g|m4a|mkv|mov|mp[34]|ogg|opus|pdf|png|tiff?|wav|webm|webp)",
    re.I,
)
"""Names of columns of any files, and the names of files that are no text."""
NOT = ("false", "no")


def part_fault(fields: Fields) -> str:
    """The fault of a row whose request goes on in columns that are not read; empty if none does."""
    given = {
        re.sub(r"\W", "", key): (name, value)
        for key, (name, value) in fields.items()
        if value not in (None, "", [], {})
    }
    media = [name for k, (name, value) in given.items() if is_media(k, value)]
    if media:
        return (
            f"{shown(media[0])} belongs to the request, and sirl asks text alone: empty it if the "
            "request does without it"
        )
    whole = [n for k, (n, value) in given.items() if WHOLE.fullmatch(k) and holds(value)]
    names = whole or choices(given)
    if not names:
        return ""
    are = "is part of the request but is" if len(names) == 1 else "are parts of the request but are"
    return f"{shown(', '.join(names))} {are} not read: write the whole request into one column"


def is_media(key: str, value: Any) -> bool:  # noqa: ANN401 - any JSON value
    """Whether a column, by its folded name, has an image, a sound or a film in a row."""
    attached = ATTACHED.fullmatch(key) and isinstance(value, str) and FILE.fullmatch(value.strip())
    return bool(attached) or (bool(MEDIA.fullmatch(key)) and holds(value))


def choices(given: Fields) -> list[str]:
    """The names of columns that hold one choice each, one of which may be `None`."""
    found: dict[str, list[str]] = {}
    for key, (name, value) in given.items():
        one = ONE.fullmatch(key)
        if one and (one["what"] or one["nth"].isalpha() or has_words(value)):
            found.setdefault(one["what"] or "", []).append(name)
    # Letters alone name choices only from the first on.
    if "" in found and not ({"a", "b"} <= given.keys() or {"1", "2"} <= given.keys()):
        del found[""]
    held = {name for name, value in given.values() if not is_missing(value)}
    return next(
        (
            names
            for what, names in found.items()
            if len(names) >= FEWEST.get(what, 2) and not held.isdisjoint(names)
        ),
        [],
    )


def holds(value: Any) -> bool:  # noqa: ANN401 - any JSON value
    """Whether a value, or one inside it, is more than a word for none."""
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, dict | list):
            left += one.values() if isinstance(one, dict) else one
        elif not is_missing(one) and one is not False and str(one).casefold() not in NOT:
            return True
    return False


def has_words(value: Any) -> bool:  # noqa: ANN401 - any JSON value
    """Whether a value is text with a letter, not a number or a list."""
    return isinstance(value, str) and bool(re.search(r"[^\W\d_]", value))
