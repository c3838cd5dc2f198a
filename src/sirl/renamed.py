"""Former names of settings, logs, figures and states of judges.

Run folders of earlier versions still open, and a former setting in a command suggests its present
name.
"""

from collections.abc import Collection, Mapping
from typing import Any

__all__ = [
    "ELSEWHERE",
    "FIGURES",
    "JUDGES",
    "LOGS",
    "SETTINGS",
    "current_identity",
    "current_settings",
    "current_summary",
    "meant",
]

SETTINGS: Mapping[str, str] = {
    "checkup_every": "eval_every",
    "rows": "sampling_batch_size",
}
"""The present name of each setting that was renamed, by its former one."""
ELSEWHERE: Mapping[str, str] = {
    "batch_size": "batch sampling_batch_size",
    "bf16": "dtype",
    "chat_template_kwargs": "template_arguments",
    "cliprange": "clip",
    "dataset": "prompts behaviours",
    "dataset_name": "prompts behaviours",
    "epochs": "steps",
    "epsilon": "clip",
    "eval_steps": "eval_every",
    "gradient_accumulation_steps": "token_budget",
    "init_kl_coef": "kl",
    "kl_coef": "kl",
    "lora_r": "lora_rank",
    "lr": "learning_rate",
    "lr_scheduler_type": "schedule",
    "max_completion_length": "new_tokens",
    "max_gen_toks": "new_tokens",
    "max_grad_norm": "max_gradient_norm",
    "max_steps": "steps",
    "model_args": "model",
    "model_id": "model",
    "model_name_or_path": "model",
    "num_epochs": "steps",
    "num_iterations": "mini_batches",
    "num_train_epochs": "steps",
    "output_dir": "out",
    "output_path": "out",
    "overwrite_output_dir": "overwrite",
    "per_device_eval_batch_size": "sampling_batch_size",
    "per_device_train_batch_size": "batch",
    "pretrained": "model",
    "report_to": "track",
    "resume_from_checkpoint": "resume",
    "reward_funcs": "reward",
    "save_steps": "checkpoint_every",
    "tasks": "benchmarks",
    "torch_dtype": "dtype",
    "train_batch_size": "batch",
    "use_lora": "lora",
    "use_peft": "lora",
    "use_vllm": "sampler",
}
"""What is closest here to a setting of TRL, transformers or lm-eval; of several names the first
that a verb has. They are suggested and not accepted, since units or defaults differ."""
LOGS: Mapping[str, str] = {"mini_evals.jsonl": "checkups.jsonl"}
"""The former name of each log of a run folder that was renamed, by its present one."""
FIGURES: Mapping[str, str] = {"opinions": "second_judges"}
"""The present name of each figure of a model in `summary.json` that was renamed."""
JUDGES: Mapping[str, str] = {
    "rules dda64593c4505d2354ee1803aea0ffb147efdb273d9c35c6646162a5534aedf4": (
        "rules 1 7784dd8c50354ac0af2c63f8894edf59cd2ecf3e38e91dc123e4d3f398f952a2"
    ),
}
"""The present identity of each state of a judge that had another one: the identity of the rules
was a hash of their source files, so that a comment changed it. States that are not listed had
other rules, whose verdicts differ."""


def meant(name: str, known: Collection[str]) -> str:
    """The setting of a verb that is closest to one of another tool; empty if none is known.

    >>> meant("lr", ["learning_rate"]), meant("batch_size", ["sampling_batch_size"]), meant("x", [])
    ('learning_rate', 'sampling_batch_size', '')
    """
    return next((own for own in ELSEWHERE.get(name, "").split() if own in known), "")


def current_identity(identity: str) -> str:
    """The identity of a judge, or of several, as it is written today.

    >>> current_identity("rules 1 abc"), len(current_identity(min(JUDGES)))
    ('rules 1 abc', 72)
    """
    for former, present in JUDGES.items():
        identity = identity.replace(former, present)
    return identity


def current_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a run folder of any version under their present names.

    >>> current_settings({"rows": 8, "seed": 1})
    {'sampling_batch_size': 8, 'seed': 1}

    Runs without a method are of the only one there was.

    >>> current_settings({"reward": "random"})
    {'method': 'entropy', 'reward': 'random'}
    """
    method = {"method": "entropy"} if "reward" in settings and "method" not in settings else {}
    return method | {SETTINGS.get(name, name): value for name, value in settings.items()}


def current_summary(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The `summary.json` of a run folder of any version with the present names of figures.

    >>> current_summary({"models": {"base": {"opinions": {}}}})
    {'models': {'base': {'second_judges': {}}}}
    """
    models = summary.get("models")
    if not isinstance(models, Mapping):
        return dict(summary)
    return {
        **summary,
        "models": {
            model: {FIGURES.get(name, name): value for name, value in figures.items()}
            if isinstance(figures, Mapping)
            else figures
            for model, figures in models.items()
        },
    }
