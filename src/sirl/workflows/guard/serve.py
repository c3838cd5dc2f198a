"""The workflow of `sirl guard serve`: open a model and its guard, and serve them."""

import os
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sirl import registry
from sirl.config import GuardServeConfig
from sirl.errors import ConfigError
from sirl.guard.detectors import ACTING
from sirl.guard.server.policy import Rule
from sirl.roles import Console
from sirl.workflows.guard.calibrate import GUARD, binding_of
from sirl.workflows.guard.evaluate import read_guard
from sirl.workflows.guard.folder import calibrating
from sirl.workflows.guard.service import NONE, answer_tokens, service_with
from sirl.workflows.guard.upstream import check_upstream, upstream_service

if TYPE_CHECKING:
    from sirl.guard.scoring import Guard
    from sirl.guard.server.alarms import AlarmLog
    from sirl.guard.server.keys import Keys
    from sirl.guard.server.playground import Playground
    from sirl.guard.server.service import Service
    from sirl.guard.stream_checks import CheckScorer
    from sirl.models.chat import ChatModel

__all__ = ["compared_service", "keys_of", "opened_service", "playground_of", "serve_guard"]

KEYS = "SIRL_KEYS"
UNGUARDED_TOKENS = 512
SHORTEST_KEY = 8
COMMENT = "#"
"""Begins a line of a key file that holds no key."""


def serve_guard(config: GuardServeConfig, console: Console) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Raises:
        SirlError: The user can correct it.
    """
    check_serving(config)
    keys = keys_of(config)
    from sirl.guard.server.alarms import AlarmLog
    from sirl.guard.server.app import app_of
    from sirl.guard.server.listening import bound, listen

    with ExitStack() as stack:
        # What may be taken by another server, before the model is loaded.
        at = bound(config.host, config.port)
        stack.callback(at.close)
        alarms = None
        if config.out:
            alarms = AlarmLog(Path(config.out), log_text=config.log_text)
            stack.callback(alarms.close)
        service = opened_service(config, keys, console, alarms)
        stack.callback(service.source.stop)
        compared = None
        if config.compare is not None:
            compared = compared_service(config, service)
            stack.callback(compared.source.stop)
        listen(
            app_of(service, playground_of(config, compared)),
            at,
            drain=config.drain_seconds,
            ready=lambda url: console.warn([described(config, service, url)]),
        )


def check_serving(config: GuardServeConfig) -> None:
    """Reject what cannot be served, before the model is loaded.

    Raises:
        ConfigError: There is no guard and none was declined, or a setting has no effect.
        MissingExtraError: A package is missing.
    """
    check_source(config)
    if config.compare is not None and registry.is_remote(config.compare):
        raise ConfigError(f"--compare {config.compare} is not a local model: give a checkpoint")
    if config.log_text and not config.out:
        raise ConfigError("--log-text needs --out, the folder of alarms.jsonl")
    if config.guard == NONE and config.throttle is not None:
        raise ConfigError("--throttle counts alarms of a guard: give --guard DIR, or leave it out")
    if config.mode == "shadow" and config.throttle is not None:
        raise ConfigError(
            "--throttle refuses requests, and --mode shadow only records alarms: leave --throttle "
            "out, or give --mode hold or live"
        )
    if config.upstream is None:
        registry.require_models("sirl guard serve")
    registry.require_extra("serve", "sirl guard serve")


def check_source(config: GuardServeConfig) -> None:
    """Reject settings that name no model to serve.

    Raises:
        ConfigError: The model, its address or its guard is missing.
    """
    if config.upstream is not None:
        check_upstream(config)
    elif config.upstream_model is not None:
        raise ConfigError("--upstream-model needs --upstream URL")
    elif not config.model:
        raise ConfigError("give --model, or --upstream URL with --upstream-model NAME")
    elif config.guard is None:
        raise ConfigError(
            f"sirl guard serve --model {config.model} needs --guard DIR: run "
            f"{calibrating(config.model, 'DIR')} first, or serve it without a guard with --guard "
            "none"
        )
    if registry.is_remote(config.model):
        url, _, name = config.model.partition("#")
        raise ConfigError(
            f"--model {config.model} is not a local model: give --upstream {url} --upstream-model "
            f"{name or 'NAME'}"
        )


def keys_of(config: GuardServeConfig) -> "Keys":
    """The API keys of a file, or of the environment.

    Raises:
        ConfigError: A key is unusable, or the server would be open to other machines without one.
    """
    from sirl.guard.server.keys import LOOPBACK, Keys

    if config.key_file:
        try:
            lines = Path(config.key_file).read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"--key-file {config.key_file} cannot be read: check the path"
            ) from error
        part, where = "line", f"--key-file {config.key_file}"
        lines = ["" if line.lstrip().startswith(COMMENT) else line for line in lines]
    else:
        part, where, lines = "key", KEYS, os.environ.get(KEYS, "").split(",")
    found = {n: line.strip() for n, line in enumerate(lines, 1) if line.strip()}
    for n, key in found.items():
        if len(key) < SHORTEST_KEY or not (key.isascii() and key.isprintable()) or " " in key:
            raise ConfigError(
                f"{part} {n} of {where} is not a key: write {SHORTEST_KEY} or more ASCII "
                "characters without spaces"
            )
    if config.key_file and not found:
        raise ConfigError(f"{where} contains no key: write one per line")
    if config.host not in LOOPBACK and not found:
        raise ConfigError(
            f"--host {config.host} opens the server to other machines: give --key-file or {KEYS}"
        )
    return Keys(found.values())


def opened_service(
    config: GuardServeConfig, keys: "Keys", console: Console, alarms: "AlarmLog | None" = None
) -> "Service":
    """The model and its guard as a service.

    Raises:
        SirlError: The guard is of another model, or the model cannot be served.
    """
    if config.upstream is not None:
        return upstream_service(config, keys, console, alarms)
    from sirl.guard.local_source import LocalSource
    from sirl.guard.monitor import Watch

    guard = None if config.guard == NONE else read_guard(str(config.guard), config.model)
    config = registry.dated(config, {})
    chat = registry.served_model(config)
    console.warn(chat.manner.notes)
    tokens = answer_tokens(config, guard.calibration if guard else None, UNGUARDED_TOKENS)
    if guard:
        check_binding(config, guard, chat, tokens)
    watch = guard.fitted.watch if guard else Watch()
    streams = config.max_streams if batches(chat) else 1
    scorer = scorer_of(chat, guard) if guard else None
    source = LocalSource(name_of(config.model), chat, scorer, watch, streams)
    source.start()
    rule = rule_of(guard) if guard else None
    return service_with(config, source, rule, tokens, streams, keys, alarms)


def compared_service(config: GuardServeConfig, first: "Service") -> "Service":
    """The model of --compare as an unwatched service with the bounds and keys of the first.

    Raises:
        ModelError: It cannot be served.
    """
    from sirl.guard.local_source import LocalSource
    from sirl.guard.monitor import Watch
    from sirl.guard.server.policy import Policy
    from sirl.guard.server.service import Service

    name = str(config.compare)
    chat = registry.served_model(registry.dated(config.model_copy(update={"model": name}), {}))
    streams = first.limits.streams if batches(chat) else 1
    source = LocalSource(name_of(name), chat, None, Watch(), streams)
    source.start()
    limits = replace(first.limits, streams=streams)
    return Service.of(source, Policy(), limits, first.keys)


def playground_of(config: GuardServeConfig, compared: "Service | None" = None) -> "Playground":
    """What the page offers: disguises, for the embedded model requests, and a second model."""
    from sirl.guard.server.playground import Playground

    disguises = registry.playground_disguises(prefill=config.prefill)
    return Playground(disguises, registry.example_requests(config.model), compared)


def check_binding(config: GuardServeConfig, guard: "Guard", chat: "ChatModel", tokens: int) -> None:
    """Reject a guard that was calibrated for something else, or that cannot read this model.

    Raises:
        ConfigError: It was.
        InputError: It cannot: guard.json is damaged.
    """
    from sirl.models.loading import fingerprint

    own = binding_of(fingerprint(chat), tokens, config.dtype, guard.fitted.watch)
    guard.calibration.binding.refuse_other(own, str(config.guard))
    guard.check_model(chat, str(Path(str(config.guard)) / GUARD))


def batches(chat: "ChatModel") -> bool:
    """Whether prompts of different lengths may share a batch of this model."""
    return chat.manner.padding == "left" and not chat.manner.like_prompts


def scorer_of(chat: "ChatModel", guard: "Guard") -> "CheckScorer":
    """Scores checks as the guard does."""
    from sirl.guard.stream_checks import CheckScorer

    return CheckScorer(chat, guard.fitted)


def rule_of(guard: "Guard") -> Rule:
    """When a check is due, and which score is an alarm."""
    return Rule(guard.fitted.watch, guard.calibration.threshold(ACTING))


def name_of(model: str) -> str:
    """The id that clients give: a hub id, or the last part of a path."""
    return Path(model).resolve().name if Path(model).exists() else model


def described(config: GuardServeConfig, service: "Service", url: str) -> str:
    """What is served, in a sentence."""
    watched = f"guard {config.guard}, mode {config.mode}, on an alarm {service.policy.acts}"
    return (
        f"serving {service.source.name} at {url} "
        f"({watched if service.policy.rule else 'unwatched'}); open it in a browser to try it; "
        "stop with Ctrl-C"
    )
