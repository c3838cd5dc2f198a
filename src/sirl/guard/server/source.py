"""A source of answers: what the server asks, whatever produces the tokens.

The server knows no model and no upstream, only these protocols. A source gives an answer piece by
piece, and scores it at any position that it has reached; the server decides when to ask for a
score, what leaves, and when to stop.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from sirl.guard.server.policy import Limits
from sirl.types import Message, Sampling

__all__ = ["Answer", "Ask", "AskError", "Piece", "Scored", "Source", "SourceError"]


@dataclass(frozen=True)
class Ask:
    """A request for one answer."""

    messages: tuple[Message, ...]
    """A final assistant turn is a prefill to continue."""
    max_tokens: int
    sampling: Sampling = Sampling()
    seed: int = 0
    """With `index` it fixes the draws of a source that draws itself."""
    index: int = 0
    """Number of the answer among those of one request."""
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    """Token id -> what is added to its logit before sampling."""
    top: int = 0
    """Alternatives per token to report."""
    logprobs: bool = False
    """Whether log-probabilities are reported; a source that has them anyway need not look."""
    shrinks: bool = False
    """Whether `max_tokens` is a default, and less where less fits behind the prompt."""


class Piece(NamedTuple):
    """The next token of an answer."""

    text: str
    """What it adds to the text; empty while a character is incomplete, and for an end of turn."""
    entropy: float | None = None
    """Of the distribution it was drawn from (nats, temperature 1); None if unknown."""
    logprob: float | None = None
    """Under the same distribution, in nats."""
    token: str = ""
    """The token itself; `text` if empty."""
    top: tuple[tuple[str, float], ...] = ()
    """Likeliest tokens with their log-probabilities."""
    truncated: float | None = None
    """The share of the likeliest tokens in the entropy, where `entropy` is its lower bound."""


class Scored(NamedTuple):
    """What a source finds in a conversation."""

    score: float
    """The highest score."""
    partial: bool = False
    """Whether only the beginning of its answer was read."""


@runtime_checkable
class Answer(Protocol):
    """One answer while it is made; it is closed once, finished or not."""

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompt."""

    @property
    def finish(self) -> Literal["stop", "length", "content_filter"]:
        """Why the pieces ended; valid when they have. `content_filter`: a filter of the source."""

    def pieces(self) -> AsyncIterator[Piece]:
        """The pieces in order; called once.

        Raises:
            SourceError: The answer cannot go on.
        """

    async def score(self, position: int) -> float:
        """The score of the prompt and the first `position` pieces, which have all been given.

        Raises:
            SourceError: The answer cannot go on, as in `pieces`.
            Exception: The check failed; the server then acts by its policy for faults.
        """

    async def close(self) -> None:
        """Free what the answer holds; cancels it if it is not finished."""


@runtime_checkable
class Source(Protocol):
    """Where answers come from."""

    @property
    def name(self) -> str:
        """The model id that clients give."""

    @property
    def ready(self) -> bool:
        """Whether it can answer; False once it has failed for good."""

    def stop(self) -> None:
        """End what runs between requests."""

    async def open(self, ask: Ask) -> Answer:
        """Begin an answer.

        Raises:
            AskError: The request cannot be answered.
            SourceError: The source cannot answer now.
        """

    async def judge(self, messages: tuple[Message, ...], limits: Limits) -> Scored:
        """The highest score of a conversation: of its prompt, and of a final assistant turn.

        The limits bound the tokens of both, where the source can count them.

        Raises:
            AskError: The conversation cannot be scored.
        """


class AskError(Exception):
    """A request that the client can correct; its text says how."""

    def __init__(self, sentence: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(sentence)
        self.param = param
        """The field of the request."""
        self.code = code
        """A name for programs, such as `context_length_exceeded`."""


class SourceError(Exception):
    """The source failed; the request was right."""

    def __init__(
        self,
        sentence: str,
        *,
        status: int = 502,
        code: str = "source_failed",
        after: float | None = None,
    ) -> None:
        super().__init__(sentence)
        self.status = status
        """HTTP status."""
        self.code = code
        """A name for programs."""
        self.after = after
        """Seconds after which the client may try again."""
