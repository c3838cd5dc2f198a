"""The verbs by name: what help says of each, and the module that is loaded when one is called."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from sirl.errors import unknown_name

__all__ = ["VERBS", "Verbs", "loaded"]

VERBS: Mapping[str, str] = {
    "demo": "Watch a small aligned model learn to trust its refusals, in a minute or two on a CPU.",
    "train": "Harden a model with unlabelled prompts, and measure it before and after.",
    "evaluate": "Measure defence, over-refusal, capability and the entropy gap of a model.",
    "probe": "Measure the entropy gap alone: are refusals more confident than compliance?",
    "plan": "Say what `sirl train` would take in memory, time and disk, and what to change to fit.",
    "doctor": "Say what works here: demo, training, endpoints; and how to add what does not.",
    "compare": "Compare two models that were asked the same; refuse where they were not.",
    "gate": "Hold a model to a least defence and a greatest price, by the ends of 95% intervals.",
    "report": "Draw the page of a finished run again, from what its folder holds.",
    "export": "Write a run as Markdown, CSV, or as lm-eval, JailbreakBench or inspect keep it.",
    "judge": "Judge again, prefer, measure a judge, train one.",
    "settings": "List every setting of a verb, with flag, type, default and meaning.",
    "world": "The embedded world and its model.",
}
"""The first line of each verb's own help, so that listing them loads none."""


class Verbs(TyperGroup):
    """Lists verbs by their names alone; loads the one that is called, with all that it needs."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401, ARG002 - click's context
        """The verbs, in the order of the work."""
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401, ARG002 - click's own
        """A verb as the list of verbs shows it."""
        return TyperCommand(cmd_name, help=VERBS[cmd_name]) if cmd_name in VERBS else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401, ARG002 - click's own
        """The verb that is called, and what it is called with.

        Raises:
            ConfigError: There is no such verb.
        """
        name, *rest = args
        if name not in VERBS:
            raise unknown_name("verb", name, VERBS)
        return name, loaded(name), rest


def loaded(name: str) -> Any:  # noqa: ANN401 - click's own
    """A verb, ready to be called."""
    module = import_module(f"sirl.cli.{name}")
    if hasattr(module, "app"):
        group = typer.main.get_command(module.app)
        group.name = name
        return group
    alone = typer.Typer(add_completion=False)
    alone.command(name)(getattr(module, name))
    return typer.main.get_command(alone)
