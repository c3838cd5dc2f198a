"""The estimate of `sirl plan` against the measured memory of a step.

    python benchmarks/plan_against_peak.py [NAME ...] [--out FILE]

For each case a separate process loads a random model as `sirl train` does, runs two training steps
with full-length answers (sampling, scoring, update), and measures its peak resident size minus
that before the model was loaded. Seconds are those of the second step.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM
from turns import peak_resident

import sirl.models.adapters  # noqa: F401 - load libraries before memory is measured
from sirl import registry
from sirl.config import TrainConfig
from sirl.models.folder import EMBEDDED_PATH
from sirl.planning.memory import Step, peak
from sirl.planning.shape import read_shape
from sirl.rollouts.native import NativeEngine
from sirl.training.grading import examples_of
from sirl.types import Prompt

PROMPT_WORDS = 60
LLAMA = {"model_type": "llama", "tie_word_embeddings": True}


@dataclass(frozen=True)
class Case:
    """A model and how it is trained."""

    model: dict[str, Any]
    settings: dict[str, Any]
    """Settings of TrainConfig."""


def model(
    widths: tuple[int, int], layers: int, heads: tuple[int, int], vocab: int, **more: bool | str
) -> dict[str, Any]:
    """Config of a random model: (hidden, MLP) widths, layers, (query, key-value) heads."""
    return {
        **LLAMA,
        "hidden_size": widths[0],
        "intermediate_size": widths[1],
        "num_hidden_layers": layers,
        "num_attention_heads": heads[0],
        "num_key_value_heads": heads[1],
        "head_dim": widths[0] // heads[0],
        "vocab_size": vocab,
        **more,
    }


TINY = model((192, 512), 4, (6, 3), 2048)
SMALL = model((384, 1024), 6, (6, 6), 4096)
MEDIUM = model((512, 1408), 8, (8, 4), 8192, tie_word_embeddings=False)
LARGE = model((640, 1792), 10, (10, 5), 16384, model_type="qwen3")
WIDE = model((256, 688), 6, (4, 2), 32768, model_type="qwen2")
STEP = {"batch": 8, "group": 4, "new_tokens": 64, "sampling_batch_size": 64}
CASES = {
    "2M": Case(TINY, {**STEP, "batch": 32, "group": 8}),
    "2M-lora": Case(TINY, {**STEP, "batch": 32, "group": 8, "lora": True}),
    "12M": Case(SMALL, {**STEP, "batch": 16}),
    "12M-lora": Case(SMALL, {**STEP, "batch": 16, "lora": True}),
    "12M-lora-small-budget": Case(SMALL, {**STEP, "batch": 16, "lora": True, "token_budget": 1024}),
    "13M-wide": Case(WIDE, STEP),
    "32M": Case(MEDIUM, STEP),
    "32M-lora": Case(MEDIUM, {**STEP, "lora": True}),
    "32M-small-budget": Case(MEDIUM, {**STEP, "token_budget": 1024}),
    "32M-bf16": Case(MEDIUM, {**STEP, "dtype": "bfloat16"}),
    "55M": Case(LARGE, {**STEP, "batch": 4}),
    "55M-lora": Case(LARGE, {**STEP, "batch": 4, "lora": True}),
}


def make(folder: Path, config: dict[str, Any]) -> None:
    """A checkpoint of random weights with the embedded model's tokenizer."""
    for file in EMBEDDED_PATH.iterdir():
        if file.name not in ("config.json", "model.safetensors"):
            shutil.copy(file, folder)
    settings = {k: v for k, v in config.items() if k != "model_type"}
    made = AutoConfig.for_model(
        config["model_type"], eos_token_id=1, pad_token_id=0, bos_token_id=None,
        max_position_embeddings=1024, **settings,
    )  # fmt: skip
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(made).save_pretrained(folder)  # type: ignore[no-untyped-call]


def take_steps(folder: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Run two steps; peak bytes above those before the model was loaded, and seconds."""
    torch.set_num_threads(1)
    config = TrainConfig(model=folder, out=folder, **settings)
    warm = torch.randn(256, 256, requires_grad=True)
    (warm @ warm).sum().backward()  # type: ignore[no-untyped-call]
    before = peak_resident()
    chat = registry.policy(config, None)
    object.__setattr__(chat, "end_ids", frozenset())  # no answer ends early
    learner = registry.learner(config, chat, None)
    engine = NativeEngine(chat, 0, config.new_tokens, batch_size=config.sampling_batch_size)
    words = " ".join(["a"] * PROMPT_WORDS)
    prompts = [Prompt.user(f"p{n}", f"{n} {words}") for n in range(10, 10 + config.batch)]
    seconds = {}
    for step in range(2):
        started = time.perf_counter()
        completions = engine.sample(prompts, group=config.group, step=step)
        seconds["sampling"] = time.perf_counter() - started
        numbers = learner.update(examples_of(completions, torch.randn(len(completions))), step=step)
        seconds["scoring"] = numbers["seconds/reference"]
        seconds["updating"] = numbers["seconds/update"]
    length = len(completions[0].prompt_ids)
    return {"bytes": peak_resident() - before, "prompt_tokens": length, "seconds": seconds}


def compare(case: Case) -> dict[str, Any]:
    """Planned and measured memory of one case."""
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), case.model)
        words = [sys.executable, __file__, "--child", folder, json.dumps(case.settings)]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        measured = json.loads(done.stdout.splitlines()[-1])
        shape = read_shape(folder)
    given = {"token_budget": 16384, "dtype": "float32", "lora": False, **case.settings}
    step = Step(
        prompts=given["batch"],
        group=given["group"],
        prompt_tokens=measured["prompt_tokens"],
        new_tokens=given["new_tokens"],
        sampling_batch_size=given["sampling_batch_size"],
        token_budget=given["token_budget"],
        lora_rank=16 if given["lora"] else None,
        bfloat16=given["dtype"] == "bfloat16",
    )
    planned = peak(shape, step)
    return {
        "parameters": shape.parameters,
        "phase": planned.name,
        "planned": planned.total,
        "measured": measured["bytes"],
        "ratio": planned.total / measured["bytes"],
        "without_allocator": (planned.total - planned.parts.get("allocator", 0))
        / measured["bytes"],
        "parts": dict(planned.parts),
        "seconds": measured["seconds"],
        "step": asdict(step),
    }


def main() -> None:
    """Compare the named cases, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        folder, settings = arguments.child
        print(json.dumps(take_steps(folder, json.loads(settings))))
        return
    found = {}
    for name in arguments.names or CASES:
        found[name] = row = compare(CASES[name])
        print(
            f"{name:24} {row['parameters'] / 1e6:5.1f}M planned {row['planned'] / 2**20:7.0f} MiB "
            f"measured {row['measured'] / 2**20:7.0f} MiB ratio {row['ratio']:.2f} "
            f"(without allocator {row['without_allocator']:.2f})",
            flush=True,
        )
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
