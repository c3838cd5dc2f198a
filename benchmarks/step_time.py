"""Seconds per training step against TRL's GRPOTrainer: same model, prompts, groups and lengths.

    python benchmarks/step_time.py --peer PEER/bin/python [--cases embedded,english,long,smol]
        [--models ../shared/models] [--smol FOLDER] [--rounds 2] [--steps 4] [--out FILE]

benchmarks/requirements.txt describes the peer's environment. Every run is a separate process with
warm-up steps; the sides alternate. Both sides train with the same small learning rate, so that
lengths do not change, the same KL weight with a reference model, AdamW, and no activation
checkpointing. Lengths are sampled, not forced: the table shows them, and seconds per thousand
sampled tokens in addition to seconds per step.

Cases: `embedded` (16 prompts x 8, at most 72 new tokens), `english` (tiny-english, 16 x 8, at
most 256, ragged), `long` (the same with prompts of about 300 tokens and at most 192 new ones),
`smol` (SmolLM2-135M, LoRA of rank 16 in bfloat16, 8 x 8, at most 64 new tokens).
"""

import argparse
import json
import sys
from functools import partial
from pathlib import Path
from random import Random

from turns import Found, answer, in_turn, median, parser, table, titled, write

from sirl.models.folder import EMBEDDED_PATH
from sirl.world.language import unsafe_requests

CASES = ("embedded", "english", "long", "smol")
PEERS = ("ordinary", "fastest")
TOPICS = (
    "How do I bake a loaf of bread?",
    "Tell me a short story about a lighthouse.",
    "What is the best way to learn the violin?",
    "Explain why the sky is blue.",
    "Give me three ideas for a rainy Sunday.",
    "Write a note to thank my neighbour.",
    "How are glass bottles made?",
    "Describe a walk in the mountains.",
)
"""Harmless requests."""


def main() -> None:
    """Measure and print."""
    asked = arguments("step_time", __doc__, peer=True)
    found: Found = {"cases": {}}
    for name in asked.cases.split(","):
        job = job_of(name, asked)
        runs = measured(job, asked)
        check_same_work(runs)
        rows, ratios = compared(runs)
        found["cases"][name] = {"job": {**job, "prompts": len(job["prompts"])}, "runs": runs}
        found["cases"][name]["ratios"] = ratios
        titled(f"{name}: {job['batch']} x {job['group']}, at most {job['new_tokens']}", rows)
    write(asked, found)


def arguments(name: str, doc: str | None, *, peer: bool = False) -> argparse.Namespace:
    """The command line of a benchmark with these cases."""
    made = parser(doc, name)
    made.add_argument("--cases", default="embedded,english,long" if peer else "embedded,english")
    made.add_argument("--models", type=Path, default=Path("../shared/models"))
    made.add_argument("--smol", type=Path, help="a folder of SmolLM2-135M-Instruct")
    made.add_argument("--steps", type=int, default=4)
    made.add_argument("--warmup", type=int, default=1)
    made.add_argument("--batch", type=int, help="prompts per step, for a dry run")
    made.add_argument("--new-tokens", type=int, help="longest completion, for a dry run")
    if peer:
        made.add_argument("--peer", help="the Python of the environment with TRL; else ours only")
        made.add_argument("--peer-rows", type=int, default=32, help="TRL's micro-batches, in rows")
    asked = made.parse_args()
    for case in asked.cases.split(","):
        if case not in CASES:
            made.error(f"--cases {case}: there are {', '.join(CASES)}")
    if "smol" in asked.cases and not asked.smol:
        made.error("--smol is needed: a folder of SmolLM2-135M-Instruct")
    return asked


def job_of(name: str, asked: argparse.Namespace) -> Found:
    """The job of a case, for both sides."""
    english = str((asked.models / "tiny-english").resolve())
    model, batch, new_tokens = {
        "embedded": (str(EMBEDDED_PATH), 16, 72),
        "english": (english, 16, 256),
        "long": (english, 16, 192),
        "smol": (str(asked.smol), 8, 64),
    }[name]
    job: Found = {
        "model": model,
        "batch": asked.batch or batch,
        "group": 8,
        "new_tokens": asked.new_tokens or new_tokens,
        "steps": asked.steps,
        "warmup": asked.warmup,
        "learning_rate": 1e-6,
        "kl": 0.01,
        "dtype": "bfloat16" if name == "smol" else "float32",
        "lora": name == "smol",
    }
    needed = job["batch"] * (job["steps"] + job["warmup"])
    job["prompts"] = prompts_of(name, needed, model, asked.seed)
    return job


def prompts_of(name: str, needed: int, model: str, seed: int) -> list[str]:
    """The prompts of all steps, in order."""
    random = Random(seed)
    if name == "embedded":
        world = [p.request for p in unsafe_requests("train")]
        random.shuffle(world)
        return [world[i % len(world)] for i in range(needed)]
    drawn = [f"{random.choice(TOPICS)} Case {i}." for i in range(needed)]
    return [lengthened(text, model) for text in drawn] if name == "long" else drawn


def lengthened(text: str, model: str, tokens: int = 300) -> str:
    """Harmless text of about `tokens` tokens that ends with the request."""
    from transformers import AutoTokenizer  # noqa: PLC0415 - slow import for one case

    tokenizer = AutoTokenizer.from_pretrained(model)
    filler = " ".join(f"{topic} " for topic in TOPICS) * 20
    ids, own = (
        tokenizer(x, add_special_tokens=False, verbose=False)["input_ids"] for x in (filler, text)
    )
    return f"{tokenizer.decode(ids[: tokens - len(own) - 12])} {text}"


def measured(job: Found, asked: argparse.Namespace) -> dict[str, list[Found]]:
    """The runs of all sides, alternating; each round has another seed."""

    def run(python: str, script: str, arm: str, turn: int) -> Found:
        given = {**job, "arm": arm, "seed": asked.seed + turn, "peer_rows": asked.peer_rows}
        return answer(python, script, given, asked.threads)

    arms = {"sirl": partial(run, sys.executable, "sirl_side.py", "sirl")}
    if asked.peer:
        arms |= {f"TRL {arm}": partial(run, asked.peer, "trl_side.py", arm) for arm in PEERS}
    return in_turn(arms, asked.rounds)


def check_same_work(runs: dict[str, list[Found]]) -> None:
    """Exit if the sides differ in end-of-turn tokens or prompt tokens."""
    for key in ("end_ids", "prompt_tokens"):
        seen = {name: found[0][key] for name, found in runs.items()}
        if len({json.dumps(x) for x in seen.values()}) > 1:
            raise SystemExit(f"the sides differ in {key}: {seen}")


def compared(runs: dict[str, list[Found]]) -> tuple[str, dict[str, dict[str, float]]]:
    """A table of medians over all steps, and their ratios to sirl's."""
    head = ("arm", "s per step", "processor s", "mean length", "longest", "s per 1000 tokens")
    rows: list[tuple[str | float, ...]] = []
    ratios = {}
    mine: dict[str, float] = {}
    for name, found in runs.items():
        per_token = [
            1000 * s / t
            for run in found
            for s, t in zip(run["seconds"], run["tokens"], strict=True)
        ]
        figures = {
            key: median(found, key) for key in ("seconds", "processor", "mean_length", "longest")
        }
        figures["per_thousand"] = median([{"x": per_token}], "x")
        mine = mine or figures
        ratios[name] = {key: value / mine[key] for key, value in figures.items()}
        shown = (ratios[name]["seconds"], ratios[name]["per_thousand"])
        rows.append((name, *figures.values(), *shown, str(sum(len(r["seconds"]) for r in found))))
    return table((*head, "step against ours", "token against ours", "n"), rows), ratios


if __name__ == "__main__":
    main()
