"""`sirl demo`: the whole idea on the embedded model."""

from sirl.cli.flags import JSON, OVERWRITE, RESUME, SET, existing, flag
from sirl.cli.show import finish
from sirl.config import DemoConfig, resolve

__all__ = ["demo"]


def demo(
    out: str | None = flag(DemoConfig, "out", "--out"),
    seed: int | None = flag(DemoConfig, "seed", "--seed"),
    set_: list[str] = SET,
    resume: bool = RESUME,
    overwrite: bool = OVERWRITE,
    json: bool = JSON,
) -> None:
    """Watch a small aligned model learn to trust its refusals, in a minute or two on a CPU."""
    flags = {"out": out, "seed": seed}
    settings = resolve(DemoConfig, file=None, overrides=set_, flags=flags)
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
