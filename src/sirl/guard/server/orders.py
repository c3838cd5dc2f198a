"""Turns a request into an order: checks bounds and makes defaults explicit."""

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from sirl.guard.server.faults import ApiError
from sirl.guard.server.policy import Limits
from sirl.guard.server.requests import ChatRequest, Said, Sampled, TextRequest
from sirl.guard.server.source import Ask
from sirl.types import Message, Sampling

__all__ = ["Order", "chat_order", "conversation", "text_order"]


COLDEST = 1e-6
"""Lower temperatures are greedy: a division by them could overflow."""


@dataclass(frozen=True)
class Order:
    """A valid request for answers."""

    kind: Literal["chat", "text"]
    id: str
    created: int
    model: str
    asks: tuple[Ask, ...]
    """One per answer."""
    stops: tuple[str, ...]
    logprobs: bool
    usage: bool
    """Whether a stream ends with a chunk of usage."""
    details: bool
    user: str | None
    received: float = field(default_factory=time.perf_counter)
    """When the request had been read, by the clock `time.perf_counter`."""

    @property
    def messages(self) -> tuple[Message, ...]:
        """The conversation."""
        return self.asks[0].messages


def chat_order(request: ChatRequest, limits: Limits) -> Order:
    """The order of a chat request.

    Raises:
        ApiError: It exceeds a bound or contradicts itself.
    """
    if request.top_logprobs is not None and not request.logprobs:
        raise refused("top_logprobs needs logprobs: true", "top_logprobs")
    if request.max_tokens is not None and request.max_completion_tokens is not None:
        raise refused("give max_completion_tokens or max_tokens, not both", "max_tokens")
    messages = conversation(request.messages, limits, "messages")
    if messages[-1].role == "assistant" and not limits.prefill:
        raise refused(
            "the last message is the assistant's: this server does not continue an answer that "
            "the client begins",
            "messages",
            "prefill_not_allowed",
        )
    top, logprobs = request.top_logprobs or 0, bool(request.logprobs)
    return ordered("chat", request, limits, messages, logprobs, top, request.max_completion_tokens)


def text_order(request: TextRequest, limits: Limits) -> Order:
    """The order of a text request, whose prompt is one user message.

    Raises:
        ApiError: It exceeds a bound.
    """
    prompt = request.prompt if isinstance(request.prompt, str) else request.prompt[0]
    messages, logprobs = (Message("user", prompt),), request.logprobs is not None
    return ordered("text", request, limits, messages, logprobs, request.logprobs or 0, None)


def ordered(
    kind: Literal["chat", "text"],
    request: Sampled,
    limits: Limits,
    messages: tuple[Message, ...],
    logprobs: bool,
    top: int,
    longest: int | None,
) -> Order:
    """The order of a request with these messages; no answer is longer than the server's limit."""
    check_bounds(request, limits)
    temperature = 1.0 if request.temperature is None else float(request.temperature)
    if temperature < COLDEST:
        temperature = 0.0
    sampling = Sampling(temperature, 1.0 if request.top_p is None else float(request.top_p))
    seed = secrets.randbits(32) if request.seed is None else request.seed
    bias = {int(k): float(v) for k, v in (request.logit_bias or {}).items()}
    asked = request.max_tokens or longest
    tokens = min(asked or limits.max_tokens, limits.max_tokens)
    return Order(
        kind=kind,
        id=f"{'chatcmpl' if kind == 'chat' else 'cmpl'}-{secrets.token_hex(12)}",
        created=int(time.time()),
        model=request.model,
        asks=tuple(
            Ask(messages, tokens, sampling, seed, index, bias, top, logprobs, shrinks=asked is None)
            for index in range(request.n or 1)
        ),
        stops=request.stops,
        logprobs=logprobs,
        usage=bool(request.stream_options and request.stream_options.include_usage),
        details=bool(request.sirl and request.sirl.details),
        user=request.user if request.safety_identifier is None else request.safety_identifier,
    )


def check_bounds(request: Sampled, limits: Limits) -> None:
    """Reject what exceeds a bound of the server."""
    if (request.n or 1) > min(limits.answers, limits.streams):
        most = min(limits.answers, limits.streams)
        raise refused(f"n {request.n} is above {most}", "n")
    if request.sirl and request.sirl.details and not limits.details:
        raise refused(
            "this server gives no details: it must be started with --details",
            "sirl.details",
            "details_not_allowed",
        )
    if request.stream_options is not None and not request.stream:
        raise refused("stream_options needs stream: true", "stream_options")
    if len(request.stops) > limits.stops:
        raise refused(f"{len(request.stops)} stop sequences are more than {limits.stops}", "stop")
    for stop in request.stops:
        if not 0 < len(stop) <= limits.stop_characters:
            most = limits.stop_characters
            raise refused(f"a stop sequence has 1 to {most} characters, not {len(stop)}", "stop")
    check_bias(request, limits)


def check_bias(request: Sampled, limits: Limits) -> None:
    """Reject a logit_bias with too many entries, or with keys that are not token ids."""
    bias = request.logit_bias or {}
    if len(bias) > limits.biases:
        raise refused(
            f"logit_bias has {len(bias)} entries, more than {limits.biases}", "logit_bias"
        )
    for key in bias:
        if not (key.isascii() and key.isdigit() and len(key) < 10):
            raise refused(f"logit_bias: {key[:40]!r} is not a token id", "logit_bias")


def conversation(said: Sequence[Said], limits: Limits, param: str) -> tuple[Message, ...]:
    """The messages of a request.

    Raises:
        ApiError: There are too many.
    """
    if len(said) > limits.messages:
        raise refused(f"{len(said)} messages are more than {limits.messages}", param)
    return tuple(m.message for m in said)


def refused(message: str, param: str, code: str | None = None) -> ApiError:
    """A 400."""
    return ApiError(400, message, param=param, code=code)
