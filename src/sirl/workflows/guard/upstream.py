"""Opens an upstream and its guard for `sirl guard serve --upstream`."""

from pathlib import Path
from typing import TYPE_CHECKING

from sirl import registry
from sirl.config import GuardServeConfig
from sirl.errors import ConfigError
from sirl.guard.server.policy import Rule
from sirl.roles import Console
from sirl.workflows.guard.calibrate import GUARD
from sirl.workflows.guard.folder import calibrating, guard_document
from sirl.workflows.guard.service import NONE, answer_tokens, service_with

if TYPE_CHECKING:
    from sirl.guard.server.alarms import AlarmLog
    from sirl.guard.server.keys import Keys
    from sirl.guard.server.service import Service
    from sirl.guard.upstream.endpoint_guard import EndpointGuard

__all__ = ["check_upstream", "read_endpoint_guard", "upstream_service"]

UNGUARDED_TOKENS = 4096
LOCAL = ("template_arguments", "template_date")
"""Settings of a model that this server runs itself."""


def check_upstream(config: GuardServeConfig) -> None:
    """Reject settings that an upstream cannot follow, before it is asked.

    Raises:
        ConfigError: There is one.
    """
    if config.model:
        raise ConfigError("--upstream names the model that answers: leave --model out")
    if config.guard is None:
        raise ConfigError(
            f"sirl guard serve --upstream {config.upstream} needs --guard DIR: run "
            f"{calibrating(model_at(config), 'DIR')} first, or serve it without a guard with "
            "--guard none"
        )
    if given := next((name for name in LOCAL if getattr(config, name) is not None), None):
        raise ConfigError(f"{given} is for a local model: leave it out")
    if config.prefill:
        raise ConfigError("--prefill needs a local model: an upstream may not continue an answer")
    if config.max_prompt_tokens is not None:
        raise ConfigError(
            "--max-prompt-tokens needs a local model, whose tokens can be counted in advance: "
            "limit requests with --max-body-bytes"
        )


def upstream_service(
    config: GuardServeConfig, keys: "Keys", console: Console, alarms: "AlarmLog | None"
) -> "Service":
    """The upstream and its guard as a service.

    Raises:
        SirlError: The guard is of another model, or the upstream cannot be guarded.
    """
    from sirl.guard.upstream.meeting import identity_of
    from sirl.guard.upstream.source import UpstreamSource

    guard = (
        None if config.guard == NONE else read_endpoint_guard(str(config.guard), model_at(config))
    )
    engine = registry.upstream_engine(config)
    tokens = answer_tokens(config, guard.calibration if guard else None, UNGUARDED_TOKENS)
    if guard is None:
        engine.greet()
    else:
        found = identity_of(engine, sorted(guard.openers), guard.manner)
        guard.refuse_other(found, tokens, str(config.guard))
        console.warn([f"checks: at least one request per {guard.watch.every} tokens of an answer"])
    source = UpstreamSource(registry.served_upstream(config, engine), guard)
    rule = Rule(guard.watch, guard.threshold) if guard else None
    return service_with(config, source, rule, tokens, config.max_streams, keys, alarms)


def model_at(config: GuardServeConfig) -> str:
    """The upstream's model, as `sirl guard calibrate` is given it."""
    return f"{config.upstream}#{config.upstream_model or 'NAME'}"


def read_endpoint_guard(folder: str, model: str) -> "EndpointGuard":
    """The guard of a model in a folder that `sirl guard calibrate --model URL#MODEL` wrote.

    Raises:
        InputError: There is none, or it is of a local model.
    """
    from sirl.guard.upstream.endpoint_guard import EndpointGuard

    document = guard_document(folder, model)
    return EndpointGuard.revived(document, str(Path(folder) / GUARD))
