"""Flags that several verbs share; help texts come from the settings themselves."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from sirl.config import Settings
from sirl.errors import ConfigError
from sirl.runs import Existing

__all__ = [
    "AFTER",
    "AFTER_MODEL",
    "BEFORE",
    "BEFORE_MODEL",
    "CONFIG",
    "JSON",
    "OVERWRITE",
    "RESUME",
    "SET",
    "STRICT",
    "existing",
    "flag",
    "given",
]


def flag(verb: type[Settings], field: str, *names: str) -> Any:  # noqa: ANN401 - typer's own type
    """An option whose help and default are those of the setting."""
    setting = verb.model_fields[field]
    # In square brackets it would be taken for markup and vanish.
    unset = setting.is_required() or setting.default is None
    default = "" if unset else f" (default: {setting.default})"
    return typer.Option(None, *names, help=f"{setting.description}{default}", show_default=False)


def given(verb: type[Settings], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a command that are settings of its verb, by their names."""
    return {name: arguments[name] for name in verb.model_fields if name in arguments}


CONFIG: Path | None = typer.Option(
    None, "--config", help="YAML file of settings; flags and --set win over it"
)
SET: list[str] = typer.Option(
    [], "--set", help="any setting as key=value, repeatable", show_default=False
)
RESUME: bool = typer.Option(False, "--resume", help="go on with the run in --out")
OVERWRITE: bool = typer.Option(False, "--overwrite", help="begin anew in --out")
STRICT: bool | None = typer.Option(
    None, "--strict", help="stop at the first row of an input file that cannot be used"
)
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
