"""`sirl settings`: every setting of a verb, with type, default and meaning."""

from collections.abc import Iterator, Mapping
from json import dumps
from typing import Any, Literal, get_args, get_origin

import typer
from pydantic import BaseModel
from rich.table import Table

from sirl.cli.console import page
from sirl.cli.flags import JSON, bare, names_of
from sirl.config import (
    DemoConfig,
    EvaluateConfig,
    GuardCalibrateConfig,
    GuardEvaluateConfig,
    GuardServeConfig,
    JudgeConfig,
    PlanConfig,
    ProbeConfig,
    SweepConfig,
    TrainConfig,
)
from sirl.errors import unknown_name

__all__ = ["described", "markdown", "settings"]

CONFIGS: Mapping[str, type[BaseModel]] = {
    "train": TrainConfig,
    "evaluate": EvaluateConfig,
    "sweep": SweepConfig,
    "probe": ProbeConfig,
    "demo": DemoConfig,
    "plan": PlanConfig,
    "judge again": JudgeConfig,
    "judge prefer": JudgeConfig,
    "judge calibrate": JudgeConfig,
    "guard calibrate": GuardCalibrateConfig,
    "guard evaluate": GuardEvaluateConfig,
    "guard serve": GuardServeConfig,
}
VERB = typer.Argument(..., metavar="VERB", help=f"one of {', '.join(CONFIGS)}")
HEADER = ("setting", "flag", "type", "default", "meaning")


def settings(
    words: list[str] = VERB,
    json: bool = JSON,
) -> None:
    """List every setting of a verb."""
    verb = " ".join(words)
    if verb not in CONFIGS:
        raise unknown_name("verb with settings", verb, CONFIGS)
    rows = list(described(CONFIGS[verb]))
    if json:
        typer.echo(dumps([dict(zip(HEADER, row, strict=True)) for row in rows]))
        return
    table = Table(*HEADER, title=f"settings of sirl {verb}", title_justify="left")
    for row in rows:
        table.add_row(*row)
    page().print(table, markup=False)


def described(config: type[BaseModel]) -> Iterator[tuple[str, str, str, str, str]]:
    """Name, flags, type, default and meaning of each setting of a verb."""
    for name, setting in config.model_fields.items():
        varies = setting.default_factory is not None
        default = "see meaning" if varies else shown(setting.default)
        default = "required" if setting.is_required() else default
        flags = " ".join(names_of(config, name))
        yield name, flags, type_name(setting.annotation), default, setting.description or ""


def shown(default: Any) -> str:  # noqa: ANN401 - of any setting
    """A default as YAML writes it."""
    if default is None:
        return "none"
    return str(default).lower() if isinstance(default, bool) else str(default)


def type_name(annotation: Any) -> str:  # noqa: ANN401 - any annotation
    """A type in words.

    >>> type_name(float | None), type_name(Literal["a", "b"])
    ('float', 'a or b')
    """
    inner = bare(annotation)
    if get_origin(inner) is Literal:
        return " or ".join(map(str, get_args(inner)))
    return "mapping" if get_origin(inner) is dict else str(inner.__name__)


def markdown() -> str:
    """The text of `docs/settings.md`: one table of settings per verb."""
    parts = [
        "# Settings\n\nGenerated from the code by `python -m sirl.cli.settings`; "
        "`sirl settings VERB` prints the same. Every setting is a flag, `--set key=value`, and a "
        "key of a YAML file given by `--config`; `sirl demo` takes most of them by `--set` only.\n"
    ]
    for verb, config in CONFIGS.items():
        rows = [
            "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
            for row in described(config)
        ]
        head = f"| {' | '.join(HEADER)} |\n|{' --- |' * len(HEADER)}"
        parts.append(f"## sirl {verb}\n\n{head}\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    typer.echo(markdown(), nl=False)
