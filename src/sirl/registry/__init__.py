"""Builds objects from the names in the settings; the only package that knows every implementation.

Imports are inside functions, so that a verb loads only what it uses.
"""

import importlib.util

from sirl.errors import MissingExtraError
from sirl.registry.attacks import attacks_named, members, world_disguises
from sirl.registry.benchmarks import benchmark_files, code_protection
from sirl.registry.collaborators import (
    example_sources,
    observers,
    require_collaborators,
    reward_named,
)
from sirl.registry.effects import check_effects
from sirl.registry.environment import EXTRAS
from sirl.registry.guard import (
    GuardSetup,
    guard_searches,
    guard_setup,
    guarded_setup,
)
from sirl.registry.guarded_endpoints import calibrated_endpoint, served_upstream, upstream_engine
from sirl.registry.judges import (
    judge_faults,
    judge_named,
    judges_of,
    models_behind,
    preference_judge,
    remembering,
    with_refusals,
)
from sirl.registry.labelled import LABELS_HASH, check_labels, known_answers_marked
from sirl.registry.planning import gpu_room, planned, rates
from sirl.registry.playground import example_requests, playground_disguises
from sirl.registry.pool import training_disguises
from sirl.registry.sampling import local_engine, require_sampler, sampler
from sirl.registry.suites import EvaluationSetup, evaluation_setup
from sirl.registry.targets import (
    EMBEDDED,
    Subject,
    chat_model,
    dialects,
    endpoint,
    greet,
    in_process,
    is_address,
    is_remote,
    is_world,
    served_model,
    subject,
)
from sirl.registry.trackers import trackers
from sirl.registry.training import learner, policy, ranks
from sirl.registry.training_sets import TrainingSetup, training_setup
from sirl.registry.voices import dated

__all__ = [
    "EMBEDDED",
    "LABELS_HASH",
    "EvaluationSetup",
    "GuardSetup",
    "Subject",
    "TrainingSetup",
    "attacks_named",
    "benchmark_files",
    "calibrated_endpoint",
    "chat_model",
    "check_effects",
    "check_labels",
    "code_protection",
    "dated",
    "dialects",
    "endpoint",
    "evaluation_setup",
    "example_requests",
    "example_sources",
    "gpu_room",
    "greet",
    "guard_searches",
    "guard_setup",
    "guarded_setup",
    "in_process",
    "is_address",
    "is_remote",
    "is_world",
    "judge_faults",
    "judge_named",
    "judges_of",
    "known_answers_marked",
    "learner",
    "local_engine",
    "members",
    "models_behind",
    "observers",
    "planned",
    "playground_disguises",
    "policy",
    "preference_judge",
    "ranks",
    "rates",
    "remembering",
    "require_collaborators",
    "require_extra",
    "require_models",
    "require_sampler",
    "reward_named",
    "sampler",
    "served_model",
    "served_upstream",
    "subject",
    "trackers",
    "training_disguises",
    "training_setup",
    "upstream_engine",
    "with_refusals",
    "world_disguises",
]


def require_models(feature: str) -> None:
    """Check that the packages that run models are installed, before any other work.

    Raises:
        MissingExtraError: A package is missing.
    """
    require_extra("train", feature)


def require_extra(extra: str, feature: str) -> None:
    """Check that the packages of an extra are installed.

    Raises:
        MissingExtraError: A package is missing.
    """
    if any(importlib.util.find_spec(name) is None for name in EXTRAS[extra]):
        raise MissingExtraError(feature, extra)
