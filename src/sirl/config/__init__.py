"""Settings of each verb: a YAML file, `key=value` overrides and flags; unknown keys are errors.

This package does not import torch.
"""

from sirl.config.groups import (
    ModelSettings,
    RequestSettings,
    TargetEndpointSettings,
    sampled_rate,
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
    "own_name",
    "parse_value",
    "resolve",
    "sampled_rate",
]
