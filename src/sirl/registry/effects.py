"""Refuses settings that would have no effect, since the user expects one."""

import re
from collections.abc import Iterator

from sirl.config import (
    EvaluationSettings,
    GuardEvaluateConfig,
    ProbeConfig,
    Settings,
    TrainingSettings,
)
from sirl.errors import ConfigError

__all__ = ["check_effects"]


def check_effects(settings: Settings) -> None:
    """Raise an error for a setting that has no effect with the others.

    Raises:
        ConfigError: A setting differs from its default, but a setting that it needs is not given.
    """
    for name, needs in without_effect(settings):
        if getattr(settings, name, None) != type(settings).model_fields[name].default:
            raise ConfigError(f"{name} needs {needs}: give that, or leave {name} out")


def without_effect(settings: Settings) -> Iterator[tuple[str, str]]:
    """Names of settings without effect, each with the setting that it needs."""
    if isinstance(settings, EvaluationSettings):
        yield from idle_in_evaluation(settings)
    elif isinstance(settings, TrainingSettings):
        if not settings.lora:
            yield "lora_rank", "--lora"
        if settings.method == "instinct":
            for name in ("reward", "disguised"):
                yield name, "--method entropy"
        else:
            yield "depth", "--method instinct"
        if not settings.depth:
            yield "suffixes", "--depth"
        if not settings.reads_instinct:
            yield "pool", "--method instinct or --sentinel"
        if not settings.held_out and settings.behaviours is None:
            yield "attacks", "an evaluation, which --held-out or --behaviours provide"


def idle_in_evaluation(settings: EvaluationSettings) -> Iterator[tuple[str, str]]:
    """Names of settings without effect in an evaluation."""
    roles = {"key_from_env": "model", "judge_key_from_env": "judge"}
    roles["attacker_key_from_env"] = "attacker"
    for name, role in {**roles, "supports_opener": "model"}.items():
        if "://" not in getattr(settings, role):
            yield name, f"an endpoint as --{role}"
    asked = (settings.model, settings.judge, settings.attacker)
    if not any("://" in name for name in asked):
        for name in ("concurrency", "requests_per_minute", "timeout", "tries"):
            yield name, "an endpoint as --model, --judge or --attacker"
    yield from idle_by_verb(settings)
    if not settings.benchmarks:
        yield "capability_tokens", "--benchmarks"
    if not any(kind in (settings.benchmarks or "") for kind in ("humaneval:", "mbpp:", "lmeval:")):
        yield "run_code", "humaneval:FILE or mbpp:FILE among --benchmarks"
    if not any(map(may_be_local, asked)):
        for name in ("dtype", "sampling_batch_size", "sampler", "template_date"):
            yield name, "a model in this process"


def idle_by_verb(settings: EvaluationSettings) -> Iterator[tuple[str, str]]:
    """Names of settings that the verb itself does not use."""
    if isinstance(settings, ProbeConfig):
        yield "benchmarks", "sirl evaluate, as a probe has no tasks"
    if isinstance(settings, GuardEvaluateConfig):
        yield "best_of", "sirl evaluate, as a guard watches single answers"
        yield "capability_tokens", "sirl evaluate, as a guard watches answers of new_tokens"
        if not settings.searches:
            for name in ("max_queries", "max_tokens", "max_seconds"):
                yield name, "--searches"


def may_be_local(models: str) -> bool:
    """Whether a model, or one of several judges, may be loaded into this process."""
    given = {name.strip() for name in re.split(r"[,+]", models)}
    elsewhere = {name for name in given if "://" in name or "python:" in name}
    none = {"auto", "none", "rules", "oracle", "world_harm"}
    return any(
        name not in none and not name.startswith("classifier:") for name in given - elsewhere
    )
