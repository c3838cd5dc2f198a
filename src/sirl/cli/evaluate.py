"""`sirl evaluate`: evaluate a model."""

from sirl.cli.console import Terminal, finish_measured
from sirl.cli.flags import JSON, OVERWRITE, RESUME, existing, takes
from sirl.config import EvaluateConfig

__all__ = ["evaluate"]


@takes(EvaluateConfig)
def evaluate(
    settings: EvaluateConfig,
    resume: bool = RESUME,
    overwrite: bool = OVERWRITE,
    json: bool = JSON,
) -> None:
    """Measure defence, over-refusal, capability and entropy gap."""
    answer = existing(resume=resume, overwrite=overwrite)
    from sirl.cli.hints import hints
    from sirl.workflows.evaluate import evaluate as run_evaluation

    summary = run_evaluation(settings, "evaluate", answer, Terminal())
    finish_measured(
        summary,
        f"records: {settings.out}/records.jsonl; page: {settings.out}/report.html",
        *hints(settings, summary["models"]["target"]),
        as_json=json,
    )
