"""Settings, one model per verb; a YAML file plus `key=value` overrides, unknown keys refused.

Every field says what it is and in which unit; the text is also what `--help` and the
documentation show. Nothing here imports torch.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sirl.errors import ConfigError, did_you_mean

__all__ = [
    "DemoConfig",
    "EvaluateConfig",
    "PlanConfig",
    "ProbeConfig",
    "Settings",
    "TrainConfig",
    "parse_value",
    "resolve",
]


class Settings(BaseModel):
    """What every verb that runs a model has in common."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(..., description="checkpoint folder, hub id, or 'embedded'")
    out: str = Field(..., description="run folder to write")
    seed: int = Field(0, description="seed of every random choice")
    new_tokens: int = Field(64, ge=1, description="longest answer, in tokens")
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="precision of products")
    rows: int = Field(256, ge=1, description="completions sampled together")
    strict: bool = Field(False, description="stop at the first unusable row of an input file")
    sampler: Literal["native", "huggingface", "vllm"] = Field(
        "native",
        description="what samples: native, huggingface (generate, for any model), or vllm "
        "(experimental, training only)",
    )
    template_arguments: dict[str, Any] | None = Field(
        None, description="variables of the model's chat template, {enable_thinking: false} say"
    )
    template_date: str | None = Field(
        None, description="date that chat templates write (default: when the run was started)"
    )


class TrainConfig(Settings):
    """Harden a model."""

    prompts: str | None = Field(
        None, description="unlabelled prompts (CSV, JSONL, text); the embedded model has its own"
    )
    steps: int = Field(30, ge=1, description="batches of completions to learn from")
    group: int = Field(8, ge=2, description="completions per prompt")
    batch: int = Field(16, ge=1, description="prompts per step")
    learning_rate: float = Field(1e-4, gt=0, description="peak learning rate of AdamW")
    schedule: Literal["constant", "cosine"] = Field(
        "constant", description="learning rate's course"
    )
    weight_decay: float = Field(0.0, ge=0, description="decoupled weight decay of AdamW")
    kl: float = Field(0.01, ge=0, description="weight of the KL leash to the starting model")
    kl_estimator: Literal["k1", "k2", "k3"] = Field("k3", description="how KL is estimated")
    clip: float = Field(0.2, gt=0, lt=1, description="how far a ratio counts from 1")
    reward: str = Field(
        "negative_entropy",
        description="the method's reward; one of the paper's controls: reversed, random, "
        "perplexity, self_certainty; or python:MODULE:FUNCTION, which takes a completion",
    )
    observers: str | None = Field(
        None,
        description="further observers of training, joined by commas: names of plug-ins, or "
        "python:MODULE:FUNCTION, which gives back a sirl.roles.Observer",
    )
    sources: str | None = Field(
        None,
        description="further sources of training examples, joined by commas: names of plug-ins, "
        "or python:MODULE:FUNCTION, which takes the model and gives back a "
        "sirl.roles.ExampleSource",
    )
    temperature: float = Field(1.0, gt=0, description="of the sampling; entropies stay at 1")
    mini_batches: int = Field(1, ge=1, description="optimizer steps per batch of completions")
    token_budget: int = Field(
        16384, ge=1, description="tokens that a micro-batch reads, each prompt once"
    )
    max_gradient_norm: float = Field(1.0, gt=0, description="longer gradients are clipped to this")
    shard: bool = Field(
        False, description="of several processes each holds a part of the weights (FSDP2)"
    )
    timeout: float = Field(
        600.0, gt=0, description="seconds that a process waits for the others before it gives up"
    )
    lora: bool = Field(False, description="train a LoRA adapter in place of all weights")
    lora_rank: int = Field(16, ge=1, description="rank of the adapter")
    checkpoint_every: int = Field(
        10, ge=1, description="steps between checkpoints; each mini-evaluation saves one, too"
    )
    checkup_every: int = Field(
        10, ge=0, description="steps between mini-evaluations; 0 leaves them out"
    )
    track: str | None = Field(
        None,
        description="who else is shown each step: tensorboard, trackio, wandb, joined by commas",
    )
    attacks: str = Field("quick", description="attacks of the table before and after")
    held_out: int = Field(
        24,
        ge=0,
        description="prompts kept from training, which the table asks where no --behaviours are "
        "given; 0 keeps none, and leaves the table out",
    )
    behaviours: str | None = Field(
        None, description="unsafe requests of the table before and after (CSV, JSONL, text)"
    )
    ordinary: str | None = Field(None, description="ordinary prompts of the table")
    lookalikes: str | None = Field(
        None, description="harmless prompts of the table that sound unsafe"
    )
    limit: int | None = Field(
        None, ge=1, description="prompts that the table asks of each file, evenly spread"
    )
    refusals: str | None = Field(
        None, description="the model's own refusal sentences, one a line, for judges of refusals"
    )
    disguised: bool = Field(
        False, description="embedded model only: train on disguised prompts, and see the decay"
    )


class PlanConfig(TrainConfig):
    """Say what training would take; the settings are those of `sirl train`."""

    out: str = Field("runs/plan", description="run folder that training would write")
    gpus: int = Field(0, ge=0, description="GPUs to train on; 0 is the CPU")
    gpu: str | None = Field(None, description="kind of GPU, by which rates and memory are known")
    gpu_memory: float | None = Field(None, gt=0, description="memory of each GPU, in GiB")
    prompt_tokens: int = Field(128, ge=1, description="length of a prompt with its template")


class EvaluateConfig(Settings):
    """Measure a model."""

    sampler: Literal["native", "huggingface"] = Field(
        "native", description="what samples a model in this process"
    )
    model: str = Field(
        ...,
        description="checkpoint folder, hub id, 'embedded', https://HOST/v1#NAME (OpenAI-style "
        "endpoint), or python:MODULE:FUNCTION",
    )
    behaviours: str | None = Field(None, description="unsafe requests (CSV, JSONL, text)")
    attacks: str = Field(
        "quick", description="names joined by commas, quick, standard or full; none for own files"
    )
    judge: str = Field(
        "auto",
        description="judges joined by commas, the first for the headline: rules, "
        "classifier:FOLDER, strongreject:MODEL and other rubrics; a+b+c is a jury",
    )
    refusals: str | None = Field(
        None, description="the model's own refusal sentences, one a line, for judges of refusals"
    )
    attacker: str = Field(
        "auto", description="model that writes attempts (as --model; 'none' for none)"
    )
    sheet: str | None = Field(None, description="recorded attacks (CSV, JSONL, JBB artefact)")
    templates: str | None = Field(None, description="frames with {request} (text, JSONL)")
    transcripts: str | None = Field(None, description="user turns of conversations (JSONL)")
    targets: str | None = Field(
        None, description="first words of compliant answers (JSONL: behavior_id, target)"
    )
    ordinary: str | None = Field(None, description="ordinary prompts, for over-refusal")
    lookalikes: str | None = Field(None, description="harmless prompts that sound unsafe")
    benchmarks: str | None = Field(
        None,
        description="tasks as KIND:FILE joined by commas; kinds: numeric, choice, humaneval, "
        "mbpp, ifeval (JSONL), lmeval (YAML)",
    )
    capability_tokens: int = Field(
        512, ge=1, description="longest answer to a task of --benchmarks, in tokens"
    )
    run_code: bool = Field(
        False, description="whether code that the model writes for humaneval and mbpp may be run"
    )
    limit: int | None = Field(None, ge=1, description="prompts used of each file, evenly spread")
    trained_on: str | None = Field(
        None, description="training prompts, to be looked for among the behaviours"
    )
    calibration: str | None = Field(
        None, description="what sirl judge calibrate measured, to correct the rates by"
    )
    max_queries: int | None = Field(None, ge=1, description="most target calls of a search")
    max_tokens: int | None = Field(None, ge=1, description="most answer tokens of a search")
    max_seconds: float | None = Field(None, gt=0, description="most seconds of a search")
    best_of: int = Field(
        1, ge=1, description="defence without training: of so many answers the surest is given"
    )
    requests_per_minute: int | None = Field(None, ge=1, description="limit at an endpoint")
    concurrency: int = Field(8, ge=1, description="requests to an endpoint under way together")
    tries: int = Field(5, ge=1, description="how often a request to an endpoint is sent at most")
    timeout: float = Field(
        60.0, gt=0, description="seconds for one try of a request to an endpoint"
    )
    key_from_env: str | None = Field(
        None,
        description="environment variable with the key of the endpoint (default: OPENAI_API_KEY; "
        "none for none)",
    )
    judge_key_from_env: str | None = Field(
        None, description="environment variable with the key of the judge's endpoint"
    )
    attacker_key_from_env: str | None = Field(
        None, description="environment variable with the key of the attacker's endpoint"
    )
    supports_opener: bool = Field(
        False, description="whether the endpoint continues an answer that was begun"
    )


class ProbeConfig(EvaluateConfig):
    """Measure the entropy gap alone."""

    attacks: str = Field("direct", description="names joined by commas, or quick, standard, full")


class DemoConfig(TrainConfig):
    """The whole idea on the embedded model."""

    model: str = Field("embedded", description="checkpoint folder, hub id, or 'embedded'")
    out: str = Field("runs/demo", description="run folder to write")
    attacks: str = Field("world", description="attacks of the table before and after")
    held_out: int = Field(40, ge=1, description="unseen unsafe requests in the table")
    new_tokens: int = Field(48, ge=1, description="longest answer, in tokens")


Verb = TypeVar("Verb", bound=Settings)


def resolve(
    verb: type[Verb],
    *,
    file: Path | None,
    overrides: Sequence[str],
    flags: Mapping[str, Any],
    resumed: Callable[[Path], Mapping[str, Any]] | None = None,
) -> Verb:
    """The settings of a verb: defaults, then the file, then `key=value`, then flags given.

    `resumed` reads the settings of the run in a folder: they stand in for the defaults.

    Raises:
        ConfigError: A key is unknown, a value does not fit, or the file is no mapping.
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
    out = settings.get("out", verb.model_fields["out"].get_default())
    if resumed and isinstance(out, str):
        before = {k: v for k, v in resumed(Path(out)).items() if k in verb.model_fields}
        settings = before | settings
        where = dict.fromkeys(before, f"config.yaml of {out}") | where
    for key in settings:
        if key not in verb.model_fields:
            hint = did_you_mean(str(key), verb.model_fields)
            raise ConfigError(f"{where[key]}: there is no setting {str(key)!r}. {hint}")
    try:
        return verb.model_validate(settings)
    except ValidationError as error:
        raise ConfigError(sentence(error, where)) from error


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
    """A value as YAML reads it."""
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
    """The first complaint: where, what, and what would fit."""
    first = error.errors()[0]
    key = str(first["loc"][0]) if first["loc"] else ""
    if first["type"] == "missing":
        return f"--{key.replace('_', '-')} is needed"
    given = where.get(key, key)
    return f"{given}: {key} must be {fitting(first['type'], first.get('ctx', {}), first['msg'])}"


FITTING = {
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
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
