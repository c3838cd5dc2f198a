"""Throughput of static attacks: the in-process target against a plain loop of `model.generate`.

    python benchmarks/attack_throughput.py [--model FOLDER] [--items 2000] [--rounds 2] [--out FILE]

Both answer the same items at temperature 1 without top-k and top-p, with at most `--new-tokens`
each, alternating (A B A B). The loop is the obvious implementation: items in order, batches of 32,
left padding, transformers' cache and sampling. The target also records the entropy of every
token, which the loop does not. Prints medians and their ratio; writes JSON.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

from sirl.evaluation.arena import Arena
from sirl.evaluation.asked import Query
from sirl.evaluation.costs import Meter
from sirl.evaluation.records import Log
from sirl.models.chat import ChatModel
from sirl.models.loading import load
from sirl.registry.attacks import attacks_named
from sirl.roles import Disguise
from sirl.types import Attempt
from sirl.world.language import unsafe_requests
from sirl.world.oracle import WorldOracle

BATCH = 32


def items(count: int) -> list[tuple[str, Attempt]]:
    """One-shot attacks on the world's held-out requests, behaviour by behaviour."""
    disguises = [a for a in attacks_named("standard") if isinstance(a, Disguise)]
    made = [(a.name, a.attempt(b)) for b in unsafe_requests("test") for a in disguises]
    if len(made) < count:
        raise SystemExit(f"there are only {len(made)} items: lower --items")
    return made[:count]


def plain_loop(chat: ChatModel, asked: Sequence[tuple[str, Attempt]], new_tokens: int) -> int:
    """Sample with the plain loop; return the number of tokens."""
    torch.manual_seed(0)
    written = 0
    for start in range(0, len(asked), BATCH):
        rows = [chat.render(attempt.messages) for _, attempt in asked[start : start + BATCH]]
        width = max(map(len, rows))
        ids = torch.tensor([[chat.pad_id] * (width - len(row)) + list(row) for row in rows])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
        with torch.inference_mode():
            out = chat.model.generate(
                input_ids=ids.to(chat.device),
                attention_mask=mask.to(chat.device),
                max_new_tokens=new_tokens,
                do_sample=True,
                temperature=1.0,
                top_p=1.0,
                top_k=0,
                pad_token_id=chat.pad_id,
                eos_token_id=sorted(chat.end_ids),
            )
        for row in out[:, width:].tolist():
            ends = [i for i, token in enumerate(row) if token in chat.end_ids]
            written += ends[0] + 1 if ends else len(row)
    return written


def in_process(chat: ChatModel, asked: Sequence[tuple[str, Attempt]], new_tokens: int) -> int:
    """Sample and judge with the in-process target; return the number of tokens."""
    from sirl.config import EvaluateConfig, resolve  # noqa: PLC0415
    from sirl.registry import in_process as target  # noqa: PLC0415 - after torch's threads are set

    flags = {"model": "embedded", "out": "not written", "new_tokens": new_tokens}
    config = resolve(EvaluateConfig, file=None, overrides=[], flags=flags)
    judge = WorldOracle()
    evaluated = target("target", chat, config, weights="benchmark")
    arena = Arena(evaluated, judge, judge, Log(), {}, None, Meter())
    records = arena.answers([Query("attack", name, "", attempt) for name, attempt in asked])
    return sum(record.tokens for record in records)


def timed(work: Callable[[], int]) -> dict[str, float]:
    """Seconds and tokens of one run."""
    started = time.perf_counter()
    tokens = work()
    return {"seconds": time.perf_counter() - started, "tokens": tokens}


def main() -> None:
    """Alternate between both and print the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--items", type=int, default=2000)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    chat, asked = load(given.model), items(given.items)
    ways = {"model.generate, batch 32": plain_loop, "in-process target": in_process}
    for way in ways.values():  # warm-up
        way(chat, asked[:BATCH], 4)
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for _ in range(given.rounds):
        for name, way in ways.items():
            runs[name].append(timed(partial(way, chat, asked, given.new_tokens)))
    medians = {n: statistics.median(r["seconds"] for r in found) for n, found in runs.items()}
    where = f"{torch.get_num_threads()} threads, {platform.machine()}"
    print(f"{given.items} items, {given.model}, {where}")
    for name, found in runs.items():
        tokens = statistics.median(r["tokens"] for r in found)
        rate = tokens / medians[name]
        print(f"  {name:26s} {medians[name]:8.1f} s   {rate:8.0f} tokens/s   {tokens:.0f} tokens")
    loop, ours = medians.values()
    print(f"  ratio {loop / ours:.2f}")
    if given.out:
        report = {"items": given.items, "model": given.model, "runs": runs, "ratio": loop / ours}
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
