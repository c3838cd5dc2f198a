"""`sirl probe`: measure the entropy gap."""

from sirl.cli.console import Terminal, finish_measured
from sirl.cli.flags import JSON, OVERWRITE, RESUME, existing, takes
from sirl.config import ProbeConfig

__all__ = ["probe"]

NO_GAP = "No judged answer to a harmful request has entropies, so there is no gap to measure."


@takes(ProbeConfig)
def probe(
    settings: ProbeConfig,
    resume: bool = RESUME,
    overwrite: bool = OVERWRITE,
    json: bool = JSON,
) -> None:
    """Measure the entropy gap between refusals and compliance."""
    answer = existing(resume=resume, overwrite=overwrite)
    from sirl.cli.hints import hints
    from sirl.workflows.evaluate import evaluate as run_evaluation

    summary = run_evaluation(settings, "probe", answer, Terminal())
    figures = summary["models"]["target"]
    finish_measured(
        summary,
        figures.get("entropy", {}).get("sentence", NO_GAP),
        *((figures["own_refusals"]["sentence"],) if "own_refusals" in figures else ()),
        f"records: {settings.out}/records.jsonl; page: {settings.out}/report.html",
        *hints(settings, figures),
        as_json=json,
    )
