"""`sirl evaluate`: measure a model."""

from pathlib import Path

from sirl.cli.flags import CONFIG, JSON, OVERWRITE, RESUME, SET, STRICT, existing, flag, given
from sirl.cli.show import finish_measured
from sirl.config import EvaluateConfig, resolve

__all__ = ["evaluate"]


def evaluate(
    model: str | None = flag(EvaluateConfig, "model", "--model"),
    behaviours: str | None = flag(EvaluateConfig, "behaviours", "--behaviours"),
    attacks: str | None = flag(EvaluateConfig, "attacks", "--attacks"),
    judge: str | None = flag(EvaluateConfig, "judge", "--judge"),
    attacker: str | None = flag(EvaluateConfig, "attacker", "--attacker"),
    sheet: str | None = flag(EvaluateConfig, "sheet", "--sheet"),
    templates: str | None = flag(EvaluateConfig, "templates", "--templates"),
    transcripts: str | None = flag(EvaluateConfig, "transcripts", "--transcripts"),
    targets: str | None = flag(EvaluateConfig, "targets", "--targets"),
    ordinary: str | None = flag(EvaluateConfig, "ordinary", "--ordinary"),
    lookalikes: str | None = flag(EvaluateConfig, "lookalikes", "--lookalikes"),
    benchmarks: str | None = flag(EvaluateConfig, "benchmarks", "--benchmarks"),
    limit: int | None = flag(EvaluateConfig, "limit", "--limit"),
    seed: int | None = flag(EvaluateConfig, "seed", "--seed"),
    out: str | None = flag(EvaluateConfig, "out", "--out"),
    config: Path | None = CONFIG,
    set_: list[str] = SET,
    strict: bool | None = STRICT,
    resume: bool = RESUME,
    overwrite: bool = OVERWRITE,
    json: bool = JSON,
) -> None:
    """Measure defence, over-refusal, capability and the entropy gap of a model."""
    flags = given(EvaluateConfig, locals())
    settings = resolve(EvaluateConfig, file=config, overrides=set_, flags=flags)
    answer = existing(resume=resume, overwrite=overwrite)
    from sirl.cli.measure import measure

    summary = measure(settings, "evaluate", answer)
    finish_measured(
        summary,
        f"records: {settings.out}/records.jsonl; page: {settings.out}/report.html",
        "next: sirl train --model MODEL --prompts FILE --out DIR",
        as_json=json,
    )
