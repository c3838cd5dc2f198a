"""`sirl guard calibrate` and `sirl guard evaluate`, of a local model or of one behind an API."""

from typing import Any

from sirl import registry
from sirl.config import GuardCalibrateConfig, GuardEvaluateConfig
from sirl.roles import Console
from sirl.runs import Existing

__all__ = ["calibrate", "evaluate"]


def calibrate(config: GuardCalibrateConfig, existing: Existing, console: Console) -> dict[str, Any]:
    """Calibrate a guard into a run folder; the summary.

    Raises:
        SirlError: The user can correct it.
    """
    from sirl.workflows.guard.calibrate import calibrate_guard
    from sirl.workflows.guard.calibrate_endpoint import calibrate_endpoint

    work = calibrate_endpoint if registry.is_address(config.model) else calibrate_guard
    return work(config, existing, console)


def evaluate(config: GuardEvaluateConfig, existing: Existing, console: Console) -> dict[str, Any]:
    """Evaluate a guard into a run folder; the summary.

    Raises:
        SirlError: The user can correct it.
    """
    from sirl.workflows.guard.evaluate import evaluate_guard
    from sirl.workflows.guard.evaluate_endpoint import evaluate_endpoint

    work = evaluate_endpoint if registry.is_address(config.model) else evaluate_guard
    return work(config, existing, console)
