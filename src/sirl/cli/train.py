"""`sirl train`: harden a model."""

from pathlib import Path

from sirl.cli.flags import CONFIG, JSON, OVERWRITE, RESUME, SET, STRICT, existing, flag, given
from sirl.cli.show import finish
from sirl.config import TrainConfig, resolve

__all__ = ["train"]


def train(
    model: str | None = flag(TrainConfig, "model", "--model"),
    prompts: str | None = flag(TrainConfig, "prompts", "--prompts"),
    out: str | None = flag(TrainConfig, "out", "--out"),
    steps: int | None = flag(TrainConfig, "steps", "--steps"),
    seed: int | None = flag(TrainConfig, "seed", "--seed"),
    group: int | None = flag(TrainConfig, "group", "--group"),
    batch: int | None = flag(TrainConfig, "batch", "--batch"),
    learning_rate: float | None = flag(TrainConfig, "learning_rate", "--learning-rate"),
    kl: float | None = flag(TrainConfig, "kl", "--kl"),
    lora: bool | None = flag(TrainConfig, "lora", "--lora/--no-lora"),
    checkpoint_every: int | None = flag(TrainConfig, "checkpoint_every", "--checkpoint-every"),
    config: Path | None = CONFIG,
    set_: list[str] = SET,
    strict: bool | None = STRICT,
    resume: bool = RESUME,
    overwrite: bool = OVERWRITE,
    json: bool = JSON,
) -> None:
    """Harden a model with unlabelled prompts, and measure it before and after."""
    flags = given(TrainConfig, locals())
    settings = resolve(TrainConfig, file=config, overrides=set_, flags=flags)
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
