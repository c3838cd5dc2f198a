"""Builds the target of `--model`: a local model, an endpoint, or a Python function."""

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from sirl.config import EvaluationSettings, GuardServeConfig, Settings
from sirl.errors import ConfigError, InputError, ModelError
from sirl.models.folder import adapter_base, document, is_adapter
from sirl.registry.endpoints import address_of, engine_at, paced
from sirl.registry.keys import Asker, key_variable
from sirl.registry.plugins import FUNCTION, in_present_folder
from sirl.registry.sampling import local_engine, with_tried_sampler
from sirl.registry.voices import voice_of
from sirl.roles import Engine
from sirl.types import Message, Need, Prompt, Sampling

if TYPE_CHECKING:
    from sirl.evaluation.target import PromptReading, Target
    from sirl.models.chat import ChatModel
    from sirl.rollouts.endpoint import EndpointEngine

__all__ = [
    "EMBEDDED",
    "Subject",
    "chat_model",
    "dialects",
    "endpoint",
    "function_subject",
    "greet",
    "in_process",
    "is_address",
    "is_function",
    "is_remote",
    "is_world",
    "served_model",
    "subject",
]

EMBEDDED = "embedded"
PROMPTS_REMEMBERED = 16384
TAIL = 24
"""Tokens at the end of a prompt where a template may open the thoughts."""


@dataclass(frozen=True)
class Subject:
    """The target of an evaluation, and its identity for `run.json`."""

    target: "Target"
    about: dict[str, str]

    @property
    def notes(self) -> Sequence[str]:
        """Warnings about how a local checkpoint is run."""
        return self.target.chat.manner.notes if self.target.chat else ()


def is_address(model: str) -> bool:
    """Whether a model is named by the address of its endpoint."""
    return model.startswith(("http://", "https://"))


def is_remote(model: str) -> bool:
    """Whether a model is an endpoint or a function, not a local checkpoint."""
    return is_address(model) or is_function(model)


def is_function(model: str) -> bool:
    """Whether a model is a Python function."""
    return model.startswith(FUNCTION)


def is_world(model: str) -> bool:
    """Whether a model is the embedded one or was trained from it, by its config.json."""
    if model == EMBEDDED:
        return True
    folder = Path(model)
    if is_adapter(folder):
        folder = Path(adapter_base(folder))
    return (folder / "config.json").is_file() and "sirl_world" in document(folder / "config.json")


def subject(config: EvaluationSettings) -> Subject:
    """The target of a configuration.

    Raises:
        SirlError: The model does not exist or cannot be used.
    """
    if not is_remote(config.model):
        from sirl.models.loading import fingerprint

        chat = chat_model(config)
        about = fingerprint(chat)
        make = partial(in_process, "target", chat, best_of=config.best_of, weights=about)
        return Subject(with_tasks(config, make), about)
    if config.template_arguments:
        raise ConfigError("template_arguments are for a local model: leave them out")
    if config.best_of > 1:
        raise ConfigError("best_of needs entropies: give a local model")
    if is_function(config.model):
        return function_subject(config)
    return endpoint_subject(config)


def with_tasks(
    config: EvaluationSettings, make: "Callable[[EvaluationSettings], Target]"
) -> "Target":
    """A target whose benchmark answers have the maximum length `capability_tokens`."""
    if not config.benchmarks:
        return make(config)
    tasks = make(config.model_copy(update={"new_tokens": config.capability_tokens}))
    return replace(make(config), tasks=tasks)


def chat_model(config: Settings) -> "ChatModel":
    """Load a model for inference in the configured precision."""
    from sirl.models.loading import load

    return with_tried_sampler(
        config, load(config.model, dtype=config.dtype, voice=voice_of(config))
    )


def served_model(config: GuardServeConfig) -> "ChatModel":
    """Load a model to be served.

    Raises:
        ModelError: It has no plain KV cache, so that streams cannot join and leave a batch.
    """
    from sirl.models.loading import load
    from sirl.rollouts.trial import settle_sampler

    chat = load(config.model, dtype=config.dtype, voice=voice_of(config))
    settle_sampler(chat, native=True)
    if chat.manner.generates:
        raise ModelError(
            f"{config.model} has no plain KV cache, which sirl guard serve needs: serve it with "
            "another server"
        )
    return chat


def in_process(
    name: str, chat: "ChatModel", config: Settings, *, best_of: int = 1, weights: object = None
) -> "Target":
    """A local model as a target; `weights` identifies the weights without hashing them."""
    from sirl.evaluation.target import Target, digest
    from sirl.models.forward import answer_likelihoods
    from sirl.models.loading import fingerprint
    from sirl.rollouts.best_of import LowestEntropy

    def engine(sampling: Sampling) -> Engine:
        inner = local_engine(config, chat, sampling)
        return LowestEntropy(inner, best_of) if best_of > 1 else inner

    return Target(
        name=name,
        identity=digest(
            weights or fingerprint(chat), config.new_tokens, config.dtype, best_of, config.seed
        ),
        engine=engine,
        read=reader(chat, config.new_tokens),
        pieces=chat.pieces,
        offers=frozenset({"gradients", "likelihoods", "opener", "decoding"}),
        batch_size=max(1, config.sampling_batch_size // best_of),
        seed=config.seed,
        chat=chat,
        likelihoods=partial(answer_likelihoods, chat),
    )


def reader(chat: "ChatModel", new_tokens: int) -> "Callable[[Prompt], PromptReading]":
    """A function that renders a prompt for a local model and checks that it fits the context."""
    from sirl.evaluation.target import PromptReading, digest
    from sirl.models.thoughts import left_open

    @lru_cache(maxsize=PROMPTS_REMEMBERED)
    def read(messages: tuple[Message, ...]) -> PromptReading:
        try:
            ids = chat.render(messages)
        except InputError as error:
            return PromptReading(0, "", str(error))
        room = len(ids) + new_tokens <= chat.context
        fault = (
            f"{len(ids)} tokens leave no room for an answer of {new_tokens} in a context of "
            f"{chat.context}: shorten the prompt, or lower new_tokens (for tasks capability_tokens)"
        )
        opened = left_open("".join(chat.pieces(ids[-TAIL:])))
        return PromptReading(len(ids), digest(ids), "" if room else fault, opened)

    return lambda prompt: read(prompt.messages)


def endpoint(
    model: str, config: EvaluationSettings, new_tokens: int, role: Asker = "target"
) -> "EndpointEngine":
    """The endpoint `URL#MODEL`.

    Raises:
        ConfigError: The model name is missing, or the key may not be sent to this host.
    """
    address = address_of(model)
    engine = engine_at(address, new_tokens, key_variable(role, config), config.seed)
    return replace(paced(engine, config), supports_opener=config.supports_opener)


def greet(models: Iterable[object], target: Engine | None = None) -> None:
    """Send a short test request to the judge and attacker endpoints, then to the target's.

    A fault of one endpoint is found before another one costs money. A target may reject the
    request, since some answer on one topic alone.

    Raises:
        ModelError: An endpoint does not answer.
    """
    from sirl.rollouts.endpoint import EndpointEngine

    found = {s.identity: s for s in models if isinstance(s, EndpointEngine)}
    for model in found.values():
        model.greet()
    if found and isinstance(target, EndpointEngine) and target.identity not in found:
        target.greet(strict=False)


def dialects(subject: Subject, models: Iterable[object]) -> dict[str, dict[str, list[str]]]:
    """Request fields that the endpoints of an evaluation have rejected so far, by endpoint."""
    from sirl.rollouts.endpoint_dialect import dialects

    asked = {subject.about.get("endpoint"), *(getattr(s, "identity", None) for s in models)}
    return {identity: learned for identity, learned in dialects().items() if identity in asked}


def endpoint_subject(config: EvaluationSettings) -> Subject:
    """An endpoint as the target; its weights, tokens and entropies are not available."""
    offers: set[Need] = {"decoding", "opener"} if config.supports_opener else {"decoding"}
    identity = endpoint(config.model, config, config.new_tokens).identity

    def make(config: EvaluationSettings) -> "Target":
        engine = endpoint(config.model, config, config.new_tokens)
        return opaque(lambda sampling: replace(engine, sampling=sampling), offers, identity, config)

    return Subject(with_tasks(config, make), {"endpoint": identity})


def function_subject(config: EvaluationSettings) -> Subject:
    """A Python function as the target; also searched in the current folder."""
    from sirl.rollouts.function import FunctionEngine, load_function

    path = config.model.removeprefix(FUNCTION)
    in_present_folder()
    engine = FunctionEngine(load_function(path), config.seed)
    return Subject(opaque(lambda _: engine, set(), path, config), {"function": path})


def opaque(
    engine: Callable[[Sampling], Engine],
    offers: set[Need],
    identity: str,
    config: EvaluationSettings,
) -> "Target":
    """A target without access to tokenizer and weights."""
    from sirl.evaluation.target import Target, digest, no_pieces, read_as_text

    return Target(
        name="target",
        identity=digest(identity, config.new_tokens, config.seed),
        engine=engine,
        read=read_as_text,
        pieces=no_pieces,
        offers=frozenset(offers),
        batch_size=sys.maxsize,  # answers come one by one
        seed=config.seed,
    )
