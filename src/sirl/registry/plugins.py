"""Members of a family by name: built in, from an installed package, or a function of the user."""

import sys
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from inspect import signature
from pathlib import Path
from typing import Any

from sirl.errors import ConfigError, first_line, unknown_name

__all__ = ["FUNCTION", "checked", "in_present_folder", "made", "member", "names_in"]

FUNCTION = "python:"
"""What the name of a function in the user's own file begins with."""


def names_in(text: str | None) -> list[str]:
    """Names joined by commas."""
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def in_present_folder() -> None:
    """Let modules of the present folder be imported."""
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)


def member(kind: str, name: str, known: Mapping[str, Any]) -> Any:  # noqa: ANN401 - of any family
    """The member of a family that has a name; plug-ins are of the entry point group `sirl.KINDs`.

    Raises:
        ConfigError: There is none of that name.
    """
    from sirl.rollouts.function import load_function

    if name.startswith(FUNCTION):
        in_present_folder()
        return load_function(name.removeprefix(FUNCTION))
    plugins = {p.name: p for p in entry_points(group=f"sirl.{kind}s")}
    if name not in known and name not in plugins:
        raise unknown_name(kind, name, [*known, *plugins])
    return known[name] if name in known else plugins[name].load()


def made(kind: str, name: str, make: Callable[..., Any], given: Mapping[str, Any]) -> Any:  # noqa: ANN401 - of any family
    """The object that a plug-in makes from these positional arguments.

    Raises:
        ConfigError: It does not take them.
    """
    try:
        signature(make).bind(*given.values())
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"the {kind} {name} is called with ({', '.join(given)}) and does not take them: "
            f"{first_line(error)}"
        ) from error
    return make(*given.values())


def checked(kind: str, name: str, made: Any, role: Any) -> Any:  # noqa: ANN401 - of any family
    """What a plug-in has made, if it has the methods of its role.

    Raises:
        ConfigError: It lacks one.
    """
    if not isinstance(made, role):
        raise ConfigError(
            f"the {kind} {name} is a {type(made).__name__} and lacks methods of "
            f"sirl.roles.{role.__name__}: inherit from it"
        )
    return made
