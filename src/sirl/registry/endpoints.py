"""Engines of endpoints, for targets, attackers, judges and guards."""

from dataclasses import replace
from typing import TYPE_CHECKING

from sirl.config import RequestSettings
from sirl.errors import ConfigError
from sirl.types import Sampling

if TYPE_CHECKING:
    from sirl.rollouts.endpoint import EndpointEngine

__all__ = ["address_of", "engine_at", "paced"]


def address_of(model: str) -> tuple[str, str]:
    """Address and model name of `URL#MODEL`.

    Raises:
        ConfigError: The model name is missing, or the address is none.
    """
    from sirl.rollouts.endpoint_wire import check_url

    url, _, name = model.partition("#")
    if not name:
        raise ConfigError(f"{model} names no model at the endpoint: write {url}#MODEL")
    check_url(url)
    return url, name


def engine_at(
    address: tuple[str, str], new_tokens: int, variable: str, seed: int = 0
) -> "EndpointEngine":
    """The engine of a model at an address.

    Raises:
        ConfigError: The key in the variable may not be sent to this host.
    """
    from sirl.rollouts.endpoint import EndpointEngine
    from sirl.rollouts.endpoint_wire import key_for

    url, name = address
    key_for(url, variable)
    return EndpointEngine(url, name, new_tokens, Sampling(), seed, key_from_env=variable)


def paced(engine: "EndpointEngine", config: RequestSettings) -> "EndpointEngine":
    """The engine with the pace of the settings."""
    return replace(
        engine,
        concurrency=config.concurrency,
        requests_per_minute=config.requests_per_minute,
        timeout=config.timeout,
        tries=config.tries,
    )
