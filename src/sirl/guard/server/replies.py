"""The documents of answers, as OpenAI's API writes them."""

from collections.abc import Iterable, Sequence
from typing import Any

from sirl.guard.server.guard_field import GuardField
from sirl.guard.server.orders import Order
from sirl.guard.server.outbox import Part, Seen, blanked
from sirl.guard.server.policy import Policy
from sirl.guard.server.watching import WatchedAnswer

__all__ = ["Writer"]


class Writer:
    """Writes the chunks and the response of one order."""

    def __init__(self, order: Order, policy: Policy) -> None:
        self.order = order
        self.guard = GuardField(policy, order.details)
        self.chat = order.kind == "chat"

    def chunk(
        self, choices: Sequence[dict[str, Any]], guard: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """A chunk of a stream."""
        kind = "chat.completion.chunk" if self.chat else "text_completion"
        document = {**self.head(kind), "choices": list(choices)}
        if self.order.usage:
            document["usage"] = None
        return document if guard is None else {**document, "sirl_guard": guard}

    def head(self, kind: str) -> dict[str, Any]:
        """What every document begins with."""
        order = self.order
        return {"id": order.id, "object": kind, "created": order.created, "model": order.model}

    def first(self, index: int) -> dict[str, Any]:
        """The first chunk of an answer."""
        return self.chunk([self.choice(index, {"role": "assistant", "content": ""})])

    def part(self, index: int, part: Part) -> dict[str, Any] | None:
        """The chunk of a part; None if it holds nothing to send."""
        shown = self.order.details and part.settled
        if not (part.text or shown or (part.seen and self.order.logprobs)):
            return None
        choice = self.choice(index, {"content": part.text} if part.text else {}, part.text)
        if self.order.logprobs:
            choice["logprobs"] = self.logprobs(part.seen)
        guard = None
        if shown:
            guard = self.guard.of(
                [{"index": index, "tokens": [self.guard.token(s) for s in part.settled]}]
            )
        return self.chunk([choice], guard)

    def last(self, index: int, watched: WatchedAnswer) -> dict[str, Any]:
        """The terminal chunk of an answer."""
        choice = self.choice(index, {})
        choice["finish_reason"] = watched.finish
        return self.chunk([choice], self.guard.of([self.guard.finding(index, watched)]))

    def choice(self, index: int, delta: dict[str, Any], text: str = "") -> dict[str, Any]:
        """A choice of a chunk."""
        own = {"delta": delta} if self.chat else {"text": text}
        return {"index": index, **own, "logprobs": None, "finish_reason": None}

    def usage(self, answers: Sequence[WatchedAnswer]) -> dict[str, int]:
        """Numbers of tokens."""
        prompt, own = answers[0].answer.prompt_tokens, sum(a.tokens for a in answers)
        return {"prompt_tokens": prompt, "completion_tokens": own, "total_tokens": prompt + own}

    def usage_chunk(self, answers: Sequence[WatchedAnswer]) -> dict[str, Any]:
        """The chunk after the terminal ones."""
        return {**self.chunk([]), "usage": self.usage(answers)}

    def response(
        self, answers: Sequence[WatchedAnswer], parts: Sequence[Sequence[Part]]
    ) -> dict[str, Any]:
        """The whole response; what a live stream would retract is not in it."""
        choices, guards = [], []
        for index, (watched, own) in enumerate(zip(answers, parts, strict=True)):
            choices.append(self.answered(index, watched, own))
            guards.append(self.guard.finding(index, watched))
            if self.order.details:
                guards[-1]["tokens"] = self.tokens(watched, own)
        kind = "chat.completion" if self.chat else "text_completion"
        return {
            **self.head(kind),
            "choices": choices,
            "usage": self.usage(answers),
            "sirl_guard": self.guard.of(guards),
        }

    def tokens(self, watched: WatchedAnswer, parts: Sequence[Part]) -> list[dict[str, Any]]:
        """What the guard made of each token; retracted ones are without their text."""
        latest = {s.number: s for part in parts for s in part.settled}
        if watched.finding.retract_from is not None:
            latest = {n: s if n <= watched.passed else blanked(s) for n, s in latest.items()}
        return [self.guard.token(s) for s in latest.values()]

    def answered(self, index: int, watched: WatchedAnswer, parts: Sequence[Part]) -> dict[str, Any]:
        """A choice of a response."""
        text = kept_text(watched, parts)
        seen = [s for part in parts for s in part.seen]
        if watched.finding.retract_from is not None:
            seen = seen[: watched.passed]
        own: dict[str, Any] = {"text": text}
        if self.chat:
            own = {"message": {"role": "assistant", "content": text, "refusal": None}}
        return {
            "index": index,
            **own,
            "logprobs": self.logprobs(seen) if self.order.logprobs else None,
            "finish_reason": watched.finish,
        }

    def logprobs(self, seen: Iterable[Seen]) -> dict[str, Any]:
        """Log-probabilities of tokens that leave."""
        leaving = list(seen)
        pieces = [s.piece for s in leaving]
        names = [p.token or p.text for p in pieces]
        if not self.chat:
            return {
                "tokens": names,
                "token_logprobs": [p.logprob for p in pieces],
                "top_logprobs": [dict(p.top) for p in pieces],
                "text_offset": [s.start for s in leaving],
            }
        rows = [
            {
                **likely(name, piece.logprob),
                "top_logprobs": [likely(token, logprob) for token, logprob in piece.top],
            }
            for name, piece in zip(names, pieces, strict=True)
        ]
        return {"content": rows, "refusal": None}


def likely(token: str, logprob: float | None) -> dict[str, Any]:
    """A token with its log-probability."""
    return {"token": token, "logprob": logprob, "bytes": list(token.encode(errors="replace"))}


def kept_text(watched: WatchedAnswer, parts: Sequence[Part]) -> str:
    """The text of an answer, without what an alarm retracts, with the refusal."""
    sent, found = "".join(part.text for part in parts), watched.finding
    if found.retract_from is None:
        return sent
    return sent[: found.retract_from] + sent[found.refusal_from :]
