"""`sirl train`: harden a model."""

from sirl.cli.console import Terminal, finish
from sirl.cli.flags import JSON, OVERWRITE, RESUME, existing, takes
from sirl.config import TrainConfig

__all__ = ["train"]


@takes(TrainConfig)
def train(
    settings: TrainConfig,
    resume: bool = RESUME,
    overwrite: bool = OVERWRITE,
    json: bool = JSON,
) -> None:
    """Harden a model; evaluate it before and after."""
    answer = existing(resume=resume, overwrite=overwrite)
    from sirl.cli.steps import again, hardened_model, show_steps
    from sirl.workflows.train import train as run_training

    summary = run_training(settings, "train", answer, Terminal())
    show_steps(summary, as_json=json)
    finish(
        summary,
        *([summary["asked"]] if summary["asked"] else []),
        *hardened_model(summary),
        f"page: {settings.out}/report.html",
        again(settings, summary),
        as_json=json,
    )
