"""Request bodies of LiteLLM's generic guardrail: messages in the forms of all providers."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from sirl.guard.server.requests import LONGEST_NAME, TEXT_OR_LIST, AsText, Text
from sirl.types import Message

__all__ = ["GuardrailRequest", "Turn"]


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


class CustomTool(Lenient):
    """The tool of a client that a model calls with a text."""

    name: Text | None = None
    input: Text | None = None

    @property
    def text(self) -> str:
        """Name and input as one line."""
        return f"{self.name or ''} {self.input or ''}".strip()


class FunctionCall(Lenient):
    """A call of a function."""

    function: CalledFunction

    @property
    def text(self) -> str:
        """What is called."""
        return self.function.text


class CustomCall(Lenient):
    """A call of a custom tool."""

    custom: CustomTool

    @property
    def text(self) -> str:
        """What is called."""
        return self.custom.text


def form_of_call(given: Any) -> str:  # noqa: ANN401 - what was sent
    """What a call of a tool was meant as."""
    return "custom" if isinstance(given, dict) and "custom" in given else "function"


ToolCall = Annotated[
    Annotated[FunctionCall, Tag("function")] | Annotated[CustomCall, Tag("custom")],
    Discriminator(form_of_call),
]


class PlainPart(Lenient):
    """A part of a message that is text."""

    type: Literal["text", "input_text", "output_text"]
    text: Text


class RefusalPart(Lenient):
    """A part of a message that is a refusal."""

    type: Literal["refusal"]
    refusal: Text

    @property
    def text(self) -> str:
        """The refusal."""
        return self.refusal


class ThinkingPart(Lenient):
    """What a model has thought."""

    type: Literal["thinking"]
    thinking: Text

    @property
    def text(self) -> str:
        """The thought."""
        return self.thinking


class SealedPart(Lenient):
    """What a model has thought, encrypted by its provider: nobody reads it as text."""

    type: Literal["redacted_thinking"]

    @property
    def text(self) -> str:
        """Nothing."""
        return ""


def form_of_part(given: Any) -> str:  # noqa: ANN401 - what was sent
    """What a part of a message was meant as."""
    kind = given.get("type") if isinstance(given, dict) else None
    return str(kind) if kind in ("refusal", "thinking", "redacted_thinking") else "plain"


TurnPart = Annotated[
    Annotated[PlainPart, Tag("plain")]
    | Annotated[RefusalPart, Tag("refusal")]
    | Annotated[ThinkingPart, Tag("thinking")]
    | Annotated[SealedPart, Tag("redacted_thinking")],
    Discriminator(form_of_part),
]


class Turn(Lenient):
    """A message in OpenAI's form; content other than text is an error, since it is not scored."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Annotated[AsText | Annotated[list[TurnPart], Tag("a list")], TEXT_OR_LIST] | None = (
        None
    )
    reasoning_content: Text | None = None
    thinking_blocks: list[TurnPart] | None = None
    refusal: Text | None = None
    tool_calls: list[ToolCall] | None = None
    function_call: CalledFunction | None = None
    audio: None = None

    @property
    def texts(self) -> list[str]:
        """All its texts: thoughts, parts of the content, a refusal, and calls of tools."""
        thoughts = [self.reasoning_content, *(part.text for part in self.thinking_blocks or [])]
        parts = self.content or []
        found = [parts] if isinstance(parts, str) else [part.text for part in parts]
        calls = [call.text for call in self.tool_calls or []]
        if self.function_call:
            calls.append(self.function_call.text)
        return [
            *dict.fromkeys(filter(None, thoughts)),
            *found,
            *filter(None, [self.refusal]),
            *calls,
        ]

    @property
    def message(self) -> Message:
        """The message that is scored; instructions are the system's, results of tools the user's.

        Templates know no other roles.
        """
        text = "\n".join(self.texts)
        if self.role == "assistant":
            return Message("assistant", text)
        return Message("system" if self.role in ("system", "developer") else "user", text)


USERS = ("user_api_key_end_user_id", "user_api_key_user_id", "user_api_key_hash")
"""Fields in which LiteLLM says for whom it asks; the first that is there names the user."""


class GuardrailRequest(Lenient):
    """A request of LiteLLM's generic guardrail."""

    texts: list[Text] | None = None
    input_type: Literal["request", "response"] = "request"
    structured_messages: list[Turn] | None = None
    tool_calls: list[ToolCall] | None = None
    images: Annotated[list[Any], Field(max_length=0)] | None = None
    """Images cannot be scored, so there may be none."""
    request_data: dict[str, Any] | None = None

    @property
    def turns(self) -> list[Turn]:
        """The messages."""
        return self.structured_messages or []

    @property
    def said(self) -> list[str]:
        """The texts and calls of tools, each once."""
        calls = [call.text for call in self.tool_calls or []]
        return list(dict.fromkeys([*(self.texts or []), *calls]))

    @property
    def user(self) -> str | None:
        """For whom LiteLLM asks, if it says so."""
        given = self.request_data or {}
        named = (str(given[key])[:LONGEST_NAME] for key in USERS if given.get(key))
        return next(named, None)
