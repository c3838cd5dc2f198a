"""Builds the service around a source of answers: its rule, bounds, alarms and session risk."""

from typing import TYPE_CHECKING

from sirl.config import GuardServeConfig
from sirl.guard.server.policy import Limits, Policy, Rule
from sirl.guard.session import SessionRisk

if TYPE_CHECKING:
    from sirl.guard.calibration import Calibration
    from sirl.guard.server.alarms import AlarmLog
    from sirl.guard.server.keys import Keys
    from sirl.guard.server.service import Service
    from sirl.guard.server.source import Source

__all__ = ["NONE", "answer_tokens", "service_with"]

NONE = "none"
"""The value of --guard that serves a model without one."""


def service_with(
    config: GuardServeConfig,
    source: "Source",
    rule: Rule | None,
    tokens: int,
    streams: int,
    keys: "Keys",
    alarms: "AlarmLog | None",
) -> "Service":
    """A source as a service.

    Args:
        config: The settings.
        source: Answers; it has been started.
        rule: Of its guard; None without one.
        tokens: Maximum tokens of an answer.
        streams: Answers at the same time.
        keys: API keys.
        alarms: Where alarms are logged; None for no log.
    """
    from sirl.guard.server.service import Service

    risk = None
    if config.throttle is not None:
        risk = SessionRisk(config.throttle, config.throttle_half_life)
    policy = Policy(rule, config.mode, config.action, config.on_fault)
    bounds = limits_of(config, tokens, streams)
    return Service.of(source, policy, bounds, keys, alarms, risk)


def answer_tokens(
    config: GuardServeConfig, calibration: "Calibration | None", unguarded: int
) -> int:
    """Maximum tokens of an answer: the setting, or what the guard was calibrated for."""
    if config.new_tokens is not None:
        return config.new_tokens
    if calibration is None:
        return unguarded
    return int(calibration.binding.mode.get("new_tokens", unguarded))


def limits_of(config: GuardServeConfig, tokens: int, streams: int) -> Limits:
    """The bounds of the settings."""
    return Limits(
        max_tokens=tokens,
        prefill=config.prefill,
        details=config.details,
        answers=config.max_answers,
        prompt_tokens=config.max_prompt_tokens,
        messages=config.max_messages,
        inputs=config.max_inputs,
        stops=config.max_stops,
        stop_characters=config.max_stop_characters,
        biases=config.max_logit_bias,
        body_bytes=config.max_body_bytes,
        streams=streams,
        queue=config.max_queue,
        seconds=config.request_seconds,
    )
