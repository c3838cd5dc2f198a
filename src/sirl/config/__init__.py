"""Settings of each verb: a YAML file, `key=value` overrides and flags; unknown keys are errors.

This package does not import torch.
"""

from sirl.config.groups import (
    SAMPLED_PACE,
    ModelSettings,
    RequestSettings,
    TargetEndpointSettings,
    is_at_points_rate,
)
from sirl.config.resolving import ALIASES, own_name, parse_value, resolve
from sirl.config.serving import GuardServeConfig
from sirl.config.verbs import (
    DemoConfig,
    EvaluateConfig,
    EvaluationSettings,
    GuardCalibrateConfig,
    GuardEvaluateConfig,
    JudgeConfig,
    PlanConfig,
    ProbeConfig,
    Settings,
    SweepConfig,
    TrainConfig,
    TrainingSettings,
)

__all__ = [
    "ALIASES",
    "SAMPLED_PACE",
    "DemoConfig",
    "EvaluateConfig",
    "EvaluationSettings",
    "GuardCalibrateConfig",
    "GuardEvaluateConfig",
    "GuardServeConfig",
    "JudgeConfig",
    "ModelSettings",
    "PlanConfig",
    "ProbeConfig",
    "RequestSettings",
    "Settings",
    "SweepConfig",
    "TargetEndpointSettings",
    "TrainConfig",
    "TrainingSettings",
    "is_at_points_rate",
    "own_name",
    "parse_value",
    "resolve",
]
