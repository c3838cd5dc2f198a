"""Settings by concern; a verb lists the groups that it uses.

`--help` shows the descriptions, so each one names the quantity and its unit.
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "AttackSettings",
    "BudgetSettings",
    "CapabilitySettings",
    "EndpointSettings",
    "Group",
    "HardwareSettings",
    "JudgeEndpointSettings",
    "JudgingSettings",
    "ModelSettings",
    "ObjectiveSettings",
    "OptimizationSettings",
    "ProcessSettings",
    "PromptSettings",
    "RequestSettings",
    "RolloutSettings",
    "RunSettings",
    "SamplingSettings",
    "StepSettings",
    "TargetEndpointSettings",
    "TrainingPromptSettings",
]


class Group(BaseModel):
    """Settings of one concern; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelSettings(Group):
    """The model and how it is loaded."""

    model: str = Field(..., description="checkpoint folder, hub id, or 'embedded'")
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="compute precision")
    template_arguments: dict[str, Any] | None = Field(
        None, description="chat-template variables as YAML, e.g. '{enable_thinking: false}'"
    )
    template_date: str | None = Field(
        None,
        description="date that the chat template writes, e.g. 2026-01-31 [default: the time at "
        "which the run started]",
    )


class RunSettings(Group):
    """The run folder, and settings of the whole run."""

    out: str = Field(..., description="run folder to write")
    seed: int = Field(0, description="random seed")
    strict: bool = Field(False, description="stop at the first invalid row of an input file")


class SamplingSettings(Group):
    """How completions are sampled."""

    sampler: str = Field(
        "native",
        description="sampling engine: native, huggingface (generate(), for any model), a plug-in "
        "name, or python:MODULE:NAME",
    )
    new_tokens: int = Field(64, ge=1, description="maximum new tokens per answer")
    sampling_batch_size: int = Field(256, ge=1, description="completions sampled together")


class PromptSettings(Group):
    """Prompts of the evaluation other than the harmful requests."""

    ordinary: str | None = Field(
        None, description="everyday harmless prompts, to measure over-refusal"
    )
    lookalikes: str | None = Field(
        None, description="harmless prompts that sound harmful, to measure over-refusal"
    )
    limit: int | None = Field(
        None, ge=1, description="evaluate with at most N prompts of each kind, evenly spaced"
    )
    refusals: str | None = Field(
        None,
        description="text file with the model's own refusal sentences, one per line, for judges "
        "of refusals",
    )


class TrainingPromptSettings(Group):
    """Prompts to train on, and how many of them are held out."""

    prompts: str | None = Field(
        None,
        description="unlabelled training prompts: files and globs, comma-separated, or "
        "alarms:FOLDER (the alarm log of sirl guard serve); required for every model but "
        "'embedded'",
    )
    pool: str = Field(
        "shipped",
        description="harmless prompts that --method instinct adds to --prompts and that the "
        "sentinel watches: shipped (ordinary and boundary prompts that come with sirl), none, or "
        "your own files, given as in --prompts",
    )
    held_out: int = Field(
        24,
        ge=0,
        description="training prompts held out for the evaluation when --behaviours is not "
        "given; 0 holds out none and skips the evaluation",
    )
    disguised: bool = Field(
        False,
        description="embedded model only: train on disguised prompts, which shows how training "
        "can fail",
    )


class RolloutSettings(Group):
    """Completions of a training step."""

    group: int = Field(8, ge=2, description="completions sampled per prompt")
    batch: int = Field(16, ge=1, description="prompts per step")
    temperature: float = Field(
        1.0, gt=0, description="sampling temperature; rewards always use temperature 1"
    )


class ObjectiveSettings(Group):
    """What training maximises."""

    method: Literal["instinct", "entropy"] = Field(
        "instinct",
        description="instinct: refuse or answer a disguised prompt as the model treats the bare "
        "one; entropy: reward low entropy (the SIRL paper), which raises over-refusal",
    )
    depth: bool = Field(
        False,
        description="with --method instinct: also train on answers prefilled with the "
        "model's own words, so that refusals survive a prefill",
    )
    suffixes: bool = Field(
        False,
        description="with --depth: also train on prompts with searched suffixes (GCG), so that "
        "searches succeed less often; a step takes several times as long, and more harmless "
        "prompts in disguises are refused",
    )
    reward: str = Field(
        "negative_entropy",
        description="reward: negative_entropy (SIRL), a control (reversed, random, perplexity, "
        "self_certainty), or python:MODULE:NAME, which takes a completion",
    )
    kl: float = Field(0.01, ge=0, description="KL penalty coefficient (beta)")
    kl_estimator: Literal["k1", "k2", "k3"] = Field("k3", description="estimator of the KL penalty")
    clip: float = Field(0.2, gt=0, lt=1, description="PPO clip range")
    sources: str | None = Field(
        None,
        description="additional sources of training examples, comma-separated: plug-in names, or "
        "python:MODULE:NAME, which takes the model and returns a sirl.roles.ExampleSource",
    )


POINTS_RATE, SAMPLED_RATE = 2e-4, 1e-4
"""Default learning rates of decision points and of sampled answers."""
ADAPTER_PACE = 5
"""Factor of the default learning rate of --method instinct with LoRA, which moves fewer weights: on
a model of 135 million parameters it gains as much as all weights, with a tenth of the drift."""


def usual_rate(known: Mapping[str, Any]) -> float:
    """The learning rate where none is given.

    Decision points have no noise of sampling, and so a higher one; with depth both have the same.
    """
    at_points = known.get("method") == "instinct" and not known.get("depth")
    return (POINTS_RATE if at_points else SAMPLED_RATE) * adapter_pace(known)


def sampled_rate(known: Mapping[str, Any]) -> float:
    """The learning rate of sampled answers; one that is not the usual one stays as it is."""
    given = float(known["learning_rate"])
    return SAMPLED_RATE * adapter_pace(known) if given == usual_rate(known) else given


def adapter_pace(known: Mapping[str, Any]) -> int:
    """The factor of the default learning rate: that of adapters for the instinct with LoRA."""
    return ADAPTER_PACE if known.get("method") == "instinct" and known.get("lora") else 1


class OptimizationSettings(Group):
    """How the weights are updated."""

    steps: int = Field(
        40,
        ge=1,
        description="training steps; with --method instinct the maximum",
    )
    lora: bool = Field(False, description="train a LoRA adapter instead of all weights")
    lora_rank: int = Field(16, ge=1, description="LoRA rank (r)")
    learning_rate: float = Field(
        default_factory=usual_rate,
        gt=0,
        description="peak learning rate (AdamW) [default: 2e-4 for --method instinct, 1e-4 for "
        "entropy and with --depth; docs/training.md has the others]",
    )
    schedule: Literal["constant", "cosine"] = Field(
        "constant", description="learning-rate schedule"
    )
    weight_decay: float = Field(0.0, ge=0, description="weight decay (AdamW)")
    mini_batches: int = Field(
        1, ge=1, description="optimizer steps per batch of sampled completions"
    )
    token_budget: int = Field(
        16384, ge=1, description="tokens per micro-batch; a shared prompt counts once"
    )
    max_gradient_norm: float = Field(1.0, gt=0, description="clip the gradient norm to this value")


class ProcessSettings(Group):
    """How several processes train one model."""

    shard: bool = Field(False, description="shard weights across processes (FSDP2)")
    timeout: float = Field(
        600.0, gt=0, description="seconds a process waits for the others before it fails"
    )


class StepSettings(Group):
    """What happens between training steps."""

    sentinel: bool = Field(
        default_factory=lambda known: known.get("method") == "instinct",
        description="watch prompts of --prompts and --pool that are not trained on, recommend a "
        "step, and end training when harmless prompts are refused more often, skills are lost or "
        "nothing is left to learn [default: with --method instinct]",
    )

    checkpoint_every: int = Field(
        10, ge=1, description="steps between checkpoints; each mini-evaluation also saves one"
    )
    eval_every: int = Field(
        10, ge=0, description="steps between mini-evaluations; 0 turns them off"
    )
    observers: str | None = Field(
        None,
        description="additional training observers, comma-separated: plug-in names, or "
        "python:MODULE:NAME, which returns a sirl.roles.Observer",
    )
    track: str | None = Field(
        None,
        description="trackers to log to, comma-separated: tensorboard, trackio, wandb",
    )


class HardwareSettings(Group):
    """Hardware and prompt length that a plan is made for."""

    gpus: int = Field(0, ge=0, description="number of GPUs; 0 plans for the CPU")
    gpu: str | None = Field(None, description="GPU model, e.g. H100; sets its speed and memory")
    gpu_memory: float | None = Field(None, gt=0, description="memory per GPU in GiB")
    prompt_tokens: int = Field(128, ge=1, description="tokens per prompt, chat template included")


class RequestSettings(Group):
    """How endpoints are asked, whatever their role."""

    requests_per_minute: int | None = Field(None, ge=1, description="rate limit of an endpoint")
    concurrency: int = Field(8, ge=1, description="concurrent requests to an endpoint")
    tries: int = Field(5, ge=1, description="maximum attempts per endpoint request")
    timeout: float = Field(60.0, gt=0, description="timeout in seconds of one endpoint request")


class TargetEndpointSettings(RequestSettings):
    """How one model at an endpoint is asked."""

    key_from_env: str | None = Field(
        None,
        description="environment variable that holds the endpoint's API key; none sends no key "
        "[default: OPENAI_API_KEY]",
    )


class JudgeEndpointSettings(RequestSettings):
    """How a judge at an endpoint is asked."""

    judge_key_from_env: str | None = Field(
        None,
        description="environment variable that holds the API key of the judge's endpoint "
        "[default: OPENAI_API_KEY, or the target's variable at the same host]",
    )


class EndpointSettings(JudgeEndpointSettings, TargetEndpointSettings):
    """How models at endpoints are asked."""


class AttackSettings(Group):
    """Attacks added to those that `--attacks` names, and what they need."""

    attacker: str = Field(
        "auto", description="model that writes attacks, named as in --model; none turns it off"
    )
    attacker_key_from_env: str | None = Field(
        None, description="environment variable that holds the API key of the attacker's endpoint"
    )
    supports_opener: bool = Field(
        False, description="endpoint can continue a prefilled assistant turn"
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


class BudgetSettings(Group):
    """What a search may spend on one behaviour."""

    max_queries: int | None = Field(
        None, ge=1, description="search budget per behaviour: target calls"
    )
    max_tokens: int | None = Field(
        None, ge=1, description="search budget per behaviour: sampled tokens"
    )
    max_seconds: float | None = Field(
        None, gt=0, description="search budget per behaviour: seconds"
    )


class JudgingSettings(Group):
    """The judges, and what their rates and the requests are checked against."""

    judge: str = Field(
        "auto",
        description="judges, comma-separated; the first gives the headline: rules, "
        "classifier:FOLDER, strongreject:MODEL or another rubric; a+b+c is a jury",
    )
    calibration: str | None = Field(
        None, description="file from `sirl judge calibrate`, used to correct rates"
    )
    trained_on: str | None = Field(
        None, description="training prompts, to check --behaviours for contamination"
    )


class CapabilitySettings(Group):
    """Benchmarks of capability."""

    benchmarks: str | None = Field(
        None,
        description="capability tasks as KIND:FILE, comma-separated; kinds: numeric, choice, "
        "humaneval, mbpp, ifeval (JSONL), lmeval (YAML); or plug-in names, or "
        "python:MODULE:NAME, which returns a sirl.roles.Benchmark",
    )
    capability_tokens: int = Field(
        512, ge=1, description="maximum new tokens per answer to a task of --benchmarks"
    )
    run_code: bool = Field(
        False,
        description="allow running code: the model's answers to humaneval and mbpp (in a sandbox), "
        "and the code of lmeval task files (not in a sandbox)",
    )
