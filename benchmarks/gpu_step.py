"""A training step on a GPU: tokens per second, share of the GPU's rates, comparison with TRL.

    python benchmarks/gpu_step.py [--peer PEER/bin/python] [--batch 64] [--new-tokens 512] \
        [--rounds 2] [--steps 2] [--out FILE]
    python benchmarks/gpu_step.py --dry-run

A random model with the shape of Qwen2.5-0.5B (24 layers, width 896, 14 heads, 2 key-value heads,
MLP of 4,864, vocabulary of 151,936, tied), prompts x 8 completions of at most so many tokens, under
bfloat16 autocast with float32 weights on both sides. A random model rarely ends an answer, so
nearly all completions have full length. `--dry-run` uses a tiny shape on the CPU as a test.
"""

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path

import torch
from growth import random_model
from sirl_side import config_of, policy_of, steps_of
from step_time import PEERS, TOPICS, check_same_work, compared
from turns import Found, answer, in_turn, is_asked, median, parser, serve, table, titled, write
from work import bandwidth, matmul_rate, phases_of, shape_of

from sirl.types import Completion

QWEN = {
    "vocab_size": 151_936,
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
}
TINY = {
    **QWEN,
    "vocab_size": 4096,
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}


def main() -> None:
    """Measure and print."""
    asked = arguments()
    with tempfile.TemporaryDirectory() as folder:
        random_model("qwen2", TINY if asked.dry_run else QWEN, Path(folder))
        runs = in_turn(arms_of(asked, job_of(asked, folder)), asked.rounds)
    check_same_work(runs)
    shown, ratios = compared(runs)
    titled("step", shown)
    titled("ours against the card", phases(runs["sirl"]))
    write(asked, {"runs": runs, "ratios": ratios, "dry_run": asked.dry_run})


def arguments() -> argparse.Namespace:
    """The command line."""
    made = parser(__doc__, "gpu_step")
    made.add_argument("--peer", help="the Python of the environment with TRL; else ours only")
    made.add_argument("--peer-rows", type=int, default=64, help="TRL's micro-batches, in rows")
    made.add_argument("--batch", type=int, default=64, help="prompts of a step")
    made.add_argument("--new-tokens", type=int, default=512)
    made.add_argument("--steps", type=int, default=2)
    made.add_argument("--dry-run", action="store_true", help="a tiny shape, on the CPU")
    asked = made.parse_args()
    if not (asked.dry_run or torch.cuda.is_available()):
        made.error("there is no GPU here; --dry-run takes a tiny shape on the CPU")
    return asked


def job_of(asked: argparse.Namespace, model: str) -> Found:
    """The job for both sides."""
    batch, new_tokens = (2, 16) if asked.dry_run else (asked.batch, asked.new_tokens)
    steps = asked.steps + 1
    return {
        "model": model,
        "batch": batch,
        "group": 8,
        "new_tokens": new_tokens,
        "steps": asked.steps,
        "warmup": 1,
        "learning_rate": 1e-6,
        "kl": 0.01,
        "dtype": "bfloat16",
        "lora": False,
        "autocast": True,
        "peer_rows": asked.peer_rows,
        "prompts": [f"{TOPICS[i % len(TOPICS)]} Case {i}." for i in range(batch * steps)],
    }


def arms_of(asked: argparse.Namespace, job: Found) -> Found:
    """The runs of sirl and, with `--peer`, of TRL."""

    def run(python: str, script: str, arm: str, turn: int) -> Found:
        return answer(python, script, {**job, "arm": arm, "seed": asked.seed + turn}, asked.threads)

    arms: Found = {"sirl": partial(run, sys.executable, "gpu_step.py", "sirl")}
    if asked.peer:
        arms |= {f"TRL {arm}": partial(run, asked.peer, "trl_side.py", arm) for arm in PEERS}
    return arms


def measured(job: Found) -> Found:
    """Run sirl's steps, then measure the GPU's rates at the same sizes."""
    found = steps_of(job)
    chat = policy_of(job, config_of(job))
    shape, length = shape_of(chat), round(found["mean_length"][-1])
    each = found["prompt_tokens"] // len(job["prompts"])
    alike = [
        Completion(f"{i}", (0,) * each, (0,) * length, "", (), (), "length")
        for i in range(job["batch"])
        for _ in range(job["group"])
    ]
    machine: Found = {"bandwidth": bandwidth(chat.device)}
    for name, phase in phases_of(shape, alike, config_of(job).token_budget).items():
        rate = matmul_rate(shape, phase, chat.device)
        machine[name] = {"flops": phase.flops, "bytes": phase.bytes, "matmul": rate}
    return {**found, "machine": machine}


def phases(runs: list[Found]) -> str:
    """A table of sampling, reference and update; assumes equal lengths."""
    head = ("phase", "s", "sampled tokens a second", "TFLOP/s", "of plain products", "of a copy")
    tokens, rows = median(runs, "tokens"), []
    copied = median([run["machine"] for run in runs], "bandwidth")
    for name, parts in {
        "sample": ("prefill", "decode"),
        "reference": ("reference",),
        "update": ("update",),
    }.items():
        seconds = median(runs, name)
        machine = runs[0]["machine"]
        flops, fetched = (sum(machine[p][k] for p in parts) for k in ("flops", "bytes"))
        reached = flops / seconds / machine[parts[-1]]["matmul"]
        share = f"{fetched / seconds / copied:.0%}" if fetched else ""
        cells = (seconds, tokens / seconds, flops / seconds / 1e12)
        rows.append((name, *cells, f"{reached:.0%}", share))
    return table(head, rows)


if __name__ == "__main__":
    if is_asked():
        serve(measured)
    else:
        main()
