"""Members of a family by name: built in, from an installed package, or a function of the user."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from inspect import signature
from pathlib import Path
from traceback import walk_tb
from types import CodeType, FrameType, MappingProxyType
from typing import Any, get_args

from sirl.errors import (
    ConfigError,
    PluginError,
    SirlError,
    Stopped,
    first_line,
    lost_rank,
    unknown_name,
)

__all__ = [
    "FORM",
    "FUNCTION",
    "from_plugin",
    "in_present_folder",
    "loaded",
    "member",
    "names_in",
    "plugin_fault",
    "require_words",
]

FUNCTION = "python:"
"""What the name of a function in the user's own file begins with."""
FORM = f"{FUNCTION}MODULE:NAME"
"""How something in the user's own file is named."""


@dataclass(frozen=True)
class Plugin:
    """Code of the user's, or of another package, that this process has loaded."""

    title: str
    """Its family and where it was loaded from, for messages."""
    modules: frozenset[str]
    """The module that names it and the one that defines it."""
    defined: str
    """Qualified name of the function or class."""

    def runs(self, module: str) -> bool:
        """Whether a module is its own, or of its package."""
        own = {module, module.partition(".")[0]}
        return not own.isdisjoint(self.modules)


LOADED: dict[str, Plugin] = {}
"""Plug-ins by title, so that an exception in one is told from a bug of sirl."""


def note(title: str, module: str, found: Any) -> Any:  # noqa: ANN401 - of any family
    """Note and return what a module outside of sirl names."""
    made = found if hasattr(found, "__qualname__") else type(found)
    modules = {module.partition(".")[0], str(made.__module__)}
    outside = {m for m in modules if m.partition(".")[0] not in {"sirl", *sys.stdlib_module_names}}
    LOADED[title] = Plugin(title, frozenset(outside), made.__qualname__)
    return found


def plugin_fault(error: BaseException | None) -> PluginError | None:
    """The sentence on an exception that a plug-in has raised; None if it was none.

    What sirl raises when a plug-in calls it is no fault of the plug-in, nor is a lost rank.
    """
    from sirl.rollouts.function import in_words

    if not isinstance(error, Exception) or isinstance(error, SirlError | Stopped):
        return None
    frames: list[tuple[CodeType, int, list[Plugin]]] = []
    for frame, line in walk_tb(error.__traceback__):
        module = module_of(frame)
        if module.partition(".")[0] == "sirl":
            frames = []
        elif plugins := [p for p in LOADED.values() if p.runs(module)]:
            frames.append((frame.f_code, line, plugins))
    if not frames or lost_rank(error):
        return None
    called, _, plugins = frames[0]
    name = called.co_qualname.partition(".")[0]
    plugin = next((p for p in plugins if p.defined.partition(".")[0] == name), plugins[0])
    last, line, _ = frames[-1]
    return PluginError(f"{plugin.title} raised {in_words(error, last.co_filename, line)}: fix it")


def module_of(frame: FrameType) -> str:
    """The module whose code a frame runs; empty for code that was executed without one."""
    return str(frame.f_globals.get("__name__", ""))


def names_in(text: str | None) -> list[str]:
    """Names joined by commas."""
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def in_present_folder() -> None:
    """Let modules of the present folder be imported."""
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)


def member(kind: str, name: str, known: Mapping[str, Any] = MappingProxyType({})) -> Any:  # noqa: ANN401 - of any family
    """The member of a family that has a name; plug-ins are of the entry point group `sirl.KINDs`.

    Raises:
        ConfigError: There is none of that name, or importing it fails.
    """
    from sirl.rollouts.function import load_name

    if name.startswith(FUNCTION):
        in_present_folder()
        path = name.removeprefix(FUNCTION)
        return note(f"the {kind} {name}", path.partition(":")[0], load_name(path))
    plugins = {p.name: p for p in entry_points(group=f"sirl.{kind}s")}
    if name not in known and name not in plugins:
        raise unknown_name(kind, name, [*known, *plugins, FORM])
    return known[name] if name in known else loaded(plugins[name])


def loaded(plugin: EntryPoint) -> Any:  # noqa: ANN401 - of any family
    """What the entry point of another package names.

    Raises:
        ConfigError: Importing it fails.
    """
    title = f"the entry point {plugin.name} of {plugin.group} ({plugin.value})"
    try:
        found = plugin.load()
    except Exception as error:
        raise ConfigError(
            f"{title} cannot be loaded: {first_line(error)}; mend or uninstall its package"
        ) from error
    return note(title, plugin.module, found)


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
            f"the {kind} {name} is of type {type(made).__name__} and lacks methods of {roles}: "
            "inherit from it"
        )
    return made


def require_words(kind: str, name: str, found: Any, fields: Sequence[str] = ("name",)) -> None:  # noqa: ANN401 - of any family
    """Check the fields of a plug-in that tables show.

    Raises:
        ConfigError: One is empty, has spaces around it, or is no text.
    """
    for field in fields:
        text = getattr(found, field)
        if not isinstance(text, str) or not text.strip() == text != "":
            raise ConfigError(f"the {kind} {name} has no {field}: give it one, which tables show")
