"""The settings of `sirl guard serve`."""

from typing import Literal

from pydantic import Field

from sirl.config.groups import Group, ModelSettings

__all__ = ["GuardServeConfig"]


class LimitSettings(Group):
    """Bounds on what one client may ask for."""

    max_streams: int = Field(16, ge=1, description="maximum answers generated concurrently")
    max_queue: int = Field(
        64, ge=0, description="maximum answers in the queue; more get status 429"
    )
    max_answers: int = Field(4, ge=1, description="maximum answers per request (n)")
    max_prompt_tokens: int | None = Field(
        None, ge=1, description="maximum tokens per prompt [default: what fits into the context]"
    )
    max_messages: int = Field(64, ge=1, description="maximum messages per conversation")
    max_inputs: int = Field(16, ge=1, description="maximum texts per moderation request")
    max_stops: int = Field(4, ge=0, description="maximum stop sequences per request")
    max_stop_characters: int = Field(64, ge=1, description="maximum characters per stop sequence")
    max_logit_bias: int = Field(64, ge=0, description="maximum entries of logit_bias")
    max_body_bytes: int = Field(1 << 20, ge=1, description="maximum bytes per request body")
    request_seconds: float = Field(
        300.0, gt=0, description="maximum seconds per request, including time in the queue"
    )
    drain_seconds: float = Field(
        30.0, ge=0, description="seconds that running answers have to finish after SIGTERM"
    )


class AccessSettings(Group):
    """Where the server listens and who may ask."""

    host: str = Field(
        "127.0.0.1",
        description="address to listen on; any but a loopback address requires API keys",
    )
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 picks a free one")
    key_file: str | None = Field(
        None,
        description="text file with one API key per line; lines that begin with # are comments "
        "[default: the environment variable SIRL_KEYS, keys separated by commas]",
    )
    throttle: float | None = Field(
        None,
        gt=0,
        description="answer 429 after this many recent alarms of a conversation, or ten times as "
        "many of a key [default: off]",
    )
    throttle_half_life: float = Field(
        600.0, gt=0, description="half-life of an alarm's weight, in seconds"
    )


class UpstreamSettings(Group):
    """A model behind an API, whose answers the guard watches."""

    upstream: str | None = Field(
        None,
        description="base URL of an OpenAI-style API whose answers are guarded, instead of "
        "--model, e.g. https://api.example.com/v1",
    )
    upstream_model: str | None = Field(None, description="name of the model at the upstream")
    upstream_key_from_env: str | None = Field(
        None,
        description="environment variable that holds the upstream's API key; none sends no "
        "key [default: OPENAI_API_KEY]",
    )
    upstream_seconds: float = Field(
        300.0, gt=0, description="maximum seconds per request to the upstream"
    )
    upstream_idle_seconds: float = Field(
        60.0, gt=0, description="maximum seconds without data from the upstream"
    )


class GuardServeConfig(LimitSettings, AccessSettings, UpstreamSettings, ModelSettings):
    """Serve a model with its guard."""

    model: str = Field(
        "", description="checkpoint folder, hub id, or 'embedded' [required without --upstream]"
    )

    guard: str | None = Field(
        None,
        description="folder of sirl guard calibrate, or none to serve without a guard; required",
    )
    new_tokens: int | None = Field(
        None,
        ge=1,
        description="maximum tokens per answer [default: the length that the guard is calibrated "
        "for; 512 without a guard]",
    )
    mode: Literal["hold", "live", "shadow"] = Field(
        "hold",
        description="hold: tokens are sent once a check has passed them; live: tokens are sent at "
        "once, and an alarm cuts the answer; shadow: alarms are only recorded",
    )
    action: Literal["refuse", "stop", "flag"] = Field(
        "refuse",
        description="on an alarm: refuse (end with a short refusal), stop (end), flag (continue)",
    )
    on_fault: Literal["closed", "open"] = Field(
        "closed",
        description="when a check fails: closed ends the answer with an error, open continues "
        "without checks",
    )
    compare: str | None = Field(
        None,
        description="second model, whose answers the playground shows next to this one's; the "
        "guard does not watch it [default: none]",
    )
    prefill: bool = Field(
        False, description="continue conversations that end with an assistant message"
    )
    details: bool = Field(
        False,
        description="let clients ask for entropies and scores per token, which the playground "
        "shows; they help attackers, so do not use this with untrusted clients",
    )
    out: str | None = Field(
        None, description="folder of alarms.jsonl, to which alarms are appended [default: none]"
    )
    log_text: bool = Field(
        False, description="write prompts and answers to alarms.jsonl, not only hashes"
    )
