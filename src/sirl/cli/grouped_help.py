"""Plain `--help`, grouped by panel; unlike tables, it never truncates an option name.

Lines are not broken at hyphens, so that flags and words such as "over-refusal" stay whole. The
formatter of typer has no setting for that: hyphens are replaced by ones that do not break, and put
back in what it has written.
"""

import re
from collections.abc import Mapping
from typing import Any

from typer.core import TyperCommand

__all__ = ["HARDWARE", "OUTPUT", "PANELS", "GroupedHelp"]

HARDWARE, OUTPUT = "Hardware", "Output"
PANELS: Mapping[str, tuple[str, ...]] = {
    "Model": ("model", "dtype", "template_arguments", "template_date"),
    "Data (prompt files: CSV, TSV, JSON, JSONL, Parquet or text)": (
        "prompts", "behaviours", "ordinary", "lookalikes", "held_out", "limit", "trained_on",
        "refusals", "strict", "disguised", "prompt_tokens",
    ),
    "Sampling": (
        "sampler", "new_tokens", "sampling_batch_size", "temperature", "group", "batch", "best_of",
        "seed",
    ),
    "Guard": (
        "guard", "alpha", "mode", "action", "on_fault", "prefill", "log_text", "throttle",
        "throttle_half_life",
    ),
    "Upstream": (
        "upstream", "upstream_model", "upstream_key_from_env", "upstream_seconds",
        "upstream_idle_seconds",
    ),
    "Server": ("host", "port", "key_file", "request_seconds", "drain_seconds"),
    "Limits": (
        "max_streams", "max_queue", "max_answers", "max_prompt_tokens", "max_messages",
        "max_inputs", "max_stops", "max_stop_characters", "max_logit_bias", "max_body_bytes",
    ),
    "Objective": (
        "method", "pool", "depth", "suffixes", "reward", "kl", "kl_estimator", "clip", "sources",
    ),
    "Optimization": (
        "steps", "learning_rate", "schedule", "weight_decay", "mini_batches", "token_budget",
        "max_gradient_norm", "lora", "lora_rank",
    ),
    "Checks and checkpoints during training": (
        "eval_every", "sentinel", "checkpoint_every", "observers", "track",
    ),
    HARDWARE: ("shard", "gpus", "gpu", "gpu_memory"),
    "Evaluation": (
        "attacks", "searches", "attacker", "judge", "sheet", "templates", "transcripts", "targets",
        "max_queries", "max_tokens", "max_seconds", "calibration", "benchmarks",
        "capability_tokens", "run_code", "max_lookalike_rise", "max_ordinary_rise",
        "max_capability_drop",
    ),
    "Endpoint": (
        "requests_per_minute", "concurrency", "tries", "timeout", "key_from_env",
        "judge_key_from_env", "attacker_key_from_env", "supports_opener",
    ),
    OUTPUT: ("out",),
}  # fmt: skip
"""Help panels, in the order of `--help`, and the settings of each."""
HYPHEN, UNBROKEN = re.compile(r"(?<=\S)-(?=\S)"), "\u2011"
ARGUMENTS = "Arguments"
OPTIONS = "Options"


class GroupedHelp(TyperCommand):
    """A command whose help groups the options by their `rich_help_panel`."""

    def format_help_text(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - click's own
        """Write the description."""
        described = self.help
        self.help = HYPHEN.sub(UNBROKEN, described or "")
        super().format_help_text(ctx, formatter)
        self.help = described
        restore_hyphens(formatter)

    def format_options(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - click's own
        """Write one section per panel."""
        order = (ARGUMENTS, OPTIONS, *PANELS)
        panels: dict[str, list[tuple[str, str]]] = {name: [] for name in order}
        for param in self.get_params(ctx):
            default = ARGUMENTS if param.param_type_name == "argument" else OPTIONS
            default = OUTPUT if param.name == "help" else default
            panel = getattr(param, "rich_help_panel", None) or default
            if record := param.get_help_record(ctx):
                panels[panel].append((record[0], HYPHEN.sub(UNBROKEN, record[1])))
        for panel, records in panels.items():
            if not records:
                continue
            with formatter.section(panel):
                formatter.write_dl(records)
        restore_hyphens(formatter)


def restore_hyphens(formatter: Any) -> None:  # noqa: ANN401 - click's own
    """Put plain hyphens back into what a formatter has written."""
    formatter.buffer[:] = [text.replace(UNBROKEN, "-") for text in formatter.buffer]
