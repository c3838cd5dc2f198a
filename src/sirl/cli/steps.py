"""The end of `sirl train` and `sirl demo`: the mini-evaluations and the next command."""

import json
import shlex
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from sirl.cli.console import page
from sirl.cli.wide_tables import fitting_tables
from sirl.config import TrainingSettings
from sirl.reports.steps import step_table
from sirl.workflows.report import hardened_step, outcome

__all__ = ["OF_TEMPLATE", "again", "given", "hardened_model", "show_steps"]

OF_TEMPLATE = ("template_arguments", "template_date")
"""Settings of the chat template."""


def show_steps(summary: Mapping[str, Any], *, as_json: bool) -> None:
    """Print the mini-evaluations as a table, unless the output is JSON."""
    found = step_table(summary["mini_evaluations"])
    if as_json or not found.rows:
        return
    console = page()
    rows = [(step, cells[:-1]) for step, cells in found.rows]
    for shown in fitting_tables(found.title, found.note, found.header[:-1], rows, console.width):
        console.print(shown, markup=False)
    for step, cells in found.rows:  # a path on its own line stays whole
        console.print(f"{step}: {cells[-1]}", markup=False, highlight=False, soft_wrap=True)


def hardened_model(summary: Mapping[str, Any]) -> list[str]:
    """The checkpoint that the table after training describes, and why it is that one."""
    return [*outcome(summary), f"hardened model: {hardened_step(summary)}"]


def again(config: TrainingSettings, summary: Mapping[str, Any]) -> str:
    """The `sirl evaluate` command that repeats the evaluation of the hardened model."""
    words = ["sirl", "evaluate", "--model", summary["checkpoint"]]
    if config.behaviours or config.prompts:
        words += ["--behaviours", config.behaviours or "FILE"]
    for flag in ("ordinary", "lookalikes", "refusals"):
        if file := getattr(config, flag):
            words += [f"--{flag}", file]
    words += ["--attacks", config.attacks, "--new-tokens", str(config.new_tokens)]
    words += given(config, "limit", "dtype", "seed", "sampling_batch_size")
    if config.sampler != "vllm":
        words += given(config, "sampler")
    if config.strict:
        words.append("--strict")
    words += given(config, *OF_TEMPLATE)
    return f"next: {shlex.join([*words, '--out', f'{config.out}-evaluated'])}"


def given(settings: BaseModel, *names: str, flagged: bool = True) -> list[str]:
    """The options of settings that are not at their defaults: as flags, or by `--set`."""
    words = list[str]()
    for name in names:
        value = getattr(settings, name)
        if value != type(settings).model_fields[name].default:
            text = json.dumps(value) if isinstance(value, dict) else str(value)
            by_set = ["--set", f"{name}={text}"]
            words += [f"--{name.replace('_', '-')}", text] if flagged else by_set
    return words
