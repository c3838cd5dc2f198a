"""`sirl demo`: the whole idea on the embedded model."""

from sirl.cli.flags import JSON, OVERWRITE, RESUME, existing, takes
from sirl.cli.show import finish
from sirl.config import DemoConfig

__all__ = ["demo"]


@takes(DemoConfig, "out", "seed")
def demo(
    settings: DemoConfig,
    resume: bool = RESUME,
    overwrite: bool = OVERWRITE,
    json: bool = JSON,
) -> None:
    """Watch a small aligned model learn to trust its refusals, in a minute or two on a CPU."""
    answer = existing(resume=resume, overwrite=overwrite)
    from sirl.cli.harden import harden

    summary = harden(settings, "demo", answer)
    finish(
        summary,
        f"page: {settings.out}/report.html",
        f"took {summary['seconds']:.0f} s; hardened model: {summary['checkpoint']}",
        "next: sirl train --model YOUR_CHECKPOINT --prompts YOUR_PROMPTS --out runs/mine",
        as_json=json,
    )
