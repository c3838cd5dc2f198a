"""Answers of an endpoint and their checks, as a guard of it reads them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from sirl.errors import InputError, OutageError
from sirl.evaluation.target import digest
from sirl.guard.monitor import Watch
from sirl.roles import Console, Progress
from sirl.runs.kept import Kept
from sirl.text import many
from sirl.types import Prompt

if TYPE_CHECKING:
    from sirl.guard.upstream.asking import AskedBody, UpstreamManner
    from sirl.guard.upstream.endpoint_guard import Identity
    from sirl.guard.upstream.heard import Names, ReadAnswer
    from sirl.rollouts.arrivals import Lost
    from sirl.rollouts.endpoint import EndpointEngine
    from sirl.rollouts.endpoint_reply import Answer

__all__ = ["Exchange", "asked", "checked", "cost_of", "shown"]

TOGETHER = 64
"""Requests between two reports of progress."""


@dataclass
class Exchange:
    """An endpoint, how it is asked, and what it has been sent."""

    engine: "EndpointEngine"
    """Its maximum length and seed are those of the answers."""
    manner: "UpstreamManner"
    names: "Names"
    progress: Progress
    console: Console
    sent: int = 0
    """Requests."""
    tokens: int = 0
    """Tokens that the endpoint has written."""
    service: str = ""
    """Hash of what shows which model answers under that name."""
    kept: Kept | None = None
    """Replies that were paid for."""


def cost_of(work: str, answers: int, watched: int, new_tokens: int, watch: Watch) -> str:
    """What a work costs at most: its answers, and the checks of those that are watched."""
    checks = watched * -(-new_tokens // watch.soonest)
    return (
        f"{work} requests {many(answers, 'answer')} of at most {many(new_tokens, 'token')} and at "
        f"most {many(checks, 'check')}, usually about half as many; --limit lowers both"
    )


def checked(
    exchange: Exchange,
    what: str,
    openers: frozenset[str],
    watch: Watch,
    answers: "Sequence[ReadAnswer]",
) -> dict[int, Mapping[int, float]]:
    """The scores of answers' checks: number of an answer -> position -> score; lost ones left out.

    Raises:
        ConfigError: A reply has no log-probabilities.
    """
    from sirl.guard.upstream.asking import refusal_score
    from sirl.guard.upstream.meeting import read
    from sirl.rollouts.arrivals import Lost

    wanted = [
        (n, k, body)
        for n, answer in enumerate(answers)
        for k, body in answer.bodies(exchange.engine.model, exchange.manner, watch).items()
    ]
    found: dict[int, dict[int, float]] = {n: {} for n in range(len(answers))}
    replies = sent(exchange, what, [body for _, _, body in wanted])
    for (n, k, _), reply in zip(wanted, replies, strict=True):
        if isinstance(reply, Lost):
            found.pop(n, None)
        elif n in found:
            found[n][k] = refusal_score(read(exchange.engine, reply), openers)
    return dict(found)


def asked(
    exchange: Exchange, what: str, prompts: Sequence[Prompt], count: int
) -> "list[ReadAnswer]":
    """Several answers to each prompt, sampled at temperature 1; empty and filtered ones left out.

    Raises:
        ConfigError: An answer has no log-probabilities.
        InputError: The model writes its reasoning first.
    """
    from sirl.guard.server.source import Ask
    from sirl.guard.upstream.asking import NoLogprobsError, answer_body
    from sirl.guard.upstream.heard import read_answer
    from sirl.guard.upstream.meeting import no_logprobs
    from sirl.rollouts.arrivals import Lost
    from sirl.rollouts.endpoint import request_seed

    engine = exchange.engine
    wanted = [(p, s) for p in prompts for s in range(count)]
    bodies = []
    for prompt, sample in wanted:
        seed = request_seed(engine.seed, 0, prompt.id, sample)
        ask = Ask(prompt.messages, engine.new_tokens, seed=seed)
        bodies.append(answer_body(engine.model, ask, exchange.manner))
    found = []
    for (prompt, sample), reply in zip(wanted, sent(exchange, what, bodies), strict=True):
        if isinstance(reply, Lost):
            continue
        if reply.thoughts:
            raise InputError(
                f"{engine.model} writes its reasoning before its answer, and the guard reads the "
                "first tokens of the answer: turn reasoning off"
            )
        try:
            answer = read_answer(prompt, sample, reply, exchange.names)
        except NoLogprobsError as error:
            raise no_logprobs(engine) from error
        if answer:
            found.append(answer)
    return found


def sent(exchange: Exchange, what: str, bodies: "Sequence[AskedBody]") -> "list[Answer | Lost]":
    """The replies to requests, with progress.

    Raises:
        OutageError: Half of them are lost, or the endpoint has stopped answering.
    """
    from sirl.rollouts.arrivals import Lost

    found: list[Answer | Lost] = []
    for n in range(0, len(bodies), TOGETHER):
        exchange.progress(what, n, len(bodies))
        found += replied(exchange, f"{what} from {n}", bodies[n : n + TOGETHER])
        exchange.sent += len(bodies[n : n + TOGETHER])
        lost = [reply for reply in found if isinstance(reply, Lost)]
        if len(lost) > len(found) / 2:
            raise OutageError(lost[0].sentence)
    exchange.progress(what, len(bodies), len(bodies))
    exchange.tokens += sum(reply.tokens for reply in found if not isinstance(reply, Lost))
    if lost := [reply for reply in found if isinstance(reply, Lost)]:
        exchange.console.warn([f"{len(lost)} of {len(found)} {what} failed: {lost[0].fault}"])
    return found


def replied(exchange: Exchange, what: str, bodies: "Sequence[AskedBody]") -> "list[Answer | Lost]":
    """The replies to a batch of requests; those that are kept are not asked for again."""
    from sirl.guard.upstream.meeting import replies
    from sirl.rollouts.arrivals import Lost

    if exchange.kept is None:
        return replies(exchange.engine, bodies)
    kept, about = exchange.kept, (exchange.engine.identity, exchange.service, what)
    keys = [digest(*about, n, body) for n, body in enumerate(bodies)]
    missing = [n for n, key in enumerate(keys) if key not in kept.rows]
    fresh = dict(zip(missing, replies(exchange.engine, [bodies[n] for n in missing]), strict=True))
    arrived = {n: reply for n, reply in fresh.items() if not isinstance(reply, Lost)}
    kept.add([{"key": keys[n], "reply": asdict(reply)} for n, reply in arrived.items()])
    return [fresh[n] if n in fresh else kept.found(key, reply_in) for n, key in enumerate(keys)]


def reply_in(row: Mapping[str, Any]) -> "Answer":
    """Parse a reply from its line."""
    from sirl.rollouts.endpoint_reply import Answer

    reply = row["reply"]
    return Answer(**{**reply, "logprobs": tuple(reply["logprobs"])})


def shown(identity: "Identity") -> str:
    """A hash of what a service shows of its model, alike in every reply of one model.

    Of the probabilities of the first tokens only the highest is in it, since they vary a little.
    """
    likeliest = [max(w.top, key=lambda t: t[1])[0] for w in identity.witnesses if w.top]
    return digest(identity.name, identity.served, identity.fingerprints, likeliest)
