"""Growth of the step time with model size, group size and completion length.

    python benchmarks/growth.py [--sizes 2,6,20,50,100] [--families llama,qwen2] [--rounds 2]
        [--out FILE]

Random Llama and Qwen2 models (size in millions of weights) with the embedded model's tokenizer
and vocabulary. End-of-turn tokens are off, so that every completion has the same length. Each
point is measured in a separate process with a warm-up step; points alternate. A line fitted to
the logarithms gives the exponent: 1 is linear growth. Also writes a plot next to the JSON.
"""

import argparse
import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from turns import Found, answer, in_turn, median, parser, table, titled, write

from sirl.models.folder import EMBEDDED_PATH
from sirl.world.language import ordinary_requests

VOCAB = 2048
CONTEXT = 1024
BASE = {"batch": 8, "group": 8, "new_tokens": 64}
SHAPES = {1: (128, 4), 2: (128, 9), 6: (256, 7), 20: (384, 11), 50: (512, 15), 100: (768, 14)}
"""Width and layers by approximate millions of weights; heads of 64, MLP of 8/3 the width."""


def main() -> None:
    """Measure and print."""
    asked = arguments()
    found: Found = {}
    with tempfile.TemporaryDirectory() as folder:
        sweeps = sweeps_of(asked, Path(folder))
        for name, points in sweeps.items():
            arms = {str(x): partial(run_of, asked, job) for x, job in points.items()}
            runs = in_turn(arms, asked.rounds)
            found[name] = {"runs": runs, "exponent": fitted(runs)}
            titled(f"{name}: time grows with the power {found[name]['exponent']:.2f}", shown(runs))
    draw(found, asked.out.with_suffix(".svg"))
    write(asked, found)


def arguments() -> argparse.Namespace:
    """The command line."""
    made = parser(__doc__, "growth")
    made.add_argument("--sizes", default="2,6,20,50,100")
    made.add_argument("--families", default="llama,qwen2")
    made.add_argument("--groups", default="4,8,16,32")
    made.add_argument("--lengths", default="16,32,64,128,256")
    made.add_argument("--steps", type=int, default=2)
    return made.parse_args()


def numbers(text: str) -> list[int]:
    """The integers of a comma-separated flag."""
    return [int(x) for x in text.split(",")]


def sweeps_of(asked: argparse.Namespace, folder: Path) -> dict[str, dict[float, Found]]:
    """The jobs of each sweep, by the varied value."""
    sweeps: dict[str, dict[float, Found]] = {}
    for family in asked.families.split(","):
        points: dict[float, Found] = {}
        for size in numbers(asked.sizes):
            path = folder / f"{family}-{size}"
            points[make_model(family, size, path)] = job_of(asked, path)
        sweeps[f"{family}, weights"] = points
    small = folder / f"{asked.families.split(',')[0]}-{numbers(asked.sizes)[0]}"
    sweeps["completions per prompt"] = {
        group: job_of(asked, small, group=group) for group in numbers(asked.groups)
    }
    sweeps["tokens per completion"] = {
        length: job_of(asked, small, new_tokens=length) for length in numbers(asked.lengths)
    }
    return sweeps


def make_model(family: str, size: int, path: Path, context: int = CONTEXT) -> int:
    """Save a random model of about `size` million weights; return their exact number."""
    width, layers = SHAPES[size]
    shape = {
        "vocab_size": VOCAB,
        "hidden_size": width,
        "intermediate_size": width * 8 // 3 // 32 * 32,
        "num_hidden_layers": layers,
        "num_attention_heads": width // 64,
        "num_key_value_heads": width // 64,
        "max_position_embeddings": context,
    }
    return random_model(family, shape, path)


def random_model(family: str, shape: dict[str, int], path: Path) -> int:
    """Save a random model with the embedded tokenizer; return its number of weights."""
    import torch  # noqa: PLC0415 - slow import
    from transformers import AutoConfig, AutoModelForCausalLM  # noqa: PLC0415
    from transformers.utils.logging import disable_progress_bar  # noqa: PLC0415

    ends = {"eos_token_id": 1, "pad_token_id": 0, "bos_token_id": None}
    config = AutoConfig.for_model(family, **shape, **ends, tie_word_embeddings=True)
    torch.manual_seed(0)
    disable_progress_bar()  # type: ignore[no-untyped-call]
    model = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    model.save_pretrained(path)
    for file in (*EMBEDDED_PATH.glob("*token*"), EMBEDDED_PATH / "chat_template.jinja"):
        shutil.copy(file, path)
    return int(sum(p.numel() for p in model.parameters()))


def job_of(asked: argparse.Namespace, model: Path, **varied: int) -> Found:
    """The job of a point, without end-of-turn tokens."""
    world = [p.request for p in ordinary_requests("train")]
    steps = 1 + asked.steps
    return {
        **BASE,
        **varied,
        "model": str(model),
        "steps": asked.steps,
        "warmup": 1,
        "learning_rate": 1e-6,
        "kl": 0.01,
        "dtype": "float32",
        "lora": False,
        "end_ids": [],
        "prompts": [world[i % len(world)] for i in range(BASE["batch"] * steps)],
    }


def run_of(asked: argparse.Namespace, job: Found, turn: int) -> Found:
    """Measure one point in a new process."""
    return answer(sys.executable, "sirl_side.py", {**job, "seed": asked.seed + turn}, asked.threads)


def fitted(runs: dict[str, list[Found]]) -> float:
    """Exponent: the slope of a line fitted to the logarithms."""
    if len(runs) < 2:
        return float("nan")
    x, y = zip(*((float(k), median(found, "seconds")) for k, found in runs.items()), strict=True)
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def shown(runs: dict[str, list[Found]]) -> str:
    """A table of medians."""
    keys = ("seconds", "sample", "reference", "update", "mean_length")
    head = ("value", "s per step", "sampling", "reference", "update", "mean length", "n")
    rows: list[tuple[str | float, ...]] = [
        (value, *(median(found, key) for key in keys), str(sum(len(r["seconds"]) for r in found)))
        for value, found in runs.items()
    ]
    return table(head, rows)


def draw(found: Found, path: Path) -> None:
    """Plot seconds against the varied value, one panel per sweep, logarithmic axes."""
    import matplotlib as mpl  # noqa: PLC0415 - needed once, at the end

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, axes = plt.subplots(1, len(found), figsize=(4 * len(found), 3.4), squeeze=False)
    for axis, (name, sweep) in zip(axes[0], found.items(), strict=True):
        x = [float(k) for k in sweep["runs"]]
        for key, label in (("seconds", "whole"), ("sample", "sampling"), ("update", "update")):
            y = [median(runs, key) for runs in sweep["runs"].values()]
            axis.plot(x, y, "o-", label=label)
        axis.set(xscale="log", yscale="log", xlabel=name, ylabel="s per step")
        axis.set_xticks(x, [f"{v / 1e6:.0f}M" if v > 1e5 else f"{v:.0f}" for v in x])
        axis.yaxis.set_major_formatter("{x:g}")
        axis.minorticks_off()
        axis.set_title(f"power {sweep['exponent']:.2f}", fontsize=10)
        axis.legend(fontsize=8, frameon=False)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    print(f"\nplot: {path}")


if __name__ == "__main__":
    main()
