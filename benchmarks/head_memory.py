"""The tiled head against materialised logits: memory, time and accuracy.

    python benchmarks/head_memory.py [--tokens 8192] [--vocab 151936] [--width 896]
        [--scale 1] [--rounds 3] [--out FILE]

Log-probabilities of tokens from hidden states, a loss, and its gradient: ours
(`sirl.models.head.loss_of`), and the materialised path (product, log_softmax in float32, gather,
backward). With a frozen and a trained head. Each measurement runs in a separate process; memory is
the peak resident size minus that when the inputs were ready. Also: log-probability and entropy of
some tokens against float64, and the drift of the mean entropy over optimizer steps of a small
model against a float64 head. `--scale 0.1` scales down tokens and vocabulary.
"""

import argparse
import sys
import time
from functools import partial

import torch
from torch import Tensor, nn
from turns import (
    Found,
    answer,
    in_turn,
    is_asked,
    median,
    parser,
    peak_resident,
    serve,
    table,
    titled,
    write,
)

from sirl.models.head import Predicted, loss_of, numbers_of

PATHS = ("tiles", "materialised")
ORACLE_TOKENS = 256
DRIFT_STEPS = 200


def main() -> None:
    """Measure and print."""
    made = parser(__doc__, "head_memory", rounds=3)
    made.add_argument("--tokens", type=int, default=8192)
    made.add_argument("--vocab", type=int, default=151_936)
    made.add_argument("--width", type=int, default=896)
    made.add_argument("--scale", type=float, default=1.0)
    asked = made.parse_args()
    found: Found = {"cost": {}}
    for trained in (False, True):
        for dtype in ("float32", "bfloat16"):
            name = f"{dtype}, {'trained' if trained else 'frozen'} head"
            job = {**job_of(asked), "trained": trained, "dtype": dtype}
            runs = in_turn(
                {p: partial(run_of, asked, {**job, "path": p}) for p in PATHS}, asked.rounds
            )
            titled(name, costs(runs))
            found["cost"][name] = runs
    for what in ("oracle", "drift"):
        found[what] = run_of(asked, {**job_of(asked), "path": what}, 0)
        titled(what, table(found[what]["head"], found[what]["rows"]))
    write(asked, found)


def job_of(asked: argparse.Namespace) -> Found:
    """The sizes of a measurement."""
    return {
        "tokens": round(asked.tokens * asked.scale),
        "vocab": round(asked.vocab * asked.scale),
        "width": asked.width,
        "seed": asked.seed,
    }


def run_of(asked: argparse.Namespace, job: Found, _: int) -> Found:
    """Run one measurement in a new process."""
    return answer(sys.executable, "head_memory.py", job, asked.threads)


def costs(runs: dict[str, list[Found]]) -> str:
    """A table of medians and their ratios to the tiled head's."""
    head = ("path", "MiB beyond the inputs", "s", "processor s", "memory against ours")
    memory = {name: median(found, "mebibytes") for name, found in runs.items()}
    seconds = {name: median(found, "seconds") for name, found in runs.items()}
    rows = [
        (
            name,
            memory[name],
            seconds[name],
            median(found, "processor"),
            memory[name] / max(1.0, memory[PATHS[0]]),
            seconds[name] / seconds[PATHS[0]],
            str(len(found)),
        )
        for name, found in runs.items()
    ]
    return table((*head, "time against ours", "n"), rows)


def measured(job: Found) -> Found:
    """Run the measurement of a job."""
    torch.manual_seed(job["seed"])
    if job["path"] == "oracle":
        return oracle(job)
    return drift(job) if job["path"] == "drift" else cost(job)


def inputs(job: Found, dtype: torch.dtype) -> Predicted:
    """Tokens, hidden states and a head; logits have a standard deviation of about 3 nats.

    They are drawn in place, since a temporary copy would raise the peak before the measurement.
    """
    width = job["width"]
    states = torch.empty(job["tokens"], width, dtype=dtype).normal_()
    weight = torch.empty(job["vocab"], width, dtype=dtype).normal_(std=3 / width**0.5)
    return Predicted(torch.randint(job["vocab"], (job["tokens"],)), states, weight)


def cost(job: Found) -> Found:
    """Memory and time of a loss and its gradient."""
    small = inputs({**job, "tokens": 8, "vocab": 512}, torch.float32)
    step(small, job["path"])  # warm-up
    given = inputs(job, getattr(torch, job["dtype"]))
    assert given.weight is not None
    given.states.requires_grad_()
    given.weight.requires_grad_(job["trained"])
    before, began, busy = peak_resident(), time.perf_counter(), time.process_time()
    step(given, job["path"])
    return {
        "seconds": time.perf_counter() - began,
        "processor": time.process_time() - busy,
        "mebibytes": (peak_resident() - before) / 2**20,
    }


def step(given: Predicted, path: str) -> None:
    """A policy-like loss and its gradient."""
    advantages = torch.linspace(-1, 1, len(given.token_ids))
    if path == "tiles":
        total, _ = loss_of(given, lambda logprobs, part: -(logprobs * advantages[part]).sum())
    else:
        assert given.weight is not None
        logprobs = nn.functional.linear(given.states, given.weight).float().log_softmax(dim=-1)
        total = -(logprobs.gather(1, given.token_ids.unsqueeze(1)).squeeze(1) * advantages).sum()
    if total.requires_grad:
        torch.autograd.backward(total)


def exact(given: Predicted) -> tuple[Tensor, Tensor]:
    """Log-probability and entropy of each token in float64."""
    assert given.weight is not None
    weight, found = given.weight.double(), []
    for states, token in zip(given.states.double(), given.token_ids, strict=True):
        logprobs = (states @ weight.T).log_softmax(dim=-1)
        found.append(torch.stack([logprobs[token], -(logprobs.exp() * logprobs).sum()]))
    both = torch.stack(found)
    return both[:, 0], both[:, 1]


def oracle(job: Found) -> Found:
    """Largest relative errors of the tiled head and of materialised logits, on some tokens."""
    rows: list[tuple[str | float, ...]] = []
    for dtype in (torch.float32, torch.bfloat16):
        given = inputs({**job, "tokens": min(ORACLE_TOKENS, job["tokens"])}, dtype)
        assert given.weight is not None
        truth = exact(given)
        ours = numbers_of(given)
        logprobs = nn.functional.linear(given.states, given.weight).float().log_softmax(dim=-1)
        theirs = (
            logprobs.gather(1, given.token_ids.unsqueeze(1)).squeeze(1),
            torch.special.entr(logprobs.exp()).sum(dim=-1),
        )
        for name, pair in ((PATHS[0], ours[:2]), (PATHS[1], theirs)):
            errors = [((a - b) / b).abs().max().item() for a, b in zip(pair, truth, strict=True)]
            rows.append((name, str(dtype), *errors, str(len(given.token_ids))))
    head = ("path", "inputs", "log-probability", "entropy", "tokens")
    return {"head": head, "rows": rows}


def drift(job: Found) -> Found:
    """Drift of the mean entropy of a small model from that with a float64 head, over steps."""
    rows: list[tuple[str | float, ...]] = []
    for name, autocast in (("float32", False), ("bfloat16 under autocast", True)):
        curves = [trajectory(job["seed"], autocast=autocast, wide=wide) for wide in (False, True)]
        gaps = [a - b for a, b in zip(*curves, strict=True)]
        largest = max(gaps, key=abs)
        rows.append((name, curves[1][0], curves[1][-1], gaps[-1], largest, str(len(gaps))))
    head = ("body", "entropy at first", "at last", "gap at last", "largest gap", "steps")
    return {"head": head, "rows": rows}


def trajectory(seed: int, *, autocast: bool, wide: bool) -> list[float]:
    """Mean entropy per step of a small model trained with the tiled head or a float64 one."""
    torch.manual_seed(seed)
    body = nn.Sequential(nn.Embedding(512, 64), nn.Linear(64, 256), nn.SiLU(), nn.Linear(256, 64))
    head = nn.Parameter(torch.randn(2048, 64) * 0.3)
    optimizer = torch.optim.AdamW([*body.parameters(), head], lr=1e-3)
    contexts, tokens = torch.randint(512, (4096,)), torch.randint(2048, (4096,))
    curve = []
    for turn in range(DRIFT_STEPS):
        part = torch.arange(256) + 256 * (turn % 16)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            states = body(contexts[part])
        given = Predicted(tokens[part], states, head)
        curve.append(exact(Predicted(given[0], states.detach(), head.detach()))[1].mean())
        total = float64_loss(given) if wide else tiled_loss(given)
        optimizer.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return [float(x) for x in curve]


def tiled_loss(given: Predicted) -> Tensor:
    """Cross-entropy with the tiled head."""
    return loss_of(given, lambda logprobs, _: -logprobs.sum() / 256)[0]


def float64_loss(given: Predicted) -> Tensor:
    """Cross-entropy with a float64 head."""
    assert given.weight is not None
    logprobs = (given.states.double() @ given.weight.double().T).log_softmax(dim=-1)
    return -logprobs.gather(1, given.token_ids.unsqueeze(1)).mean()


if __name__ == "__main__":
    if is_asked():
        serve(measured)
    else:
        main()
