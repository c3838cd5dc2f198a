"""Members of a family by name: built in, from an installed package, or a function of the user."""

import sys
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from inspect import signature
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args

from sirl.errors import ConfigError, first_line, unknown_name

__all__ = ["FORM", "FUNCTION", "from_plugin", "in_present_folder", "loaded", "member", "names_in"]

FUNCTION = "python:"
"""What the name of a function in the user's own file begins with."""
FORM = f"{FUNCTION}MODULE:NAME"
"""How something in the user's own file is named."""


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
        ConfigError: There is none of that name, or importing it fails.
    """
    from sirl.rollouts.function import load_name

    if name.startswith(FUNCTION):
        in_present_folder()
        return load_name(name.removeprefix(FUNCTION))
    plugins = {p.name: p for p in entry_points(group=f"sirl.{kind}s")}
    if name not in known and name not in plugins:
        raise unknown_name(kind, name, [*known, *plugins, FORM])
    return known[name] if name in known else loaded(plugins[name])


def loaded(plugin: EntryPoint) -> Any:  # noqa: ANN401 - of any family
    """What the entry point of another package names.

    Raises:
        ConfigError: Importing it fails.
    """
    try:
        return plugin.load()
    except Exception as error:
        raise ConfigError(
            f"the entry point {plugin.name} of {plugin.group} ({plugin.value}) cannot be loaded: "
            f"{first_line(error)}; mend or uninstall its package"
        ) from error


def from_plugin(
    kind: str,
    name: str,
    found: Any,  # noqa: ANN401 - of any family
    role: Any,  # noqa: ANN401 - a protocol or a class
    given: Mapping[str, Any] = MappingProxyType({}),
) -> Any:  # noqa: ANN401 - of any family
    """The object of a role: what a plug-in names, or what the class or function there makes.

    Args:
        kind: Family, for messages.
        name: Name in the settings.
        found: What has that name.
        role: What the object must be.
        given: Arguments of a class or function, by name; they are passed by position.

    Raises:
        ConfigError: It cannot be called with them, or what it makes lacks a method of the role.
    """
    is_object = not isinstance(found, type) and isinstance(found, role)
    return found if is_object else checked(kind, name, made(kind, name, found, given), role)


def made(kind: str, name: str, make: Any, given: Mapping[str, Any]) -> Any:  # noqa: ANN401 - of any family
    """The object that a class or function makes from these positional arguments.

    Raises:
        ConfigError: It does not take them.
    """
    if not callable(make):
        return make
    try:
        signature(make).bind(*given.values())
    except (TypeError, ValueError) as error:
        what = "a class that" if isinstance(make, type) else "a function that"
        raise ConfigError(
            f"the {kind} {name} is {what} is called with ({', '.join(given)}) and does not take "
            f"them: {first_line(error)}; change its arguments, or name an object"
        ) from error
    return make(*given.values())


def checked(kind: str, name: str, made: Any, role: Any) -> Any:  # noqa: ANN401 - of any family
    """What a plug-in has made, if it has the methods of its role.

    Raises:
        ConfigError: It lacks one, or is a class.
    """
    if isinstance(made, type):
        raise ConfigError(f"the {kind} {name} gives the class {made.__name__}: give an object")
    if not isinstance(made, role):
        roles = " or ".join(f"sirl.roles.{r.__name__}" for r in get_args(role) or (role,))
        raise ConfigError(
            f"the {kind} {name} is a {type(made).__name__} and lacks methods of {roles}: inherit "
            "from it"
        )
    return made
