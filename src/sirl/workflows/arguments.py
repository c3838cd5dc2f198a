"""Python values of settings, for notebooks, as what the command line takes."""

import json
from collections.abc import Iterable, Mapping
from os import PathLike, fspath
from typing import Any

from sirl.config import own_name
from sirl.errors import ConfigError
from sirl.prompts import is_file_name, shown
from sirl.types import Prompt

__all__ = ["LISTS", "as_flag", "by_own_name", "json_lines"]

LISTS = ("prompts", "pool", "behaviours", "ordinary", "lookalikes", "trained_on")
"""Settings that name files of prompts."""
POOLS = ("prompts", "pool", "trained_on")
"""Those that may name several."""
PLAIN = (str, int, float, type(None))
"""Values that a setting takes as they are."""


def by_own_name(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by their names here, whatever other tools call them.

    Raises:
        ConfigError: One is given by two names.
    """
    found: dict[str, Any] = {}
    for name, value in settings.items():
        own = own_name(name)
        if value is not None and found.get(own) is not None:
            raise ConfigError(f"{own} is given twice, under two names: give it once")
        if value is not None or own not in found:
            found[own] = value
    return found


def as_flag(name: str, value: Any) -> Any:  # noqa: ANN401 - any setting
    """The value of a setting as the command line would give it.

    A function or a class is named by its module, a list is joined with commas, and values of NumPy
    and PyTorch become Python's.

    Raises:
        ConfigError: It is no text, number, name, or list of these.
    """
    value = plain(value)
    if isinstance(value, Mapping):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, PathLike):
        return fspath(value)
    if isinstance(value, list | tuple):
        parts = [as_flag(name, part) for part in value]
        if not parts or not all(isinstance(part, str) and "," not in part for part in parts):
            raise ConfigError(
                f"{name} is {shown(repr(value))}: give a list of at least one name, without commas"
            )
        return ",".join(parts)
    return value if isinstance(value, PLAIN) else plug_in(name, value)


def plain(value: Any) -> Any:  # noqa: ANN401 - any setting
    """A scalar or an array of another library as Python's; any other value as it is."""
    return value.tolist() if hasattr(value, "tolist") else value


def plug_in(name: str, value: object) -> str:
    """A function or class as a plug-in of the command line.

    Raises:
        ConfigError: It is a collection, or an object without a name at the top of a module.
    """
    place = getattr(value, "__qualname__", "")
    if place.isidentifier():
        return f"python:{value.__module__}:{place}"
    kind = type(value).__name__
    if isinstance(value, Iterable) and not callable(value):
        raise ConfigError(f"{name} is of type {kind}: give one value, or a list of names")
    if place:
        found, way = f"the {kind} {place}", "define it at the top of a module or of a cell"
    else:
        found = f"an object of type {kind}"
        way = f"give its class, or give it a name in a module and write {name}='python:MODULE:NAME'"
    raise ConfigError(f"{name} is {found}, which has no name that sirl can look up: {way}")


def json_lines(name: str, prompts: object) -> str:
    """Requests as the lines of a file.

    Raises:
        ConfigError: There are none, or something among them is no request.
    """
    if isinstance(prompts, Mapping | bytes) or not isinstance(prompts, Iterable):
        raise ConfigError(
            f"{name} is of type {type(prompts).__name__}: give a file, or a list of requests"
        )
    if hasattr(prompts, "columns"):
        raise ConfigError(f"{name} is a table: give its rows, {name}=table.to_dict('records')")
    lines = []
    for number, prompt in enumerate(prompts):
        if isinstance(prompt, PathLike) or (isinstance(prompt, str) and is_file_name(prompt)):
            raise named_file(name, number, fspath(prompt))
        try:
            lines.append(json.dumps(row_of(prompt)) + "\n")
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"{name}[{number}] is {shown(repr(prompt))}, which is no request: give text, a "
                "sirl.types.Prompt, or a row such as {'prompt': '...'}, of text and numbers"
            ) from error
    if not lines:
        raise ConfigError(f"{name} is empty: give at least one request, or leave it out")
    return "".join(lines)


def named_file(name: str, number: int, file: str) -> ConfigError:
    """The error of a file in a list of requests, with the ways to give either."""
    way = "files as one string, separated by commas" if name in POOLS else "one file, as a string"
    quoted = shown(repr(file))
    return ConfigError(
        f"{name}[{number}] is {quoted}, the name of a file: give {way}, or such a request as "
        f"{{'prompt': {quoted}}}"
    )


def row_of(prompt: Any) -> dict[str, Any]:  # noqa: ANN401 - of a caller
    """A request as a row of a file.

    Raises:
        TypeError: It is none.
    """
    if isinstance(prompt, str):
        return {"prompt": prompt}
    if isinstance(prompt, Mapping):
        return {key: plain(value) for key, value in prompt.items()}
    if not isinstance(prompt, Prompt):
        raise TypeError
    messages = [{"role": m.role, "content": m.content} for m in prompt.messages]
    return {"id": prompt.id, "messages": messages, "category": prompt.category}
