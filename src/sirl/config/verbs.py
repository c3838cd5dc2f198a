"""The settings of each verb, composed of groups.

pydantic takes fields from the last base class first: the order of flags reads from bottom to top.
"""

from typing import Literal

from pydantic import Field

from sirl.config.groups import (
    AttackSettings,
    BudgetSettings,
    CapabilitySettings,
    EndpointSettings,
    HardwareSettings,
    JudgeEndpointSettings,
    JudgingSettings,
    ModelSettings,
    ObjectiveSettings,
    OptimizationSettings,
    ProcessSettings,
    PromptSettings,
    RolloutSettings,
    RunSettings,
    SamplingSettings,
    StepSettings,
    TargetEndpointSettings,
    TrainingPromptSettings,
)

__all__ = [
    "DemoConfig",
    "EvaluateConfig",
    "EvaluationSettings",
    "GuardCalibrateConfig",
    "GuardEvaluateConfig",
    "JudgeConfig",
    "PlanConfig",
    "ProbeConfig",
    "Settings",
    "SweepConfig",
    "TrainConfig",
    "TrainingSettings",
]


class Settings(RunSettings, SamplingSettings, ModelSettings):
    """What every verb that runs a model uses."""


class TrainingSettings(
    StepSettings,
    ProcessSettings,
    OptimizationSettings,
    ObjectiveSettings,
    RolloutSettings,
    PromptSettings,
    TrainingPromptSettings,
    Settings,
):
    """What a training run uses."""

    @property
    def reads_instinct(self) -> bool:
        """Whether the starting model is asked first what it would refuse."""
        return self.method == "instinct" or self.sentinel

    sampler: str = Field(
        "native",
        description="sampling engine: native, huggingface (generate(), for any model), vllm "
        "(experimental), a plug-in name, or python:MODULE:NAME",
    )
    attacks: str = Field(
        "quick",
        description="attacks of the evaluation before and after: comma-separated names, "
        "python:MODULE:NAME, or quick, standard, full, world",
    )
    behaviours: str | None = Field(
        None, description="harmful requests for the evaluation before and after"
    )


class EvaluationSettings(
    EndpointSettings,
    CapabilitySettings,
    JudgingSettings,
    BudgetSettings,
    AttackSettings,
    PromptSettings,
    Settings,
):
    """What an evaluation uses."""

    model: str = Field(
        ...,
        description="checkpoint folder, hub id, 'embedded', https://HOST/v1#NAME (OpenAI-style "
        "endpoint), or python:MODULE:NAME",
    )
    best_of: int = Field(
        1, ge=1, description="sample N answers and return the one with the lowest entropy"
    )
    behaviours: str | None = Field(
        None, description="harmful requests; required for every model but 'embedded'"
    )
    attacks: str = Field(
        "quick",
        description="attacks: comma-separated names, python:MODULE:NAME, or quick, standard, "
        "full, world; none runs only the attacks of your own files",
    )


class TrainConfig(TrainingSettings):
    """Harden a model."""


class PlanConfig(HardwareSettings, TrainingSettings):
    """Estimate what training takes; it accepts every setting of `sirl train`."""

    out: str = Field("runs/plan", description="run folder that training would write")


class DemoConfig(TrainingSettings):
    """The whole method on the embedded model."""

    model: str = Field("embedded", description="checkpoint folder, hub id, or 'embedded'")
    out: str = Field("runs/demo", description="run folder to write")
    attacks: str = Field("world", description="attacks of the evaluation before and after")
    held_out: int = Field(40, ge=1, description="held-out harmful requests in the evaluation")
    new_tokens: int = Field(48, ge=1, description="maximum new tokens per answer")


class EvaluateConfig(EvaluationSettings):
    """Evaluate a model."""


class SweepConfig(EvaluationSettings):
    """Evaluate the checkpoints of a training run side by side."""

    model: str = Field(
        default_factory=str,
        description="starting model [default: the one that the run started from]",
    )
    dtype: Literal["float32", "bfloat16"] = Field(
        default_factory=lambda: "float32", description="compute precision [default: the run's]"
    )
    new_tokens: int = Field(
        default_factory=lambda: 64,
        ge=1,
        description="maximum new tokens per answer [default: the run's]",
    )
    attacks: str = Field(
        default_factory=lambda: "quick",
        description="attacks: comma-separated names, python:MODULE:NAME, or quick, standard, "
        "full, world; none runs only the attacks of your own files [default: the run's]",
    )
    behaviours: str | None = Field(
        None, description="harmful requests [default: the run's --behaviours]"
    )
    steps: str | None = Field(
        None,
        description="steps to evaluate besides the starting model, comma-separated [default: "
        "every kept checkpoint]",
    )
    max_lookalike_rise: float = Field(
        0.02, ge=0, le=1, description="price cap: rise of refusals of look-alikes, as a share"
    )
    max_ordinary_rise: float = Field(
        0.01, ge=0, le=1, description="price cap: rise of refusals of ordinary prompts, as a share"
    )
    max_capability_drop: float = Field(
        0.02, ge=0, le=1, description="price cap: fall of the share of solved tasks"
    )


class ProbeConfig(EvaluationSettings):
    """Measure only the entropy gap."""

    attacks: str = Field(
        "direct",
        description="attacks: comma-separated names, python:MODULE:NAME, or quick, standard, "
        "full, world",
    )


GUARDED = (
    "checkpoint folder, hub id, 'embedded', or https://HOST/v1#NAME (OpenAI-style endpoint that "
    "gives log-probabilities)"
)
"""Models that can have a guard."""


class GuardCalibrateConfig(TargetEndpointSettings, Settings):
    """Fit a guard to a model and calibrate it."""

    model: str = Field(..., description=GUARDED)

    prompts: str | None = Field(
        None,
        description="unlabelled prompts, some of which the model refuses: files and globs, "
        "comma-separated, or alarms:FOLDER (the alarm log of sirl guard serve); required for every "
        "model but 'embedded'",
    )
    ordinary: str | None = Field(
        None,
        description="ordinary prompts that set the threshold [default: those that ship with sirl]",
    )
    lookalikes: str | None = Field(
        None,
        description="harmless prompts that sound harmful; they also set the threshold [default: "
        "those that ship with sirl]",
    )
    alpha: float = Field(
        0.01, gt=0, lt=1, description="share of harmless answers that may raise an alarm"
    )
    limit: int | None = Field(
        None, ge=1, description="use at most N prompts of each kind, evenly spaced"
    )


class GuardEvaluateConfig(EvaluationSettings):
    """Measure what a guard detects."""

    model: str = Field(..., description=GUARDED)

    guard: str = Field(..., description="folder that sirl guard calibrate wrote")
    attacks: str = Field(
        "world",
        description="attacks, without searches: comma-separated names, or quick, standard, world; "
        "those that the guard was fitted on are left out",
    )
    searches: str = Field(
        "",
        description="searches to run with the guard off and on, such as random_search,gcg; slow",
    )


class JudgeConfig(JudgeEndpointSettings):
    """Ask a judge at an endpoint."""
