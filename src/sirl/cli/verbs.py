"""The verbs, their one-line help, and their modules, each loaded when its verb is called."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from sirl.cli.command import Command
from sirl.errors import unknown_name

__all__ = ["VERBS", "Verbs", "loaded"]

VERBS: Mapping[str, str] = {
    "demo": "Harden a small embedded model on a CPU, in a minute or two.",
    "train": "Harden a model; evaluate it before and after.",
    "evaluate": "Measure defence, over-refusal, capability and entropy gap.",
    "sweep": "Evaluate the checkpoints of a training run side by side.",
    "probe": "Measure the entropy gap between refusals and compliance.",
    "plan": "Estimate the memory, time and disk that training takes.",
    "doctor": "Check what works here and how to install what is missing.",
    "compare": "Compare two evaluated models, paired by prompt.",
    "gate": "Check a model against limits; exit status 1 if one is unmet.",
    "report": "Redraw the page of a finished run.",
    "export": "Export a run: Markdown, CSV, lm-eval, JailbreakBench, Inspect.",
    "judge": "Judge again, compare helpfulness, calibrate or train a judge.",
    "guard": "Detect attacks while a model answers: calibrate, evaluate and serve a guard.",
    "settings": "List every setting of a verb.",
    "world": "Build the embedded model.",
}
"""The first line of each verb's own help, so that listing the verbs imports none."""


class Verbs(TyperGroup):
    """Lists the verbs without importing them; imports only the verb that is called."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401, ARG002 - click's context
        """The verbs in the order of VERBS."""
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401, ARG002 - click's own
        """A stub with the help line of a verb, for the list of verbs."""
        return TyperCommand(cmd_name, help=VERBS[cmd_name]) if cmd_name in VERBS else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401, ARG002 - click's own
        """Name, command and arguments of the verb that is called.

        Raises:
            ConfigError: The verb is unknown.
        """
        name, *rest = args
        if name not in VERBS:
            raise unknown_name("verb", name, VERBS)
        return name, loaded(name), rest


def loaded(name: str) -> Any:  # noqa: ANN401 - click's own
    """The click command of a verb."""
    module = import_module(f"sirl.cli.{name}")
    if hasattr(module, "app"):
        group = typer.main.get_command(module.app)
        group.name = name
        return group
    alone = typer.Typer(add_completion=False, rich_markup_mode=None)
    alone.command(name, cls=Command)(getattr(module, name))
    return typer.main.get_command(alone)
