"""The settings of `sirl guard serve`."""

from typing import Literal

from pydantic import Field

from sirl.config.groups import Group, ModelSettings

__all__ = ["GuardServeConfig"]


class LimitSettings(Group):
    """Bounds on what one client may ask for."""

    max_streams: int = Field(16, ge=1, description="answers generated at the same time")
    max_queue: int = Field(64, ge=0, description="answers that may wait; more get status 429")
    max_answers: int = Field(4, ge=1, description="answers per request (n)")
    max_prompt_tokens: int | None = Field(
        None, ge=1, description="tokens of a prompt [default: what the context leaves]"
    )
    max_messages: int = Field(64, ge=1, description="messages of a conversation")
    max_inputs: int = Field(16, ge=1, description="texts of one moderation")
    max_stops: int = Field(4, ge=0, description="stop sequences of a request")
    max_stop_characters: int = Field(64, ge=1, description="characters of a stop sequence")
    max_logit_bias: int = Field(64, ge=0, description="entries of logit_bias")
    max_body_bytes: int = Field(1 << 20, ge=1, description="bytes of a request")
    request_seconds: float = Field(
        300.0, gt=0, description="seconds of a request, waiting included"
    )
    drain_seconds: float = Field(
        30.0, ge=0, description="seconds that running answers have to end after SIGTERM"
    )


class AccessSettings(Group):
    """Where the server listens and who may ask."""

    host: str = Field(
        "127.0.0.1", description="address to listen at; others than loopback need keys"
    )
    port: int = Field(8000, ge=0, le=65535, description="port; 0 takes a free one")
    key_file: str | None = Field(
        None,
        description="text file with one API key per line [default: the environment variable "
        "SIRL_KEYS, keys separated by commas]",
    )
    throttle: float | None = Field(
        None,
        gt=0,
        description="alarms of one conversation (a user of a key), fading with time, above which "
        "its requests get status 429. All requests of a key get it at ten times as many alarms of "
        "the key [default: off]",
    )
    throttle_half_life: float = Field(
        600.0, gt=0, description="seconds in which the weight of an alarm halves"
    )


class UpstreamSettings(Group):
    """A model that is only an API, in front of which the guard stands."""

    upstream: str | None = Field(
        None,
        description="base address of an OpenAI-style API whose answers are guarded, instead of "
        "--model, e.g. https://api.example.com/v1",
    )
    upstream_model: str | None = Field(None, description="the model's name at the upstream")
    upstream_key_from_env: str | None = Field(
        None,
        description="environment variable that holds the upstream's API key; the word none "
        "sends no key [default: OPENAI_API_KEY]",
    )
    upstream_seconds: float = Field(
        300.0, gt=0, description="seconds of one request to the upstream at most"
    )
    upstream_idle_seconds: float = Field(
        60.0, gt=0, description="seconds without a byte of the upstream at most"
    )


class GuardServeConfig(LimitSettings, AccessSettings, UpstreamSettings, ModelSettings):
    """Serve a model with its guard."""

    model: str = Field(
        "", description="checkpoint folder, hub id, or 'embedded' [required without --upstream]"
    )

    guard: str | None = Field(
        None,
        description="folder that sirl guard calibrate wrote for this model (required); the "
        "word none serves it without a guard",
    )
    new_tokens: int | None = Field(
        None,
        ge=1,
        description="maximum tokens per answer [default: what the guard is calibrated for; 512 "
        "without a guard]",
    )
    mode: Literal["hold", "live", "shadow"] = Field(
        "hold",
        description="hold: no token leaves before a check has passed it; live: tokens leave at "
        "once, an alarm cuts the answer; shadow: alarms are only noted",
    )
    action: Literal["refuse", "stop", "flag"] = Field(
        "refuse",
        description="on an alarm: refuse (end with a short refusal), stop (end), flag (go on)",
    )
    on_fault: Literal["closed", "open"] = Field(
        "closed",
        description="when a check fails: closed ends the answer with an error, open goes on "
        "unwatched",
    )
    compare: str | None = Field(
        None,
        description="second model that answers beside this one in the playground; it is not "
        "watched [default: none]",
    )
    prefill: bool = Field(
        False, description="accept conversations that end with an assistant message to continue"
    )
    details: bool = Field(
        False,
        description="let clients ask for entropies and scores per token, which the playground "
        "shows; they help attackers, so leave it off for untrusted clients",
    )
    out: str | None = Field(
        None, description="folder for alarms.jsonl, to which alarms are appended [default: none]"
    )
    log_text: bool = Field(
        False, description="write prompts and answers into alarms.jsonl, not only hashes"
    )
