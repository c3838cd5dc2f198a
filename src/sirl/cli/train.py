"""`sirl train`: harden a model."""

from sirl.cli.flags import JSON, OVERWRITE, RESUME, existing, takes
from sirl.cli.show import finish
from sirl.config import TrainConfig

__all__ = ["train"]


@takes(TrainConfig)
def train(
    settings: TrainConfig,
    resume: bool = RESUME,
    overwrite: bool = OVERWRITE,
    json: bool = JSON,
) -> None:
    """Harden a model with unlabelled prompts, and measure it before and after."""
    answer = existing(resume=resume, overwrite=overwrite)
    from sirl.cli.harden import harden

    summary = harden(settings, "train", answer)
    finish(
        summary,
        f"hardened model: {summary['checkpoint']}",
        f"page: {settings.out}/report.html",
        f"next: sirl evaluate --model {summary['checkpoint']} --behaviours FILE --out DIR",
        as_json=json,
    )
