"""Flags that several verbs share; help texts come from the settings themselves."""

from collections.abc import Callable, Mapping
from functools import partial, wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin

import typer

from sirl.config import Settings, parse_value, resolve
from sirl.errors import ConfigError
from sirl.runs import Existing, settings_of

__all__ = [
    "AFTER",
    "AFTER_MODEL",
    "BEFORE",
    "BEFORE_MODEL",
    "CONFIG",
    "JSON",
    "OVERWRITE",
    "REPLACE",
    "RESUME",
    "SET",
    "existing",
    "option",
    "takes",
]

KEYWORD = Parameter.KEYWORD_ONLY
ALIASES: Mapping[str, tuple[str, ...]] = {
    "behaviours": ("--behaviors",),
    "group": ("--num-generations",),
    "kl": ("--beta",),
    "new_tokens": ("--max-new-tokens",),
}
"""Names that users of other tools know."""


def takes(config: type[Settings], *fields: str) -> Callable[[Callable[..., None]], Any]:
    """Give a command an option for each setting of its verb; it is handed them resolved.

    The command's first parameter is the settings; its other parameters stay options as they are.
    Without `fields` every setting has an option, so that none can be forgotten; the text, the type
    and the default are those of the setting.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        first, *others = signature(command).parameters.values()
        named = {name: option(config, name) for name in fields or config.model_fields}
        shared = {"config": CONFIG, "set_": SET} if "config" not in named else {"set_": SET}
        types = {"config": Path | None, "set_": list[str]}
        own = {p.name: p.annotation for p in others}

        @wraps(command)
        def run(**given: Any) -> None:  # noqa: ANN401 - typer's own values
            existing(resume=bool(given.get("resume")), overwrite=bool(given.get("overwrite")))
            settings = resolve(
                config,
                file=given.pop("config", None),
                overrides=given.pop("set_"),
                flags={name: value_of(config, name, given.pop(name)) for name in named},
                resumed=partial(settings_of, command.__name__) if given.get("resume") else None,
            )
            command(settings, **given)

        added = [
            Parameter(
                name, KEYWORD, default=default, annotation=types.get(name) or kind(config, name)
            )
            for name, default in {**named, **shared}.items()
        ]
        run.__signature__ = Signature([*added, *(p.replace(kind=KEYWORD) for p in others)])  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in added} | own
        return run

    return decorate


def option(config: type[Settings], name: str) -> Any:  # noqa: ANN401 - typer's own type
    """An option whose help and default are those of the setting."""
    setting = config.model_fields[name]
    # In square brackets it would be taken for markup and vanish.
    unset = setting.is_required() or setting.default is None
    default = (
        "; required" if setting.is_required() else "" if unset else f" (default: {setting.default})"
    )
    long = f"--{name.replace('_', '-')}"
    names = [f"{long}/--no-{long[2:]}" if kind(config, name) == bool | None else long]
    choices = (
        get_args(bare(setting.annotation))
        if get_origin(bare(setting.annotation)) is Literal
        else ()
    )
    return typer.Option(
        None,
        *names,
        *ALIASES.get(name, ()),
        help=f"{setting.description}{default}",
        metavar="|".join(map(str, choices)) or None,
        show_default=False,
    )


def value_of(config: type[Settings], name: str, value: Any) -> Any:  # noqa: ANN401 - any setting
    """A flag's value; a mapping is read as YAML."""
    if value is None or get_origin(bare(config.model_fields[name].annotation)) is not dict:
        return value
    return parse_value(f"--{name.replace('_', '-')} {value}", value)


def bare(annotation: Any) -> Any:  # noqa: ANN401 - any annotation
    """An annotation without its `| None`."""
    members = [a for a in get_args(annotation) if a is not NoneType]
    return members[0] if get_origin(annotation) is UnionType and len(members) == 1 else annotation


def kind(config: type[Settings], name: str) -> Any:  # noqa: ANN401 - a type
    """What typer is to read an option as; what it does not know is text that pydantic checks."""
    plain = bare(config.model_fields[name].annotation)
    return (plain if plain in (bool, int, float, str) else str) | None


CONFIG: Path | None = typer.Option(
    None, "--config", help="YAML file of settings; flags and --set win over it"
)
SET: list[str] = typer.Option(
    [], "--set", help="any setting as key=value, repeatable", show_default=False
)
RESUME: bool = typer.Option(
    False, "--resume", help="go on with the run in --out, under its own settings"
)
OVERWRITE: bool = typer.Option(False, "--overwrite", help="begin anew in --out")
REPLACE: bool = typer.Option(False, "--overwrite", help="replace the file that --out names")
JSON: bool = typer.Option(False, "--json", help="print the summary as JSON")
BEFORE: Path = typer.Argument(..., help="run folder of the model before")
AFTER: Path = typer.Argument(..., help="run folder of the model after; may be the same run")
BEFORE_MODEL: str | None = typer.Option(
    None, "--before-model", help="model of the first run (default: its last, or its first)"
)
AFTER_MODEL: str | None = typer.Option(
    None, "--after-model", help="model of the second run (default: its last)"
)


def existing(*, resume: bool, overwrite: bool) -> Existing:
    """What to do with an existing run folder.

    Raises:
        ConfigError: Both answers were given.
    """
    if resume and overwrite:
        raise ConfigError("--resume and --overwrite exclude each other: give one")
    return "resume" if resume else "overwrite" if overwrite else "ask"
