"""Requests to an upstream, and how their log-probabilities are read.

A check sends the conversation and the answer so far as an assistant turn, and asks for another
assistant turn. The probability that its first token begins a refusal is the model's own
opinion of the answer, as after a fresh header of a local model.
"""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass

from sirl.guard.server.source import Ask, Piece
from sirl.rollouts.endpoint_reply import Answer, dig
from sirl.rollouts.endpoint_tokens import Token, tokens_in
from sirl.toplogprobs import entropy_bounds, log_mass
from sirl.types import Message

__all__ = [
    "FLOOR",
    "AskedBody",
    "NoLogprobsError",
    "UpstreamManner",
    "answer_body",
    "check_body",
    "first_token",
    "piece_of",
    "refusal_score",
]

FLOOR = -9.0
"""Log-probability that counts for refusal openers that are not among the likeliest tokens. It is a
number, so that the mean of two checks stays one."""
SEEDS = 2**31
AskedBody = dict[str, object]


class NoLogprobsError(ValueError):
    """A reply has no log-probabilities with alternatives, or malformed ones."""


@dataclass(frozen=True)
class UpstreamManner:
    """How an upstream is asked; a calibration holds for one manner."""

    top: int = 20
    """Alternatives per token."""
    length: int = 1
    """Tokens of a check's reply; only the first is read."""
    turn: str = ""
    """A user turn between the answer so far and the assistant turn that is asked for; none if
    empty."""


def turns(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Messages as JSON."""
    return [asdict(message) for message in messages]


def answer_body(model: str, ask: Ask, manner: UpstreamManner | None) -> AskedBody:
    """The request for an answer.

    It always names temperature and top_p, since an upstream may have other defaults than 1.

    Args:
        model: The model's name at the upstream.
        ask: What the client asks for.
        manner: None: no log-probabilities are needed for a guard.
    """
    body: AskedBody = {
        "model": model,
        "messages": turns(ask.messages),
        "max_tokens": ask.max_tokens,
        "temperature": ask.sampling.temperature,
        "top_p": ask.sampling.top_p,
        "seed": (ask.seed + ask.index) % SEEDS,
    }
    if ask.logit_bias:
        body["logit_bias"] = {str(id): bias for id, bias in ask.logit_bias.items()}
    top = max(ask.top, manner.top if manner else 0)
    if top or ask.logprobs:
        body |= {"logprobs": True, "top_logprobs": top}
    return body


def check_body(
    model: str, manner: UpstreamManner, messages: Sequence[Message], text: str
) -> AskedBody:
    """The request for the model's opinion of a conversation and an answer so far."""
    asked = list(messages)
    if text:
        asked.append(Message("assistant", text))
        if manner.turn:
            asked.append(Message("user", manner.turn))
    return {
        "model": model,
        "messages": turns(asked),
        "max_tokens": manner.length,
        "temperature": 1.0,
        "seed": 0,
        "logprobs": True,
        "top_logprobs": manner.top,
    }


def first_token(answer: Answer) -> Token | None:
    """The first token of a whole reply; None if the reply is empty.

    Raises:
        NoLogprobsError: It has text and no log-probabilities with alternatives.
    """
    try:
        tokens = tokens_in(dig(answer.payload, "choices", 0, "logprobs"))
    except ValueError as error:
        raise NoLogprobsError(f"malformed log-probabilities ({error})") from error
    if tokens and tokens[0].top:
        return tokens[0]
    if tokens or answer.text or answer.fault:
        raise NoLogprobsError("no log-probabilities")
    return None


def refusal_score(token: Token | None, openers: Collection[str]) -> float:
    """Log-probability that a reply begins with a refusal opener, at least FLOOR.

    Openers that are not among the likeliest tokens count nothing, so this is a lower bound. None,
    an empty reply, is not a refusal.
    """
    if token is None:
        return FLOOR
    likely = dict(token.top)
    likely.setdefault(token.name, token.logprob)
    return log_mass([p for name, p in likely.items() if name in openers], FLOOR)


def piece_of(text: str, token: Token) -> Piece:
    """A token as a piece; its entropy is a lower bound."""
    if not token.top:
        return Piece(text, None, token.logprob, token.name)
    bounds = entropy_bounds([min(0.0, p) for _, p in token.top])
    return Piece(text, bounds.lower, token.logprob, token.name, token.top, bounds.truncated)
