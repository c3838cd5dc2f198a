"""Answers of an endpoint for a calibration, in the same pieces as its streams."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sirl.guard.monitor import Watch, check_positions, highest_score
from sirl.guard.server.source import Piece
from sirl.guard.upstream.asking import (
    AskedBody,
    NoLogprobsError,
    UpstreamManner,
    check_body,
    piece_of,
    refusal_score,
)
from sirl.rollouts.endpoint_reply import Answer, dig
from sirl.rollouts.endpoint_tokens import Aligned, Token, tokens_in
from sirl.types import Completion, Prompt

__all__ = ["Names", "ReadAnswer", "read_answer", "statistic"]


class Names:
    """Numbers token names, so that code for token ids reads answers of an endpoint."""

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}

    def id(self, name: str) -> int:
        """The number of a name."""
        return self._ids.setdefault(name, len(self._ids))

    def names(self, ids: Sequence[int]) -> tuple[str, ...]:
        """The names of numbers."""
        known = list(self._ids)
        return tuple(known[id] for id in ids)


@dataclass(frozen=True)
class ReadAnswer:
    """An answer with what its tokens show."""

    prompt: Prompt
    pieces: tuple[Piece, ...]
    first: Token
    completion: Completion
    """With lower bounds as entropies, and numbers of names as token ids."""

    @property
    def entropies(self) -> tuple[float, ...]:
        """Lower bounds, of each token."""
        return self.completion.entropies

    def text(self, position: int) -> str:
        """The first pieces' text."""
        return "".join(piece.text for piece in self.pieces[:position])

    def bodies(self, model: str, manner: UpstreamManner, watch: Watch) -> dict[int, AskedBody]:
        """Position -> the request for its check; the prompt's check needs none."""
        places = check_positions(self.entropies, watch)
        asked = self.prompt.messages
        return {k: check_body(model, manner, asked, self.text(k)) for k in places if k}


def read_answer(prompt: Prompt, sample: int, answer: Answer, names: Names) -> ReadAnswer | None:
    """An answer; None if it is empty or was filtered.

    Raises:
        NoLogprobsError: Its tokens have no log-probabilities.
    """
    if answer.fault or not answer.text:
        return None
    try:
        tokens = tokens_in(dig(answer.payload, "choices", 0, "logprobs"))
    except ValueError as error:
        raise NoLogprobsError(f"malformed log-probabilities ({error})") from error
    if not tokens or not all(token.top for token in tokens):
        raise NoLogprobsError("no log-probabilities")
    parts = Aligned().parts(answer.text, tokens)
    pieces = tuple(piece_of(part, token) for part, token in zip(parts, tokens, strict=True))
    completion = Completion(
        prompt.id,
        (),
        tuple(names.id(token.name) for token in tokens),
        answer.text,
        tuple(token.logprob for token in tokens),
        tuple(piece.entropy or 0.0 for piece in pieces),
        answer.finish,
        sample,
    )
    return ReadAnswer(prompt, pieces, tokens[0], completion)


def statistic(answer: ReadAnswer, scores: Mapping[int, float], openers: frozenset[str],
              watch: Watch) -> float:  # fmt: skip
    """The highest score that the monitor sees of an answer.

    Args:
        answer: The answer.
        scores: Position -> score of its check, but the prompt's.
        openers: First tokens of refusals.
        watch: How it is watched.
    """
    own = {0: refusal_score(answer.first, openers), **scores}
    return highest_score(answer.entropies, own, watch)
