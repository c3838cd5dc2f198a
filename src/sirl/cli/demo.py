"""`sirl demo`: the whole method on the embedded model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sirl.cli.console import Terminal, finish
from sirl.cli.flags import JSON, OVERWRITE, RESUME, existing, takes
from sirl.config import DemoConfig
from sirl.runs import settings_of

__all__ = ["demo"]


def settings_of_second(verb: str, out: Path) -> Mapping[str, Any]:
    """The settings of a demo to resume; none if it ended in its first run, before this folder."""
    return settings_of(verb, out) if out.exists() else {}


@takes(DemoConfig, "out", "seed", resumed=settings_of_second)
def demo(
    settings: DemoConfig,
    resume: bool = RESUME,
    overwrite: bool = OVERWRITE,
    json: bool = JSON,
) -> None:
    """Harden a small embedded model on a CPU, in a minute or two."""
    answer = existing(resume=resume, overwrite=overwrite)
    from sirl.cli.steps import hardened_model, show_steps
    from sirl.workflows.demo import demo as run_demo

    summary = run_demo(settings, answer, Terminal())
    show_steps(summary, as_json=json)
    finish(
        summary,
        summary["asked"],
        *hardened_model(summary),
        f"page: {settings.out}/report.html; took {summary['seconds']:.0f} s",
        f"the run of the paper's method: {settings.out}-paper",
        "next: sirl train --model YOUR_CHECKPOINT --prompts YOUR_PROMPTS --out runs/mine",
        "playground: sirl guard calibrate --model embedded --out runs/guard; then sirl guard serve "
        "--model embedded --guard runs/guard --details",
        as_json=json,
    )
