"""Endpoints behind a guard, for calibration and for serving."""

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from sirl.config import GuardCalibrateConfig, GuardServeConfig
from sirl.errors import ConfigError
from sirl.registry.endpoints import address_of, engine_at, paced
from sirl.registry.keys import DEFAULT, NO_KEY

if TYPE_CHECKING:
    from sirl.guard.upstream.wire import Upstream
    from sirl.rollouts.endpoint import EndpointEngine

__all__ = ["calibrated_endpoint", "served_upstream", "upstream_engine"]

SERVED_TRIES = 3
"""Times a request is sent when a server starts."""


def calibrated_endpoint(config: GuardCalibrateConfig) -> "EndpointEngine":
    """The endpoint `URL#MODEL`.

    Raises:
        ConfigError: The model name is missing, or the key may not be sent to this host.
    """
    address = address_of(config.model)
    variable = variable_of("key_from_env", config.key_from_env)
    return paced(engine_at(address, config.new_tokens, variable, config.seed), config)


def upstream_engine(config: GuardServeConfig) -> "EndpointEngine":
    """The upstream of a server, to be asked before it starts.

    Raises:
        ConfigError: The upstream's model is not named, or the key may not be sent to this host.
    """
    from sirl.rollouts.endpoint_wire import check_url

    url = str(config.upstream)
    if not config.upstream_model:
        raise ConfigError(f"--upstream {url.partition('#')[0]} needs --upstream-model NAME")
    check_url(url)
    variable = variable_of("upstream_key_from_env", config.upstream_key_from_env)
    engine = engine_at((url, config.upstream_model), 1, variable)
    return replace(engine, timeout=config.upstream_seconds, tries=SERVED_TRIES)


def served_upstream(config: GuardServeConfig, engine: "EndpointEngine") -> "Upstream":
    """The upstream as it is asked for answers; it keeps what the engine learned of its dialect."""
    from sirl.guard.upstream.wire import Upstream
    from sirl.rollouts.endpoint_dialect import shared_dialect
    from sirl.rollouts.endpoint_wire import key_for

    return Upstream(
        engine.url,
        engine.model,
        key_for(engine.url, engine.key_from_env),
        config.upstream_seconds,
        config.upstream_idle_seconds,
        dialect=shared_dialect(engine.identity),
        key_from_env=engine.key_from_env,
    )


def variable_of(setting: str, named: str | None) -> str:
    """The environment variable with the key; empty if none is sent.

    Raises:
        ConfigError: It was named and is not set.
    """
    if named in ("", NO_KEY):
        return ""
    if named is None:
        return DEFAULT
    if not os.environ.get(named, "").strip():
        raise ConfigError(f"{setting} names {named}, which is not set: export it")
    return named
