"""Options made from the settings: name, type, default, description and help panel."""

from collections.abc import Callable, Mapping
from functools import partial, wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin

import typer
from pydantic import BaseModel

from sirl.cli.grouped_help import HARDWARE, OUTPUT, PANELS
from sirl.config import ALIASES, parse_value, resolve
from sirl.errors import ConfigError
from sirl.runs import Existing, settings_of

__all__ = [
    "AFTER",
    "AFTER_MODEL",
    "BEFORE",
    "BEFORE_MODEL",
    "CONFIG",
    "JSON",
    "OF_RUN",
    "OVERWRITE",
    "REPLACE",
    "RESUME",
    "SET",
    "bare",
    "existing",
    "from_run",
    "names_of",
    "option",
    "takes",
]

KEYWORD = Parameter.KEYWORD_ONLY


def takes(
    config: type[BaseModel],
    *fields: str,
    resumed: Callable[[str, Path], Mapping[str, Any]] | None = settings_of,
) -> Callable[[Callable[..., None]], Any]:
    """Add an option for each setting to a command and pass it the resolved settings.

    The first parameter of the command receives the settings; its other parameters stay options.
    Without `fields`, every setting gets an option, with the setting's description, type and
    default. `resumed` reads the settings of the run that `--resume` continues; None where the
    command gives them again.
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
                resumed=partial(resumed, command.__name__)
                if resumed and given.get("resume")
                else None,
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


def option(config: type[BaseModel], name: str) -> Any:  # noqa: ANN401 - typer's own type
    """The typer option of a setting."""
    setting = config.model_fields[name]
    # A default that depends on other settings stands at the end of the description, in brackets.
    told = str(setting.description).endswith("]")
    unset = told or setting.default_factory or isinstance(setting.default, bool | None)
    note = f" [default: {'none' if setting.default == '' else setting.default}]"
    note = " [required]" if setting.is_required() else "" if unset else note
    choices = (
        get_args(bare(setting.annotation))
        if get_origin(bare(setting.annotation)) is Literal
        else ()
    )
    return typer.Option(
        None,
        *names_of(config, name),
        help=f"{setting.description}{note}",
        metavar="|".join(map(str, choices)) or None,
        show_default=False,
        rich_help_panel=panel_of(config, name),
    )


def names_of(config: type[BaseModel], name: str) -> list[str]:
    """The flags of a setting."""
    long = f"--{name.replace('_', '-')}"
    own = f"{long}/--no-{long[2:]}" if kind(config, name) == bool | None else long
    return [own, *(f"--{k.replace('_', '-')}" for k, ours in ALIASES.items() if ours == name)]


def panel_of(config: type[BaseModel], name: str) -> str | None:
    """The help panel of a setting; None for one that no panel lists."""
    if name == "timeout" and "shard" in config.model_fields:
        return HARDWARE  # processes wait for each other, not for an endpoint
    return next((panel for panel, names in PANELS.items() if name in names), None)


def value_of(config: type[BaseModel], name: str, value: Any) -> Any:  # noqa: ANN401 - any setting
    """The value of a flag; a mapping is parsed as YAML."""
    if value is None or get_origin(bare(config.model_fields[name].annotation)) is not dict:
        return value
    return parse_value(f"--{name.replace('_', '-')} {value}", value)


def bare(annotation: Any) -> Any:  # noqa: ANN401 - any annotation
    """An annotation without its `| None`."""
    members = [a for a in get_args(annotation) if a is not NoneType]
    return members[0] if get_origin(annotation) is UnionType and len(members) == 1 else annotation


def kind(config: type[BaseModel], name: str) -> Any:  # noqa: ANN401 - a type
    """The type that typer parses; pydantic checks every other type from text."""
    plain = bare(config.model_fields[name].annotation)
    return (plain if plain in (bool, int, float, str) else str) | None


CONFIG: Path | None = typer.Option(
    None,
    "--config",
    help="YAML file of settings; --set and flags override it",
    rich_help_panel=OUTPUT,
)
SET: list[str] = typer.Option(
    [],
    "--set",
    help="any setting as KEY=VALUE; repeatable",
    metavar="KEY=VALUE",
    show_default=False,
    rich_help_panel=OUTPUT,
)
OF_RUN = " [default: with --resume, that of the run]"
"""The help of what a resumed run knows."""
RESUME: bool = typer.Option(
    False, "--resume", help="resume the run in --out", rich_help_panel=OUTPUT
)
OVERWRITE: bool = typer.Option(
    False,
    "--overwrite",
    help="delete the run in --out and start over",
    rich_help_panel=OUTPUT,
)
REPLACE: bool = typer.Option(
    False, "--overwrite", help="replace the file at --out", rich_help_panel=OUTPUT
)
JSON: bool = typer.Option(False, "--json", help="print the summary as JSON", rich_help_panel=OUTPUT)
BEFORE: Path = typer.Argument(..., help="run folder of the baseline model")
AFTER: Path = typer.Argument(
    ..., help="run folder of the model to compare with it; may be the same"
)
BEFORE_MODEL: str | None = typer.Option(
    None,
    "--before-model",
    help="model of BEFORE [default: the last; the first if both runs are the same]",
)
AFTER_MODEL: str | None = typer.Option(
    None, "--after-model", help="model of AFTER [default: the last]"
)


def from_run(
    verb: str, out: Path, needed: Mapping[str, str], given: Mapping[str, Any], *, resume: bool
) -> dict[str, Any]:
    """Values of a command by setting; on `--resume`, those not given are the run's.

    `needed` names the flag or argument of each that must be known.

    Raises:
        ConfigError: One is missing.
    """
    before = settings_of(verb, out) if resume else {}
    found = {k: before.get(k) if value is None else value for k, value in given.items()}
    if missing := next((flag for name, flag in needed.items() if found[name] is None), ""):
        raise ConfigError(f"missing {missing}; see sirl {verb} --help")
    return found


def existing(*, resume: bool, overwrite: bool) -> Existing:
    """The action for an existing run folder.

    Raises:
        ConfigError: Both flags were given.
    """
    if resume and overwrite:
        raise ConfigError("--resume and --overwrite exclude each other: give one")
    return "resume" if resume else "overwrite" if overwrite else "ask"
