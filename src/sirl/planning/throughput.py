"""Speed of a device, measured or from its data sheet, and the time of a step at that speed.

Data sheets give peak rates that programs do not reach: matrix products are assumed to run at
`REACHED` of the dense rate, memory traffic at `MOVED` of the bandwidth.
"""

import time
from dataclasses import dataclass

import torch

from sirl.errors import ConfigError, did_you_mean
from sirl.planning.memory import HALF, Shape, Step, trained

__all__ = [
    "GPUS",
    "Gpu",
    "Rates",
    "gpu_named",
    "measured_rates",
    "seconds",
    "seconds_of_points",
]

REACHED, MOVED = 0.4, 0.7
SIDE, COPIED, LOOKS = 1024, 1 << 26, 14
"""Side of the measured product; bytes of the measured copy; passes of the sampler over logits."""
PRESENTED = 5
"""Prompts that decision points present for each prompt of a batch; a test compares it."""


@dataclass(frozen=True)
class Gpu:
    """A GPU's data sheet."""

    bfloat16: float
    """Dense tensor-core TFLOP/s, no sparsity."""
    float32: float
    """TFLOP/s without tensor cores, torch's default for float32."""
    bandwidth: int
    """GB/s."""
    memory: int
    """Nominal GB; slightly less is usable."""
    source: str


GPUS = {
    "t4": Gpu(0.0, 8.1, 320, 16, "NVIDIA T4 data sheet; has no bfloat16"),
    "l4": Gpu(121.0, 30.3, 300, 24, "NVIDIA L4 data sheet, half of the sparse rate"),
    "l40s": Gpu(362.0, 91.6, 864, 48, "NVIDIA L40S data sheet"),
    "rtx3090": Gpu(71.0, 35.6, 936, 24, "NVIDIA GA102 whitepaper, float32 accumulation"),
    "rtx4090": Gpu(165.2, 82.6, 1008, 24, "NVIDIA Ada whitepaper, float32 accumulation"),
    "a100-40gb": Gpu(312.0, 19.5, 1555, 40, "NVIDIA A100 data sheet"),
    "a100-80gb": Gpu(312.0, 19.5, 2039, 80, "NVIDIA A100 data sheet, SXM"),
    "h100": Gpu(989.0, 67.0, 3350, 80, "NVIDIA H100 data sheet, SXM, half of the sparse rate"),
    "h200": Gpu(989.0, 67.0, 4800, 141, "NVIDIA H200 data sheet, SXM, half of the sparse rate"),
}


@dataclass(frozen=True)
class Rates:
    """What a device does per second."""

    operations: float
    """FLOP/s of matrix products, in the precision of the step."""
    bytes: float
    """Bytes read or written."""
    source: str


def gpu_named(name: str) -> Gpu:
    """A GPU by name.

    Raises:
        ConfigError: The name is not in the table.
    """
    if name not in GPUS:
        raise ConfigError(f"--gpu {name} is not in the table of GPUs. {did_you_mean(name, GPUS)}")
    return GPUS[name]


def sheet_rates(gpu: Gpu, *, bfloat16: bool) -> Rates | None:
    """Assumed rates from a data sheet; None if the GPU lacks bfloat16."""
    operations = gpu.bfloat16 if bfloat16 else gpu.float32
    if not operations:
        return None
    share = REACHED if bfloat16 else 2 * REACHED  # float32 units reach a higher share of their peak
    return Rates(share * operations * 1e12, MOVED * gpu.bandwidth * 1e9, gpu.source)


def measured_rates(*, bfloat16: bool, tries: int = 3) -> Rates:
    """Measure this machine's CPU; the best of a few tries. Takes about a second."""
    dtype = torch.bfloat16 if bfloat16 else torch.float32
    left = torch.randn(SIDE, SIDE).to(dtype)
    source, target = torch.zeros(COPIED // 4), torch.empty(COPIED // 4)
    product, copy = [], []
    for _ in range(tries):
        started = time.perf_counter()
        left @ left
        product.append(time.perf_counter() - started)
        started = time.perf_counter()
        target.copy_(source)
        copy.append(time.perf_counter() - started)
    return Rates(2.0 * SIDE**3 / min(product), 2.0 * COPIED / min(copy), "measured here")


def seconds(shape: Shape, step: Step, rates: Rates) -> dict[str, float]:
    """Seconds per part of a step; decoding takes the longer of compute and memory traffic."""
    count, new, prompt = step.completions, step.new_tokens, step.prompt_tokens
    pairs = count * new * (prompt + new)
    attention = 4.0 * shape.layers * shape.queries * pairs / rates.operations
    products = forward_seconds(shape, rates, step.read(count), count * new)
    return {
        "sampling": sampling_seconds(shape, step, rates),
        "scoring": (products + attention) * (2 if step.mini_batches > 1 else 1),
        "updating": trained_passes(step) * products + 3.5 * attention,
        "stepping": stepping_seconds(shape, step, rates),
    }


def seconds_of_points(shape: Shape, step: Step, rates: Rates) -> dict[str, float]:
    """Seconds per part of a step of decision points (`sirl.training.points`), all on one device.

    The policy and the starting model read each presented prompt, and half of the own answers; then
    all of them are trained on. Nothing is sampled.
    """
    count, new, prompt = step.prompts, step.new_tokens, step.prompt_tokens
    presented = forward_seconds(shape, rates, PRESENTED * count * prompt, PRESENTED * count)
    own = forward_seconds(shape, rates, count * (prompt + new), count * new)
    return {
        "scoring": 2 * (presented + own / 2),
        "updating": trained_passes(step) * (presented + own),
        "stepping": stepping_seconds(shape, step, rates),
    }


def forward_seconds(shape: Shape, rates: Rates, read: int, predicted: int) -> float:
    """Seconds of the matrix products of a forward pass; `predicted` tokens pass the head."""
    return 2.0 * (shape.products * read + shape.head * predicted) / rates.operations


def trained_passes(step: Step) -> int:
    """Forward and backward pass as multiples of the forward pass; LoRA trains no matrix itself."""
    return 3 if step.lora_rank is None else 2


def stepping_seconds(shape: Shape, step: Step, rates: Rates) -> float:
    """Seconds of AdamW, which reads weight, gradient and both moments, and writes all but one."""
    moving = trained(shape, step) / step.shares
    return step.mini_batches * 7 * 4.0 * moving / rates.bytes


def sampling_seconds(shape: Shape, step: Step, rates: Rates) -> float:
    """Seconds of prefill and decoding; each token moves weights, cache and logits."""
    size = step.product_bytes
    batches = -(-step.completions // step.decoded)
    asked = step.completions / step.group
    reading = 2.0 * shape.products * asked * step.prompt_tokens / rates.operations
    rows = step.decoded
    computing = 2.0 * (shape.products + shape.head) * rows / rates.operations
    weights = (shape.products + shape.head) * max(step.weight_bytes, HALF)
    middle = step.prompt_tokens + step.new_tokens / 2
    # The growing cache is copied at every token, then read.
    cache = 3.0 * 2 * shape.layers * rows * middle * shape.keys * size
    logits = 4.0 * LOOKS * rows * shape.vocab
    moving = (cache + logits) / rates.bytes
    return reading + batches * step.new_tokens * (max(computing, weights / rates.bytes) + moving)
