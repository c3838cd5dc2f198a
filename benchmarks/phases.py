"""Time of the phases of a training step: prefill, decoding, reference and update.

    python benchmarks/phases.py [--cases embedded,english] [--models ../shared/models]
        [--smol FOLDER] [--rounds 3] [--out FILE]

Per phase: seconds, useful FLOPs by the formula in work.py, the resulting rate, and the rate of
plain products of the same sizes on this machine, measured afterwards in the same process.
Decoding is also compared with the bytes it must fetch and the bandwidth of a large copy. Each
round runs in a separate process; medians are over all their steps.
"""

import argparse
import sys
from dataclasses import asdict
from functools import partial

import torch
from sirl_side import config_of, policy_of, prompts_of
from step_time import arguments, job_of
from turns import Found, answer, in_turn, is_asked, median, serve, table, titled, write
from work import Phase, bandwidth, matmul_rate, now, phases_of, shape_of

from sirl import registry
from sirl.models.chat import ChatModel
from sirl.policy import group_advantages
from sirl.rewards import negative_entropy
from sirl.rollouts.native import NativeEngine, prefill
from sirl.training.grading import examples_of
from sirl.types import Completion, Prompt

PHASES = ("prefill", "decode", "reference", "update")


def main() -> None:
    """Measure and print."""
    asked = arguments("phases", __doc__)
    found: Found = {"cases": {}, "flops": "by formula, benchmarks/work.py"}
    for name in asked.cases.split(","):
        job = job_of(name, asked)
        run = partial(run_of, asked, job)
        runs = in_turn({name: run}, asked.rounds)[name]
        titled(f"{name}: {job['batch']} x {job['group']}", shown(runs))
        found["cases"][name] = runs
    write(asked, found)


def run_of(asked: argparse.Namespace, job: Found, turn: int) -> Found:
    """Run a job in a new process."""
    return answer(sys.executable, "phases.py", {**job, "seed": asked.seed + turn}, asked.threads)


def measured(job: Found) -> Found:
    """The phases of the steps of a job, and the machine's rates."""
    config = config_of(job)
    chat = policy_of(job, config)
    learner = registry.learner(config, chat, None)
    engine = NativeEngine(
        chat, config.seed, config.new_tokens, batch_size=config.sampling_batch_size
    )
    shape, found = shape_of(chat), []
    for step in range(job["warmup"] + job["steps"]):
        prompts = prompts_of(job, step)
        first = prefilled(chat, prompts, config.group)
        began = now(chat.device)
        completions = engine.sample(prompts, group=config.group, step=step)
        sampled = now(chat.device) - began
        rewards = torch.tensor([negative_entropy(c) for c in completions], dtype=torch.float64)
        metrics = learner.update(
            examples_of(completions, group_advantages(rewards, config.group)), step=step
        )
        seconds = {
            "prefill": first,
            "decode": sampled - first,
            "reference": metrics["seconds/reference"],
            "update": metrics["seconds/update"],
        }
        phases = phases_of(shape, completions, config.token_budget)
        found.append((seconds, phases, written(completions)))
    return against_machine(chat, found[job["warmup"] :])


def prefilled(chat: ChatModel, prompts: list[Prompt], group: int) -> float:
    """Seconds of the prefill alone; the engine runs it again."""
    rendered = [chat.render(p.messages) for p in prompts]
    with torch.inference_mode(), chat.precision():
        prefill(chat, rendered, group)
        began = now(chat.device)
        prefill(chat, rendered, group)
        return now(chat.device) - began


def written(completions: list[Completion]) -> int:
    """Number of sampled tokens."""
    return sum(len(c.token_ids) for c in completions)


def against_machine(
    chat: ChatModel, steps: list[tuple[dict[str, float], dict[str, Phase], int]]
) -> Found:
    """Per phase: seconds, FLOPs, and the machine's rates."""
    shape, copied = shape_of(chat), bandwidth(chat.device)
    found: Found = {"bandwidth": copied, "tokens": [n for *_, n in steps]}
    for name in PHASES:
        phase = steps[-1][1][name]
        found[name] = {
            "seconds": [seconds[name] for seconds, *_ in steps],
            "flops": [phases[name].flops for _, phases, _ in steps],
            "bytes": [phases[name].bytes for _, phases, _ in steps],
            "matmul": matmul_rate(shape, phase, chat.device),
            "sizes": asdict(phase),
        }
    return found


def shown(runs: list[Found]) -> str:
    """A table of medians."""
    head = ("phase", "s", "of the step", "GFLOP", "GFLOP/s", "plain products, GFLOP/s", "reached")
    whole = sum(median([r[name] for r in runs], "seconds") for name in PHASES)
    copied = median(runs, "bandwidth")
    rows = []
    for name in PHASES:
        own = [run[name] for run in runs]
        seconds, flops = median(own, "seconds"), median(own, "flops")
        rate, plain = flops / seconds, median(own, "matmul")
        fetched = median(own, "bytes") / seconds / copied
        cells = (seconds, f"{seconds / whole:.0%}", flops / 1e9, rate / 1e9, plain / 1e9)
        rows.append((name, *cells, f"{rate / plain:.0%}", f"{fetched:.0%}" if fetched else ""))
    copy = f"\n\ncopy: {copied / 1e9:.1f} GB/s, read and written"
    return table((*head, "bytes fetched against a copy"), rows) + copy


if __name__ == "__main__":
    if is_asked():
        serve(measured)
    else:
        main()
