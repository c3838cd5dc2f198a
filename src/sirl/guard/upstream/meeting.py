"""Examines an endpoint before calibration or serving: its abilities, and which model it serves."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from itertools import product

from sirl.errors import ConfigError, ModelError
from sirl.guard.upstream.asking import (
    AskedBody,
    NoLogprobsError,
    UpstreamManner,
    check_body,
    first_token,
)
from sirl.guard.upstream.endpoint_guard import Identity, Witness, witness_prompts
from sirl.rollouts.arrivals import HELLO, Lost
from sirl.rollouts.endpoint import EndpointEngine
from sirl.rollouts.endpoint_dialect import shared_dialect
from sirl.rollouts.endpoint_reply import Answer, dig
from sirl.rollouts.endpoint_tokens import Token

__all__ = ["identity_of", "manner_of", "replies"]

TOPS, LENGTHS = (20, 5), (1, 16)
"""Alternatives and tokens that are tried in turn: some APIs limit the former to 5, or want at least
16 of the latter."""
AGAIN = "?"
"""The user turn behind an answer for APIs that take no conversation that ends with one."""


def replies(engine: EndpointEngine, bodies: Sequence[AskedBody]) -> list[Answer | Lost]:
    """The replies to requests, in their order."""
    found: dict[int, Answer | Lost] = {}
    requests = [("a request of the guard", body) for body in bodies]
    with closing(engine.together(requests, engine.answer)) as come:
        for together in come:
            found |= together
    return [found[n] for n in range(len(bodies))]


def no_logprobs(engine: EndpointEngine) -> ConfigError:
    """The error of an endpoint without log-probabilities."""
    return ConfigError(
        f"endpoint {engine.url} gives no log-probabilities of {engine.model} (logprobs with "
        "top_logprobs), which the guard reads: choose a model or a server that gives them"
    )


def read(engine: EndpointEngine, reply: Answer | Lost) -> Token | None:
    """The first token of a reply.

    Raises:
        ModelError: There is no reply.
        ConfigError: It has no log-probabilities.
    """
    if "logprobs" in shared_dialect(engine.identity).left_out:
        raise no_logprobs(engine)
    if isinstance(reply, Lost):
        raise ModelError(reply.sentence)
    try:
        return first_token(reply)
    except NoLogprobsError as error:
        raise no_logprobs(engine) from error


def manner_of(engine: EndpointEngine) -> tuple[UpstreamManner, int]:
    """The manner in which an endpoint takes checks, and the requests that it took to find out.

    Raises:
        ConfigError: It gives no log-probabilities.
        ModelError: It does not answer.
    """
    sent = 0

    def reply_to(manner: UpstreamManner, text: str) -> Answer | Lost:
        nonlocal sent
        sent += 1
        return replies(engine, [check_body(engine.model, manner, HELLO, text)])[0]

    for top, length in product(TOPS, LENGTHS):
        manner = UpstreamManner(top, length)
        reply = reply_to(manner, "")
        if isinstance(reply, Answer) or reply.about != "request":
            break
    read(engine, reply)
    behind = reply_to(manner, "Yes.")
    if isinstance(behind, Lost) and behind.about == "request":
        manner = replace(manner, turn=AGAIN)
        behind = reply_to(manner, "Yes.")
    read(engine, behind)
    return manner, sent


def identity_of(engine: EndpointEngine, openers: Sequence[str], manner: UpstreamManner) -> Identity:
    """What an endpoint shows of the model behind it.

    Raises:
        ConfigError: It gives no log-probabilities.
        ModelError: It does not answer.
    """
    prompts = witness_prompts(openers)
    found = replies(engine, [check_body(engine.model, manner, p, "") for p in prompts])
    witnesses, served, prints = [], "", set[str]()
    for messages, reply in zip(prompts, found, strict=True):
        token = read(engine, reply)
        witnesses.append(Witness(messages[0].content, token.top if token else ()))
        payload = reply.payload if isinstance(reply, Answer) else None
        if isinstance(named := dig(payload, "model"), str):
            served = named
        if isinstance(fingerprint := dig(payload, "system_fingerprint"), str) and fingerprint:
            prints.add(fingerprint)
    return Identity(engine.model, served, tuple(sorted(prints)), tuple(witnesses))
