"""The end of `sirl train` and `sirl demo`: the mini-evaluations and the next command."""

import json
import shlex
from collections.abc import Mapping
from typing import Any

from sirl.cli.console import page
from sirl.cli.wide_tables import fitting_tables
from sirl.config import EvaluateConfig, TrainingSettings
from sirl.registry.targets import is_world
from sirl.reports.steps import step_table
from sirl.workflows.report import hardened_step

__all__ = ["again", "hardened_model", "show_steps"]


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
    found = summary.get("sentinel", {})
    said = [found[key] for key in ("reason", "sentence") if found.get(key)]
    return [*said, f"hardened model: {hardened_step(summary)}"]


def again(config: TrainingSettings, summary: Mapping[str, Any]) -> str:
    """The `sirl evaluate` command that repeats the evaluation of the hardened model."""
    words = ["sirl", "evaluate", "--model", summary["checkpoint"]]
    if config.behaviours or not is_world(config.model):
        words += ["--behaviours", config.behaviours or "FILE"]
    for flag in ("ordinary", "lookalikes", "refusals"):
        if file := getattr(config, flag):
            words += [f"--{flag}", file]
    words += ["--attacks", config.attacks, "--new-tokens", str(config.new_tokens)]
    for name in ("limit", "dtype", "seed", "sampling_batch_size"):
        if (value := getattr(config, name)) != EvaluateConfig.model_fields[name].default:
            words += [f"--{name.replace('_', '-')}", str(value)]
    if (
        config.sampler != "vllm"
        and config.sampler != EvaluateConfig.model_fields["sampler"].default
    ):
        words += ["--sampler", config.sampler]
    if config.strict:
        words.append("--strict")
    if config.template_arguments:
        words += ["--template-arguments", json.dumps(config.template_arguments)]
    if config.template_date:
        words += ["--template-date", config.template_date]
    return f"next: {shlex.join([*words, '--out', f'{config.out}-evaluated'])}"
