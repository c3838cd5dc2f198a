"""Request bodies of clients. Unlisted fields are refused, unless their value has no effect."""

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    model_validator,
)
from pydantic_core import PydanticCustomError

from sirl.types import Message

__all__ = [
    "LONGEST_NAME",
    "TEXT_OR_LIST",
    "AsText",
    "ChatRequest",
    "Details",
    "ModerationRequest",
    "Said",
    "Sampled",
    "StreamOptions",
    "Strict",
    "Text",
    "TextPart",
    "TextRequest",
]

INERT: dict[str, tuple[Any, ...]] = {
    "audio": (None,),
    "best_of": (None, 1),
    "echo": (None, False),
    "frequency_penalty": (None, 0, 0.0),
    "function_call": (None, "none"),
    "functions": (None, []),
    "modalities": (None, ["text"]),
    "parallel_tool_calls": (None, True, False),
    "presence_penalty": (None, 0, 0.0),
    "reasoning_effort": (None,),
    "response_format": (None, {"type": "text"}),
    "service_tier": (None, "auto", "default"),
    "store": (None, False),
    "suffix": (None, ""),
    "tool_choice": (None, "none", "auto"),
    "tools": (None, []),
}
"""Parameters that are not supported -> values that ask for nothing, which are accepted."""
HINTS = frozenset({"metadata", "prompt_cache_key", "prompt_cache_retention", "verbosity"})
"""Parameters that no answer need follow: every value is accepted and has no effect."""
NEEDED = frozenset({"role", "content", "type", "text"})
"""Fields of messages and their parts that are read even if they are empty."""


def checked_text(text: str) -> str:
    """A text without what no text holds.

    Raises:
        PydanticCustomError: It holds a NUL character or half a surrogate pair.
    """
    if "\0" in text:
        raise PydanticCustomError("no_text", "the text holds a NUL character: leave it out")
    if any("\ud800" <= c <= "\udfff" for c in text):
        raise PydanticCustomError("no_text", "the text holds half a surrogate pair: leave it out")
    return text


Text = Annotated[str, AfterValidator(checked_text)]


LONGEST_NAME = 256
"""Characters of the name of a user."""
MOST = 2**31 - 1
"""Above every bound of a server; numbers of a thousand digits are not repeated in an error."""


class Strict(BaseModel):
    """A part of a request; unknown fields are errors, and no value is converted."""

    model_config = ConfigDict(extra="forbid", strict=True)


def form(given: Any) -> str:  # noqa: ANN401 - what was sent
    """What a text or a list of texts was meant as; faults are then of that form alone."""
    return "a list" if isinstance(given, list) else "a text"


AsText = Annotated[Text, Tag("a text")]
TEXT_OR_LIST = Discriminator(form)


class Spoken(Strict):
    """A message or a part of one; clients send back the empty fields of what they received."""

    @model_validator(mode="before")
    @classmethod
    def without_empty(cls, given: Any) -> Any:  # noqa: ANN401 - what was sent
        """Leave out fields that hold nothing; content that is null gives way to a refusal."""
        if not isinstance(given, dict):
            return given
        found = {k: v for k, v in given.items() if k in NEEDED or v not in (None, "", [], {})}
        if "refusal" in found and found.get("content", "") is None:
            found["content"] = found.pop("refusal")
        return found


class TextPart(Spoken):
    """A part of a message."""

    type: Literal["text"]
    text: Text


class Said(Spoken):
    """One message."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[
        AsText | Annotated[list[TextPart], Field(min_length=1), Tag("a list")], TEXT_OR_LIST
    ]
    refusal: Text | None = None
    name: Text | None = Field(None, description="who speaks, which no template shows")

    @property
    def text(self) -> str:
        """Its text; parts and a refusal are lines."""
        parts = self.content
        own = [parts] if isinstance(parts, str) else [part.text for part in parts]
        return "\n".join([*own, *filter(None, [self.refusal])])

    @property
    def message(self) -> Message:
        """The message that is rendered; a developer's instructions are the system's."""
        return Message("system" if self.role == "developer" else self.role, self.text)


class StreamOptions(Strict):
    """How an answer is streamed."""

    include_usage: bool = Field(False, description="send a last chunk with the numbers of tokens")
    include_obfuscation: bool | None = Field(None, description="has no effect")


class Details(Strict):
    """Extensions of this server."""

    details: bool = Field(
        False, description="send for each token what the guard made of it, in sirl_guard.tokens"
    )


class Sampled(Strict):
    """What requests for answers share."""

    model: Text
    max_tokens: int | None = Field(None, ge=1, le=MOST)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    n: int | None = Field(None, ge=1, le=MOST)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    stop: Annotated[AsText | Annotated[list[Text], Tag("a list")], TEXT_OR_LIST] | None = None
    seed: int | None = Field(None, ge=-(2**63), le=2**63 - 1)
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = Field(
        None, description="token id -> what is added to its logit"
    )
    user: Text | None = Field(None, max_length=LONGEST_NAME)
    safety_identifier: Text | None = Field(
        None, max_length=LONGEST_NAME, description="names the user, before `user`"
    )
    sirl: Details | None = None

    @model_validator(mode="before")
    @classmethod
    def without_inert(cls, given: Any) -> Any:  # noqa: ANN401 - what was sent
        """Leave out parameters that ask for nothing."""
        if not isinstance(given, dict):
            return given
        return {
            key: value
            for key, value in given.items()
            if key not in HINTS and not any(same(value, inert) for inert in INERT.get(key, ()))
        }

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop sequences."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())


def same(value: object, inert: object) -> bool:
    """Whether a value is the inert one; false is not 0."""
    return value == inert and isinstance(value, bool) == isinstance(inert, bool)


class ChatRequest(Sampled):
    """A request to /v1/chat/completions."""

    messages: list[Said] = Field(min_length=1)
    max_completion_tokens: int | None = Field(None, ge=1, le=MOST)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)


class TextRequest(Sampled):
    """A request to /v1/completions; the prompt is one user message in the chat template."""

    prompt: Annotated[
        AsText | Annotated[list[Text], Field(min_length=1, max_length=1), Tag("a list")],
        TEXT_OR_LIST,
    ]
    logprobs: int | None = Field(None, ge=0, le=5)


def form_of_input(given: Any) -> str:  # noqa: ANN401 - what was sent
    """What the input of a moderation was meant as."""
    if isinstance(given, list) and given and isinstance(given[0], dict):
        return "parts" if "type" in given[0] else "messages"
    return form(given)


class ModerationRequest(Strict):
    """A request to /v1/moderations."""

    input: Annotated[
        AsText
        | Annotated[list[Text], Field(min_length=1), Tag("a list")]
        | Annotated[list[Said], Tag("messages")]
        | Annotated[list[TextPart], Tag("parts")],
        Discriminator(form_of_input),
    ] = Field(
        description="a prompt, several prompts, the parts of one prompt, or the messages of one "
        "conversation, of which a final assistant message is the answer to score"
    )
    model: Text | None = None
