"""Settings of each verb: a YAML file, `key=value` overrides and flags; unknown keys are errors.

`--help` shows the descriptions, so each one names the quantity and its unit. This module does not
import torch.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sirl.errors import ConfigError, did_you_mean
from sirl.renamed import SETTINGS

__all__ = [
    "DemoConfig",
    "EvaluateConfig",
    "JudgeConfig",
    "PlanConfig",
    "ProbeConfig",
    "Settings",
    "TrainConfig",
    "parse_value",
    "resolve",
]


class Settings(BaseModel):
    """Settings that every verb that runs a model shares."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(..., description="checkpoint folder, hub id, or 'embedded'")
    out: str = Field(..., description="run folder to write")
    seed: int = Field(0, description="random seed")
    new_tokens: int = Field(64, ge=1, description="maximum new tokens per answer")
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="compute precision")
    sampling_batch_size: int = Field(256, ge=1, description="completions sampled together")
    strict: bool = Field(False, description="stop at the first invalid row of an input file")
    sampler: Literal["native", "huggingface", "vllm"] = Field(
        "native",
        description="sampling engine: native, huggingface (generate(), for any model), or vllm "
        "(experimental, training only)",
    )
    template_arguments: dict[str, Any] | None = Field(
        None, description="chat-template variables as YAML, e.g. '{enable_thinking: false}'"
    )
    template_date: str | None = Field(
        None,
        description="date that the chat template writes, e.g. 2026-01-31 [default: the time at "
        "which the run started]",
    )


class TrainConfig(Settings):
    """Harden a model."""

    prompts: str | None = Field(
        None,
        description="unlabelled training prompts; required for every model but 'embedded'",
    )
    method: Literal["instinct", "entropy"] = Field(
        "entropy",
        description="entropy: reward sure answers (SIRL); instinct: reward answers in the mode of "
        "entropy that the model prefers for the bare prompt",
    )
    pool: Literal["shipped", "none"] = Field(
        "shipped",
        description="harmless prompts that --method instinct adds to --prompts: shipped (ordinary "
        "and boundary prompts that come with sirl) or none",
    )
    steps: int = Field(30, ge=1, description="training steps")
    group: int = Field(8, ge=2, description="completions sampled per prompt")
    batch: int = Field(16, ge=1, description="prompts per step")
    learning_rate: float = Field(1e-4, gt=0, description="peak learning rate (AdamW)")
    schedule: Literal["constant", "cosine"] = Field(
        "constant", description="learning-rate schedule"
    )
    weight_decay: float = Field(0.0, ge=0, description="weight decay (AdamW)")
    kl: float = Field(0.01, ge=0, description="KL penalty coefficient (beta)")
    kl_estimator: Literal["k1", "k2", "k3"] = Field("k3", description="estimator of the KL penalty")
    clip: float = Field(0.2, gt=0, lt=1, description="PPO clip range")
    reward: str = Field(
        "negative_entropy",
        description="reward: negative_entropy (SIRL), a control (reversed, random, perplexity, "
        "self_certainty), or python:MODULE:FUNCTION, which takes a completion",
    )
    observers: str | None = Field(
        None,
        description="additional training observers, comma-separated: plug-in names, or "
        "python:MODULE:FUNCTION, which returns a sirl.roles.Observer",
    )
    sources: str | None = Field(
        None,
        description="additional sources of training examples, comma-separated: plug-in names, or "
        "python:MODULE:FUNCTION, which takes the model and returns a sirl.roles.ExampleSource",
    )
    temperature: float = Field(
        1.0, gt=0, description="sampling temperature; rewards always use temperature 1"
    )
    mini_batches: int = Field(
        1, ge=1, description="optimizer steps per batch of sampled completions"
    )
    token_budget: int = Field(
        16384, ge=1, description="tokens per micro-batch; a shared prompt counts once"
    )
    max_gradient_norm: float = Field(1.0, gt=0, description="clip the gradient norm to this value")
    shard: bool = Field(False, description="shard weights across processes (FSDP2)")
    timeout: float = Field(
        600.0, gt=0, description="seconds a process waits for the others before it fails"
    )
    lora: bool = Field(False, description="train a LoRA adapter instead of all weights")
    lora_rank: int = Field(16, ge=1, description="LoRA rank (r)")
    checkpoint_every: int = Field(
        10, ge=1, description="steps between checkpoints; each mini-evaluation also saves one"
    )
    eval_every: int = Field(
        10, ge=0, description="steps between mini-evaluations; 0 turns them off"
    )
    track: str | None = Field(
        None,
        description="trackers to log to, comma-separated: tensorboard, trackio, wandb",
    )
    attacks: str = Field(
        "quick",
        description="attacks of the evaluation before and after: comma-separated names, or quick, "
        "standard, full",
    )
    held_out: int = Field(
        24,
        ge=0,
        description="training prompts held out for the evaluation when --behaviours is not "
        "given; 0 holds out none and skips the evaluation",
    )
    behaviours: str | None = Field(
        None, description="harmful requests for the evaluation before and after"
    )
    ordinary: str | None = Field(
        None, description="everyday harmless prompts, to measure over-refusal"
    )
    lookalikes: str | None = Field(
        None, description="harmless prompts that sound harmful, to measure over-refusal"
    )
    limit: int | None = Field(
        None, ge=1, description="prompts that the table asks of each file, evenly spread"
    )
    refusals: str | None = Field(
        None,
        description="text file with the model's own refusal sentences, one per line, for judges "
        "of refusals",
    )
    disguised: bool = Field(
        False,
        description="embedded model only: train on disguised prompts, which shows how training "
        "can fail",
    )


class PlanConfig(TrainConfig):
    """Estimate what training takes; the settings are those of `sirl train`."""

    out: str = Field("runs/plan", description="run folder that training would write")
    gpus: int = Field(0, ge=0, description="number of GPUs; 0 plans for the CPU")
    gpu: str | None = Field(None, description="GPU model, e.g. H100; sets its speed and memory")
    gpu_memory: float | None = Field(None, gt=0, description="memory per GPU in GiB")
    prompt_tokens: int = Field(128, ge=1, description="tokens per prompt, chat template included")


class JudgeConfig(BaseModel):
    """How a judge at an endpoint is asked."""

    requests_per_minute: int | None = Field(None, ge=1, description="rate limit of an endpoint")
    concurrency: int = Field(8, ge=1, description="concurrent requests to an endpoint")
    tries: int = Field(5, ge=1, description="maximum attempts per endpoint request")
    timeout: float = Field(60.0, gt=0, description="timeout in seconds of one endpoint request")
    key_from_env: str | None = Field(
        None,
        description="environment variable that holds the endpoint's API key; none sends no key "
        "[default: OPENAI_API_KEY]",
    )
    judge_key_from_env: str | None = Field(None, description="the same for the judge's endpoint")


class EvaluateConfig(JudgeConfig, Settings):
    """Evaluate a model."""

    sampler: Literal["native", "huggingface"] = Field(
        "native", description="sampling engine for a local model"
    )
    model: str = Field(
        ...,
        description="checkpoint folder, hub id, 'embedded', https://HOST/v1#NAME (OpenAI-style "
        "endpoint), or python:MODULE:FUNCTION",
    )
    behaviours: str | None = Field(
        None, description="harmful requests; required for every model but 'embedded'"
    )
    attacks: str = Field(
        "quick",
        description="attacks: comma-separated names, or quick, standard, full; none runs only "
        "the attacks of your own files",
    )
    judge: str = Field(
        "auto",
        description="judges, comma-separated; the first gives the headline: rules, "
        "classifier:FOLDER, strongreject:MODEL or another rubric; a+b+c is a jury",
    )
    refusals: str | None = Field(
        None,
        description="text file with the model's own refusal sentences, one per line, for judges "
        "of refusals",
    )
    attacker: str = Field(
        "auto", description="model that writes attacks, named as in --model; none turns it off"
    )
    sheet: str | None = Field(
        None, description="recorded attack prompts to replay (CSV, JSONL, JailbreakBench artifact)"
    )
    templates: str | None = Field(
        None, description="attack templates that contain {request} (text, JSONL)"
    )
    transcripts: str | None = Field(None, description="user turns of multi-turn attacks (JSONL)")
    targets: str | None = Field(
        None,
        description="target prefixes of compliant answers, for prefill and search attacks "
        "(JSONL: behavior_id, target)",
    )
    ordinary: str | None = Field(
        None, description="everyday harmless prompts, to measure over-refusal"
    )
    lookalikes: str | None = Field(
        None, description="harmless prompts that sound harmful, to measure over-refusal"
    )
    benchmarks: str | None = Field(
        None,
        description="capability tasks as KIND:FILE, comma-separated; kinds: numeric, choice, "
        "humaneval, mbpp, ifeval (JSONL), lmeval (YAML)",
    )
    capability_tokens: int = Field(
        512, ge=1, description="maximum new tokens per answer to a task of --benchmarks"
    )
    run_code: bool = Field(
        False,
        description="allow running code: the model's for humaneval and mbpp (in a sandbox), and "
        "that of a task file for lmeval (without one)",
    )
    limit: int | None = Field(
        None, ge=1, description="use at most N prompts of each file, evenly spaced"
    )
    trained_on: str | None = Field(
        None, description="training prompts, to check --behaviours for contamination"
    )
    calibration: str | None = Field(
        None, description="file from `sirl judge calibrate`, used to correct rates"
    )
    max_queries: int | None = Field(
        None, ge=1, description="search budget per behaviour: target calls"
    )
    max_tokens: int | None = Field(
        None, ge=1, description="search budget per behaviour: sampled tokens"
    )
    max_seconds: float | None = Field(
        None, gt=0, description="search budget per behaviour: seconds"
    )
    best_of: int = Field(
        1, ge=1, description="sample N answers, return the one with the lowest entropy"
    )
    attacker_key_from_env: str | None = Field(
        None, description="the same for the attacker's endpoint"
    )
    supports_opener: bool = Field(
        False, description="endpoint can continue a prefilled assistant turn"
    )


class ProbeConfig(EvaluateConfig):
    """Measure only the entropy gap."""

    attacks: str = Field(
        "direct", description="attacks: comma-separated names, or quick, standard, full"
    )


class DemoConfig(TrainConfig):
    """The whole method on the embedded model."""

    model: str = Field("embedded", description="checkpoint folder, hub id, or 'embedded'")
    out: str = Field("runs/demo", description="run folder to write")
    attacks: str = Field("world", description="attacks of the evaluation before and after")
    held_out: int = Field(40, ge=1, description="held-out harmful requests in the evaluation")
    new_tokens: int = Field(48, ge=1, description="maximum new tokens per answer")


Verb = TypeVar("Verb", bound=BaseModel)


def resolve(
    verb: type[Verb],
    *,
    file: Path | None,
    overrides: Sequence[str],
    flags: Mapping[str, Any],
    resumed: Callable[[Path], Mapping[str, Any]] | None = None,
) -> Verb:
    """The settings of a verb: defaults, then the file, then `key=value`, then flags.

    `resumed` reads the settings of the run in a folder: they stand in for the defaults.

    Raises:
        ConfigError: A key is unknown, a value does not fit, or the file holds no mapping.
    """
    settings = read_settings(file)
    where = dict.fromkeys(settings, str(file))
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals:
            raise ConfigError(f"--set {override} is not key=value")
        settings[key.strip()] = parse_value(f"--set {override}", value)
        where[key.strip()] = f"--set {override}"
    for key, value in flags.items():
        if value is not None:
            flag = f"--{key.replace('_', '-')} {value}"
            if where.get(key, "").startswith("--set ") and settings[key] != value:
                raise ConfigError(f"{flag} and {where[key]} contradict each other: give one")
            settings[key] = value
            where[key] = flag
    if resumed and isinstance(out := settings.get("out", default_of(verb, "out")), str):
        before = {k: v for k, v in resumed(Path(out)).items() if k in verb.model_fields}
        settings = before | settings
        where = dict.fromkeys(before, f"config.yaml of {out}") | where
    for key in settings:
        if key not in verb.model_fields:
            hint = did_you_mean(SETTINGS.get(key, str(key)), verb.model_fields)
            raise ConfigError(f"{where[key]}: there is no setting {str(key)!r}. {hint}")
    try:
        return verb.model_validate(settings)
    except ValidationError as error:
        raise ConfigError(sentence(error, where)) from error


def default_of(verb: type[BaseModel], name: str) -> Any:  # noqa: ANN401 - of any setting
    """The default of a setting."""
    return verb.model_fields[name].get_default()


def read_settings(file: Path | None) -> dict[str, Any]:
    """The mapping in a YAML file."""
    if file is None:
        return {}
    try:
        settings = yaml.safe_load(file.read_text("utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"--config {file}{yaml_fault(error)}: mend it there") from error
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise ConfigError(f"--config {file} cannot be read: {reason}; check the path") from error
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise ConfigError(f"--config {file} holds no mapping of settings: write key: value lines")
    return settings


def parse_value(where: str, value: str) -> Any:  # noqa: ANN401 - any YAML scalar
    """Parse a value as YAML."""
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"{where} is not YAML: put the value into quotes") from error


def yaml_fault(error: yaml.YAMLError) -> str:
    """Where a text ceases to be YAML, and why."""
    mark = getattr(error, "problem_mark", None)
    line = f":{mark.line + 1}" if mark else ""
    reason = getattr(error, "problem", None) or getattr(error, "reason", None)
    return f"{line} is not YAML" + (f" ({reason})" if reason else "")


def sentence(error: ValidationError, where: Mapping[str, str]) -> str:
    """The first validation error as one sentence."""
    first = error.errors()[0]
    key = str(first["loc"][0]) if first["loc"] else ""
    if first["type"] == "missing":
        return f"--{key.replace('_', '-')} is needed"
    given = where.get(key, key)
    return f"{given}: {key} must be {fitting(first['type'], first.get('ctx', {}), first['msg'])}"


FITTING = {
    **dict.fromkeys(("int_parsing", "int_type", "int_from_float"), "a whole number"),
    **dict.fromkeys(("float_parsing", "float_type"), "a number"),
    **dict.fromkeys(("bool_parsing", "bool_type"), "true or false"),
    "string_type": "text: put it into quotes",
    "dict_type": "a mapping, such as {{name: value}}",
    "greater_than": "greater than {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "less_than": "less than {lt:g}",
    "less_than_equal": "at most {le:g}",
    "literal_error": "one of {expected}",
}
"""What a value must be, by the complaint of pydantic."""


def fitting(kind: str, bounds: Mapping[str, Any], said: str) -> str:
    """What a value must be, in words; those of pydantic where there are no better ones."""
    return FITTING[kind].format(**bounds) if kind in FITTING else f"another one ({said})"
