"""`sirl guard`: fit and calibrate a guard of one model, measure what it detects, and serve it."""

import shlex
from json import dumps
from typing import Any

import typer

from sirl import registry
from sirl.cli.command import Command
from sirl.cli.console import Terminal, closing
from sirl.cli.flags import JSON, OVERWRITE, existing, takes
from sirl.cli.steps import OF_TEMPLATE, given
from sirl.config import (
    GuardCalibrateConfig,
    GuardEvaluateConfig,
    GuardServeConfig,
    TargetEndpointSettings,
)
from sirl.text import many

__all__ = ["app"]

app = typer.Typer(
    help="Detect attacks while a model answers: calibrate, evaluate and serve a guard.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


SHOWN = (
    *("model", "guard", "out", "behaviours", "ordinary", "lookalikes", "benchmarks", "attacks"),
    *("templates", "searches", "judge", "refusals", "limit", "new_tokens", "seed", "dtype"),
    *("template_arguments", "template_date", "strict"),
)
"""Settings of an evaluation with a flag; the others are given by `--set`."""


@app.callback()
def options() -> None:
    """Detect attacks while a model answers: calibrate, evaluate and serve a guard."""


@app.command("calibrate", cls=Command)
@takes(GuardCalibrateConfig)
def calibrate(
    settings: GuardCalibrateConfig, overwrite: bool = OVERWRITE, json: bool = JSON
) -> None:
    """Fit a guard to a model without labels, and calibrate its threshold on harmless prompts."""
    from sirl.workflows.guard.verbs import calibrate as run_calibration

    answer = existing(resume=False, overwrite=overwrite)
    summary = run_calibration(settings, answer, Terminal())
    if json:
        typer.echo(dumps(summary))
        return
    found = paid if registry.is_address(settings.model) else fitted
    written = f"guard: {settings.out}/guard.json"
    closing({}, found(summary), summary["sentence"], written, *next_commands(settings))


@app.command("evaluate", cls=Command)
@takes(GuardEvaluateConfig, *SHOWN)
def evaluate(settings: GuardEvaluateConfig, overwrite: bool = OVERWRITE, json: bool = JSON) -> None:
    """Measure detection of attacks that the guard was not fitted on, and false alarms."""
    from sirl.reports.guard import guard_closing
    from sirl.workflows.guard.verbs import evaluate as run_evaluation

    answer = existing(resume=False, overwrite=overwrite)
    summary = run_evaluation(settings, answer, Terminal())
    if json:
        typer.echo(dumps(summary))
    else:
        where = f"all tables: {settings.out}/guard.md; scores: {settings.out}/guard_scores.jsonl"
        closing({}, *guard_closing(summary), where)
    if summary["judge_faults"]:
        raise typer.Exit(1)


@app.command("serve", cls=Command)
@takes(GuardServeConfig)
def serve(settings: GuardServeConfig) -> None:
    """Serve a model as an OpenAI-compatible endpoint whose guard watches every answer."""
    from sirl.workflows.guard.serve import serve_guard

    serve_guard(settings, Terminal())


def paid(summary: dict[str, Any]) -> str:
    """What the calibration of an endpoint found and cost, in a sentence."""
    openers = ", ".join(map(repr, summary["openers"]))
    return (
        f"refusal openers: {openers}; threshold {summary['threshold']:.2f} (log-probability of a "
        f"refusal); {many(summary['requests'], 'request')}, "
        f"{many(summary['tokens'], 'token')} written"
    )


def fitted(summary: dict[str, Any]) -> str:
    """What the probe was fitted on, in a sentence."""
    probe, openers = summary["probe"], ", ".join(map(repr, summary["openers"])) or "none"
    loss = min(probe["log_loss"].values())
    return (
        f"probe: layer {probe['layer']}, {many(probe['rows'], 'state')} of "
        f"{many(probe['prompts'], 'prompt')}, cross-validated log loss {loss:.3f}; "
        f"refusal openers: {openers}"
    )


def next_commands(settings: GuardCalibrateConfig) -> list[str]:
    """The commands that evaluate this guard and serve it."""
    model, guard = settings.model, ["--guard", settings.out]
    if registry.is_address(model):
        own = given(settings, *TargetEndpointSettings.model_fields, flagged=False)
        url, _, name = model.partition("#")
        served = ["--upstream", url, "--upstream-model", name, *guard]
        if settings.key_from_env is not None:
            served += ["--upstream-key-from-env", settings.key_from_env]
    else:
        bound = given(settings, "dtype", *OF_TEMPLATE)
        own = [*bound, *given(settings, "sampler", flagged=False)]
        served = ["--model", model, *guard, *bound]
    files = [] if registry.is_world(model) else ["--behaviours", "FILE", "--ordinary", "FILE"]
    asked = ["--model", model, *guard, "--new-tokens", str(settings.new_tokens), *own]
    out = ["--out", f"{settings.out}-evaluated"]
    return [
        f"next: {shlex.join(['sirl', 'guard', 'evaluate', *asked, *files, *out])}",
        f"to serve it: {shlex.join(['sirl', 'guard', 'serve', *served])}",
    ]
