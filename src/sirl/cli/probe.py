"""`sirl probe`: does the model have an instinct to amplify?"""

from pathlib import Path

from sirl.cli.flags import CONFIG, JSON, OVERWRITE, RESUME, SET, STRICT, existing, flag, given
from sirl.cli.show import finish_measured
from sirl.config import ProbeConfig, resolve

__all__ = ["probe"]


def probe(
    model: str | None = flag(ProbeConfig, "model", "--model"),
    behaviours: str | None = flag(ProbeConfig, "behaviours", "--behaviours"),
    attacks: str | None = flag(ProbeConfig, "attacks", "--attacks"),
    ordinary: str | None = flag(ProbeConfig, "ordinary", "--ordinary"),
    lookalikes: str | None = flag(ProbeConfig, "lookalikes", "--lookalikes"),
    limit: int | None = flag(ProbeConfig, "limit", "--limit"),
    seed: int | None = flag(ProbeConfig, "seed", "--seed"),
    out: str | None = flag(ProbeConfig, "out", "--out"),
    config: Path | None = CONFIG,
    set_: list[str] = SET,
    strict: bool | None = STRICT,
    resume: bool = RESUME,
    overwrite: bool = OVERWRITE,
    json: bool = JSON,
) -> None:
    """Measure the entropy gap alone: are refusals more confident than compliance?"""
    flags = given(ProbeConfig, locals())
    settings = resolve(ProbeConfig, file=config, overrides=set_, flags=flags)
    answer = existing(resume=resume, overwrite=overwrite)
    from sirl.cli.measure import measure

    summary = measure(settings, "probe", answer)
    from sirl.evaluation.entropy_gap import gap_sentence

    finish_measured(
        summary,
        gap_sentence(summary["models"]["target"].get("entropy", {})),
        f"records: {settings.out}/records.jsonl; page: {settings.out}/report.html",
        "next: sirl train --model MODEL --prompts FILE --out DIR",
        as_json=json,
    )
