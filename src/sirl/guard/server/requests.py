"""Request bodies of clients. Unlisted fields are refused, unless their value has no effect."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from sirl.types import Message

__all__ = [
    "ChatRequest",
    "Details",
    "GuardrailRequest",
    "ModerationRequest",
    "Said",
    "Sampled",
    "StreamOptions",
    "Strict",
    "Text",
    "TextPart",
    "TextRequest",
    "Turn",
]

INERT: dict[str, tuple[Any, ...]] = {
    "audio": (None,),
    "best_of": (None, 1),
    "echo": (None, False),
    "frequency_penalty": (None, 0, 0.0),
    "function_call": (None, "none"),
    "functions": (None, []),
    "metadata": (None, {}),
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


MOST = 2**31 - 1
"""Above every bound of a server; numbers of a thousand digits are not repeated in an error."""


class Strict(BaseModel):
    """A part of a request; unknown fields are errors, and no value is converted."""

    model_config = ConfigDict(extra="forbid", strict=True)


class TextPart(Strict):
    """A part of a message."""

    type: Literal["text"]
    text: Text


class Said(Strict):
    """One message."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | Annotated[list[TextPart], Field(min_length=1)]

    @property
    def text(self) -> str:
        """Its text; parts are lines."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text for part in self.content)

    @property
    def message(self) -> Message:
        """The message that is rendered; a developer's instructions are the system's."""
        return Message("system" if self.role == "developer" else self.role, self.text)


class StreamOptions(Strict):
    """How an answer is streamed."""

    include_usage: bool = Field(False, description="send a last chunk with the numbers of tokens")


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
    stop: Text | list[Text] | None = None
    seed: int | None = Field(None, ge=-(2**63), le=2**63 - 1)
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = Field(
        None, description="token id -> what is added to its logit"
    )
    user: Text | None = Field(None, max_length=256)
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
            if not any(same(value, inert) for inert in INERT.get(key, ()))
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

    prompt: Text | Annotated[list[Text], Field(min_length=1, max_length=1)]
    logprobs: int | None = Field(None, ge=0, le=5)


class ModerationRequest(Strict):
    """A request to /v1/moderations."""

    input: (
        Text
        | Annotated[list[Text], Field(min_length=1)]
        | Annotated[list[Said], Field(min_length=1)]
    ) = Field(
        description="a prompt, several prompts, or the messages of one conversation, of which a "
        "final assistant message is the answer to score"
    )
    model: Text | None = None


class Lenient(BaseModel):
    """A part of a request of another program; fields that hold no text are not looked at."""

    model_config = ConfigDict(strict=True)


class CalledFunction(Lenient):
    """The function that a model calls."""

    name: Text | None = None
    arguments: Text | None = None

    @property
    def text(self) -> str:
        """Name and arguments as one line."""
        return f"{self.name or ''} {self.arguments or ''}".strip()


class ToolCall(Lenient):
    """A call of a tool."""

    function: CalledFunction


class TurnPart(Lenient):
    """A part of a message that is text."""

    type: Literal["text", "input_text", "output_text"]
    text: Text


class Turn(Lenient):
    """A message in OpenAI's form; content other than text is an error, since it is not scored."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Text | list[TurnPart] | None = None
    refusal: Text | None = None
    tool_calls: list[ToolCall] | None = None
    function_call: CalledFunction | None = None
    audio: None = None

    @property
    def texts(self) -> list[str]:
        """All its texts: parts of the content, a refusal, and calls of tools."""
        parts = self.content or []
        found = [parts] if isinstance(parts, str) else [part.text for part in parts]
        calls = [call.function for call in self.tool_calls or []]
        if self.function_call:
            calls.append(self.function_call)
        return [*found, *filter(None, [self.refusal]), *(call.text for call in calls)]

    @property
    def message(self) -> Message:
        """The message that is scored; instructions are the system's, results of tools the user's.

        Templates know no other roles.
        """
        text = "\n".join(self.texts)
        if self.role == "assistant":
            return Message("assistant", text)
        return Message("system" if self.role in ("system", "developer") else "user", text)


class GuardrailRequest(Lenient):
    """A request of LiteLLM's generic guardrail."""

    texts: list[Text] = Field(default_factory=list)
    input_type: Literal["request", "response"] = "request"
    structured_messages: list[Turn] | None = None
    tool_calls: list[ToolCall] | None = None
    images: Annotated[list[Any], Field(max_length=0)] | None = None
    """Images cannot be scored, so there may be none."""

    @property
    def turns(self) -> list[Turn]:
        """The messages."""
        return self.structured_messages or []

    @property
    def said(self) -> list[str]:
        """The texts and calls of tools, each once."""
        calls = [call.function.text for call in self.tool_calls or []]
        return list(dict.fromkeys([*self.texts, *calls]))
