"""`sirl probe`: does the model have an instinct to amplify?"""

from sirl.cli.flags import JSON, OVERWRITE, RESUME, existing, takes
from sirl.cli.show import finish_measured
from sirl.config import ProbeConfig

__all__ = ["probe"]


@takes(ProbeConfig)
def probe(
    settings: ProbeConfig,
    resume: bool = RESUME,
    overwrite: bool = OVERWRITE,
    json: bool = JSON,
) -> None:
    """Measure the entropy gap alone: are refusals more confident than compliance?"""
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
