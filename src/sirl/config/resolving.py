"""Resolves settings: defaults, a YAML file, `key=value` overrides and flags."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from sirl.errors import ConfigError, did_you_mean
from sirl.once import yaml_in
from sirl.renamed import SETTINGS, meant

__all__ = ["ALIASES", "own_name", "parse_value", "resolve"]

ALIASES: Mapping[str, str] = {
    "behaviors": "behaviours",
    "beta": "kl",
    "max_new_tokens": "new_tokens",
    "num_generations": "group",
}
"""Settings by their names in other tools."""

Verb = TypeVar("Verb", bound=BaseModel)


def resolve(
    verb: type[Verb],
    *,
    file: Path | None,
    overrides: Sequence[str],
    flags: Mapping[str, Any],
    resumed: Callable[[Path], Mapping[str, Any]] | None = None,
) -> Verb:
    """The settings of a verb: defaults, then the file, then `key=value`, then flags.

    `resumed` reads the settings of the run in a folder: they stand in for the defaults.

    Raises:
        ConfigError: A key is unknown, a value does not fit or is empty, or the file holds no
            mapping.
    """
    settings, where = named_in(file)
    for key, (value, given) in overridden(overrides).items():
        settings[key], where[key] = value, given
    for key, value in flags.items():
        if value is not None:
            flag = f"--{key.replace('_', '-')} {value}"
            if where.get(key, "").startswith("--set ") and settings[key] != value:
                raise ConfigError(f"{flag} and {where[key]} contradict each other: give one")
            settings[key] = value
            where[key] = flag
    if resumed and isinstance(out := settings.get("out", default_of(verb, "out")), str):
        before = {k: v for k, v in resumed(Path(out)).items() if k in verb.model_fields}
        settings = before | settings
        where = dict.fromkeys(before, f"config.yaml of {out}") | where
    for key in settings:
        if key not in verb.model_fields:
            present = SETTINGS.get(key) or meant(str(key), verb.model_fields) or str(key)
            hint = did_you_mean(present, verb.model_fields)
            raise ConfigError(f"{where[key]}: there is no setting {str(key)!r}. {hint}")
    # An unset variable of a shell would otherwise stand for "not given".
    if blank := next((k for k, v in settings.items() if isinstance(v, str) and not v.strip()), ""):
        raise ConfigError(
            f"{where[blank].strip()}: {blank} is empty: give a value, or leave it out"
        )
    try:
        return verb.model_validate(settings)
    except ValidationError as error:
        raise ConfigError(sentence(error, where)) from error


def named_in(file: Path | None) -> tuple[dict[str, Any], dict[str, str]]:
    """The settings in a YAML file by their names here, and where each was given.

    Raises:
        ConfigError: One is given by two names, or the file cannot be read.
    """
    settings: dict[str, Any] = {}
    where: dict[str, str] = {}
    for key, value in read_settings(file).items():
        if (name := own_name(key)) in settings:
            raise ConfigError(f"{file}: {name} is given twice, under two names: give it once")
        settings[name], where[name] = value, f"{file}{f', {key}' * (name != key)}"
    return settings, where


def own_name(key: str) -> str:
    """The name of a setting here.

    >>> own_name("beta"), own_name("steps")
    ('kl', 'steps')
    """
    return ALIASES.get(key, key)


def overridden(overrides: Sequence[str]) -> dict[str, tuple[Any, str]]:
    """The value of each `key=value`, and what gave it."""
    found: dict[str, tuple[Any, str]] = {}
    for override in overrides:
        named, equals, text = override.partition("=")
        if not equals:
            raise ConfigError(f"--set {override} is not key=value")
        key, given = own_name(named.strip()), f"--set {override}"
        if not text.strip():
            raise ConfigError(f"{given}: {key} is empty: give a value, or null for none")
        value = parse_value(given, text)
        if key in found and found[key][0] != value:
            raise ConfigError(f"{given} and {found[key][1]} contradict each other: give one")
        found[key] = value, given
    return found


def default_of(verb: type[BaseModel], name: str) -> Any:  # noqa: ANN401 - of any setting
    """The default of a setting."""
    return verb.model_fields[name].get_default()


def read_settings(file: Path | None) -> dict[str, Any]:
    """The mapping in a YAML file."""
    if file is None:
        return {}
    try:
        settings = yaml_in(file.read_text("utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"--config {file}{yaml_fault(error)}: fix it there") from error
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise ConfigError(f"--config {file} cannot be read: {reason}; check the path") from error
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise ConfigError(f"--config {file} is not a mapping of settings: write key: value lines")
    return settings


def parse_value(where: str, value: str) -> Any:  # noqa: ANN401 - any YAML scalar
    """Parse a value as YAML."""
    try:
        return yaml_in(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"{where} is not YAML: put the value in quotes") from error


def yaml_fault(error: yaml.YAMLError) -> str:
    """Where a text ceases to be YAML, and why."""
    mark = getattr(error, "problem_mark", None)
    line = f":{mark.line + 1}" if mark else ""
    reason = getattr(error, "problem", None) or getattr(error, "reason", None)
    return f"{line} is not YAML" + (f" ({reason})" if reason else "")


def sentence(error: ValidationError, where: Mapping[str, str]) -> str:
    """The first validation error as one sentence."""
    first = error.errors()[0]
    key = str(first["loc"][0]) if first["loc"] else ""
    if first["type"] == "missing":
        return f"--{key.replace('_', '-')} is required"
    given = where.get(key, key)
    return f"{given}: {key} must be {fitting(first['type'], first.get('ctx', {}), first['msg'])}"


FITTING = {
    **dict.fromkeys(("int_parsing", "int_type", "int_from_float"), "a whole number"),
    **dict.fromkeys(("float_parsing", "float_type"), "a number"),
    **dict.fromkeys(("bool_parsing", "bool_type"), "true or false"),
    "string_type": "text: put it in quotes",
    "dict_type": "a mapping, such as {{name: value}}",
    "greater_than": "greater than {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "less_than": "less than {lt:g}",
    "less_than_equal": "at most {le:g}",
    "literal_error": "one of {expected}",
}
"""What a value must be, by the complaint of pydantic."""


def fitting(kind: str, bounds: Mapping[str, Any], said: str) -> str:
    """What a value must be, in words; in pydantic's words for other kinds of errors."""
    return FITTING[kind].format(**bounds) if kind in FITTING else f"valid ({said})"
