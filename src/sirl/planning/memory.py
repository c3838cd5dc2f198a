"""Memory by part and phase, FLOPs and memory traffic of a training step.

Pure arithmetic on the shape of a model and the size of a step; nothing is loaded or measured. It
follows what the code keeps, tensor by tensor, of a decoder with RMS norms and a gated MLP, packed
(`sirl.models.packing`) under a tiled head (`sirl.models.head`). Answers are taken to be of full
length: a plan is for the worst step.

    x       width        residual stream, kept by each norm
    q k v o queries, keys, values, attention's result: fetched to rectangles, prompts and own tokens
    gate, silu, up, product: the MLP
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

__all__ = [
    "FLOAT",
    "GIB",
    "HALF",
    "Phase",
    "Shape",
    "Step",
    "activations",
    "cast",
    "checkpoint_bytes",
    "peak",
    "phases",
    "trained",
]

GIB = 1 << 30
FLOAT, HALF = 4, 2
"""Bytes of a number in float32 and in bfloat16."""
TILE, TILE_ON_GPU, LEAST, SPARED = 1 << 24, 1 << 27, 256, 4
"""As in `sirl.models.head` and `sirl.models.forward`; a test holds them together."""
HEAP = 32 << 20
"""Bytes from which glibc maps a block of its own, at the latest."""


@dataclass(frozen=True)
class Shape:
    """What memory and time depend on, of a model; counts of numbers."""

    layers: int
    width: int
    heads: int
    queries: int
    """Width of all queries of a token."""
    keys: int
    """Width of all keys of a token, and of all values."""
    inner: int
    """Width within the MLP."""
    vocab: int
    parameters: int
    """All, shared ones once."""
    products: int
    """In the matrices below the head."""
    sides: int
    """Inputs and outputs of those matrices: an adapter has `rank` numbers for each."""
    largest: int
    """In the largest parameter."""
    matrices: int = 7
    """In a layer."""
    tied: bool = False
    """Whether head and embedding are one."""
    qk_norm: bool = False
    """Whether queries and keys have norms of their own."""
    stored: int = 0
    """Bytes of the weight files."""

    @property
    def head(self) -> int:
        """Numbers in the head."""
        return self.vocab * self.width


@dataclass(frozen=True)
class Step:
    """What is asked of a training step."""

    prompts: int
    group: int
    prompt_tokens: int
    new_tokens: int
    sampling_batch_size: int
    token_budget: int
    mini_batches: int = 1
    lora_rank: int | None = None
    """None where all weights are trained."""
    bfloat16: bool = False
    """All weights: products in bfloat16 by autocast. LoRA: the frozen base is kept in it."""
    copied_reference: bool | None = None
    """Whether the starting model is a second set of weights; None: as it is with or without LoRA"""
    gpus: int = 0
    """0 is the CPU. Each of several takes its share of the prompts."""
    shard: bool = False
    """Whether each of several holds but its share of weights, gradients and moments."""

    @property
    def shares(self) -> int:
        """Devices among which weights, gradients and moments are divided."""
        return max(1, self.gpus) if self.shard else 1

    @property
    def completions(self) -> int:
        """Of one device."""
        return math.ceil(self.prompts / max(1, self.gpus)) * self.group

    @property
    def weight_bytes(self) -> int:
        """Of a number of the base."""
        return HALF if self.bfloat16 and self.lora_rank is not None else FLOAT

    @property
    def product_bytes(self) -> int:
        """Of a number that a layer hands on."""
        return HALF if self.bfloat16 else FLOAT

    @property
    def decoded(self) -> int:
        """Completions decoded together."""
        return min(self.completions, max(1, self.sampling_batch_size // self.group) * self.group)

    @property
    def per_micro_batch(self) -> int:
        """Completions of a micro-batch: as many as `sirl.models.forward.micro_batches` lets in."""
        side = self.prompt_tokens + self.new_tokens
        most = math.ceil(self.completions / self.mini_batches)
        wide = min(most, max(1, SPARED * self.token_budget // side))
        while wide > 1 and self.read(wide) > self.token_budget:
            wide -= 1
        return wide

    @property
    def micro_batches(self) -> int:
        """Between two optimizer steps."""
        return math.ceil(self.completions / self.mini_batches / self.per_micro_batch)

    def read(self, completions: int) -> int:
        """Tokens read for some completions, each prompt once."""
        return math.ceil(completions / self.group) * self.prompt_tokens + (
            completions * self.new_tokens
        )


@dataclass(frozen=True)
class Phase:
    """What lives at the same time, in bytes by part."""

    name: str
    parts: Mapping[str, int]

    @property
    def total(self) -> int:
        """All parts together."""
        return sum(self.parts.values())


def trained(shape: Shape, step: Step) -> int:
    """Numbers that move."""
    return shape.parameters if step.lora_rank is None else shape.sides * step.lora_rank


def phases(shape: Shape, step: Step) -> tuple[Phase, ...]:
    """The phases of a step on one device, the second step on: its moments are there."""
    kept = standing(shape, step)
    moving = {"gradients": FLOAT * trained(shape, step) // step.shares}
    all_here, some_here = (gathered(shape, step, whole=w) for w in (True, False))
    found = [
        Phase("sampling", kept | all_here | sampling(shape, step)),
        Phase("scoring", kept | all_here | scoring(shape, step)),
        *updates(shape, step, kept | some_here, moving),
        Phase("stepping", kept | moving | {"scratch": stepping(shape, step)}),
    ]
    if not step.gpus:
        found.insert(0, Phase("loading", {"weights": kept["weights"], "files": shape.stored}))
    if step.shares > 1:  # every process loads the whole before it keeps its part
        whole = standing(shape, replace(step, shard=False))
        loaded = {name: whole[name] for name in ("weights", "reference")}
        found.insert(0, Phase("loading", loaded))
    return tuple(found)


def peak(shape: Shape, step: Step) -> Phase:
    """The phase that takes most."""
    return max(phases(shape, step), key=lambda phase: phase.total)


def standing(shape: Shape, step: Step) -> dict[str, int]:
    """What is there all along."""
    base = shape.parameters * step.weight_bytes
    lora = step.lora_rank is not None
    moving = trained(shape, step)
    copied = step.copied_reference
    return {
        "weights": (base + (FLOAT * moving if lora else 0)) // step.shares,
        "reference": base if (not lora if copied is None else copied) else 0,
        "optimizer": 2 * FLOAT * moving // step.shares,
    }


def gathered(shape: Shape, step: Step, *, whole: bool) -> dict[str, int]:
    """Weights of other shards that are fetched: all, or two layers and the head at a time."""
    if step.shares == 1:
        return {}
    all_of_them = standing(shape, replace(step, shard=False))["weights"]
    working = (2 * shape.products // shape.layers + shape.head) * step.weight_bytes
    rest = all_of_them - all_of_them // step.shares
    return {"gathered": rest if whole else min(working, rest)}


def cast(shape: Shape, step: Step) -> int:
    """Weights as autocast multiplies them: kept from their first use to the end of a pass."""
    return HALF * shape.products if step.bfloat16 and step.lora_rank is None else 0


def sampling(shape: Shape, step: Step) -> dict[str, int]:
    """Keys and values of the completions decoded together, the logits of one position."""
    size = step.product_bytes
    tokens = step.decoded * (step.prompt_tokens + step.new_tokens)
    cache = 2 * shape.layers * tokens * shape.keys * size
    # A layer's keys and values, repeated for every head where heads share them.
    looked_at = tokens * size * (2 * shape.queries if shape.queries > shape.keys else shape.keys)
    # The logits before stay until the next are there; a CPU draws from a few rows at a time.
    logits = step.decoded * shape.vocab * FLOAT
    drawing = logits * (3 if step.gpus else 2)
    asked = math.ceil(step.decoded / step.group)
    prompt = asked * step.prompt_tokens * layer_scratch(shape) * size
    decode = cache + max(drawing, looked_at + logits)
    reading = prompt + cache * asked // step.decoded
    if reading > decode:
        parts = {"cache": reading - prompt, "activations": prompt}
    else:
        parts = {"cache": cache, "logits": decode - cache}
    return {**parts, "head": head_copy(shape, step), "cast": cast(shape, step)}


def layer_scratch(shape: Shape) -> int:
    """Numbers of a token in passing through one layer without a gradient."""
    return 2 * shape.width + 3 * max(shape.inner, shape.queries)


def scoring(shape: Shape, step: Step) -> dict[str, int]:
    """A micro-batch without gradient."""
    completions = step.per_micro_batch
    tokens = step.read(completions)
    passing = tokens * layer_scratch(shape) * step.product_bytes
    return {
        "activations": passing + attention_bytes(shape, step, completions),
        "head": 2 * head_tile(shape, step) + head_copy(shape, step),
        "cast": cast(shape, step) if step.mini_batches > 1 else 0,
    }


def head_tile(shape: Shape, step: Step) -> int:
    """A tile of logits in float32."""
    predicted = step.per_micro_batch * step.new_tokens
    tile = TILE_ON_GPU if step.gpus else TILE
    return FLOAT * shape.vocab * min(predicted, max(LEAST, tile // shape.vocab))


def head_copy(shape: Shape, step: Step) -> int:
    """The head as it is multiplied, where it is kept otherwise: in float32 on a CPU.

    A GPU multiplies bfloat16 as it is, and rounds to it under autocast.
    """
    if step.gpus:
        return HALF * shape.head if step.bfloat16 and step.weight_bytes == FLOAT else 0
    return FLOAT * shape.head if step.weight_bytes < FLOAT else 0


def updates(shape: Shape, step: Step, kept: dict[str, int], moving: dict[str, int]) -> list[Phase]:
    """Forward and backward of a micro-batch: at the turn, and at the end where gradients are whole.

    From the second micro-batch on the gradients of those before are there from the start.
    """
    full = step.lora_rank is None
    on_head = FLOAT * shape.head if full else 0
    on_tile = on_head if step.gpus and step.bfloat16 else 0  # before it is added to those before
    predicted = step.per_micro_batch * step.new_tokens * shape.width * step.product_bytes
    multiplied = head_tile(shape, step) + head_copy(shape, step) + on_tile
    inside = multiplied + 2 * predicted + on_head
    leaving = 2 * (predicted + on_head)  # times the gradient that comes from above
    turn = {
        "activations": activations(shape, step),
        "head": max(inside, leaving),
        "cast": cast(shape, step),
        "allocator": 0 if step.gpus else held(shape, step),
    }
    whole = moving if step.micro_batches > 1 else {}
    end = {
        "activations": activations(replace(shape, layers=1), step),
        "head": (on_head if shape.tied else 0) + on_head * (step.micro_batches > 1),
    }
    return [
        Phase("updating", kept | whole | turn),
        Phase("gradients", kept | moving | end),
    ]


def activations(shape: Shape, step: Step) -> int:
    """Bytes that a micro-batch keeps for its backward pass."""
    completions = step.per_micro_batch
    tokens = step.read(completions) - completions  # the last of each is only predicted
    layer = tokens * token_bytes(shape, step) + attention_bytes(shape, step, completions)
    norm = 3 if step.lora_rank is None else 1
    return shape.layers * layer + tokens * norm * shape.width * FLOAT


def held(shape: Shape, step: Step) -> int:
    """Freed memory that the C library's heap cannot give to the next block, on a CPU.

    A block of less than 32 MiB is freed between two that stay, and is too small, by its alignment,
    for another of its size: passing results of the norms and of the residual stream; under LoRA of
    each adapted product with and without its adapter, of which half find a later use. Going
    backward adds the gradients of one layer. Larger blocks go back to the system at once.
    """
    tokens = step.read(step.per_micro_batch)

    def blocks(*widths: int) -> int:
        sizes = (tokens * width * step.product_bytes for width in widths)
        return sum(size for size in sizes if size < HEAP)

    width, queries, keys, inner = shape.width, shape.queries, shape.keys, shape.inner
    outputs = blocks(queries, keys, keys, width, inner, inner, width)
    layer = blocks(width, width, width)
    if step.lora_rank is not None:
        layer = blocks(width, width) + 3 * outputs // 2
    return shape.layers * layer + outputs + blocks(inner, inner, width, width)


def token_bytes(shape: Shape, step: Step) -> int:
    """Bytes that a layer keeps of each token, attention's rectangles aside."""
    width, queries, keys, inner = shape.width, shape.queries, shape.keys, shape.inner
    normed = 2 * width + (queries + keys if shape.qk_norm else 0)
    if step.lora_rank is None:
        # A norm keeps what comes in and what it multiplies by its weight, in float32.
        norms = FLOAT * 2 * normed
        if step.bfloat16:  # each product keeps its input anew
            return norms + HALF * (5 * width + queries + 4 * inner)
        return norms + FLOAT * (2 * width + queries + 4 * inner)
    ranks = FLOAT * shape.matrices * step.lora_rank
    norms = FLOAT * normed
    if step.bfloat16:  # adapters are float32 and each keeps its input as such
        return norms + ranks + FLOAT * (5 * width + queries + inner) + HALF * 3 * inner
    return norms + ranks + FLOAT * (2 * width + queries + 4 * inner)


def attention_bytes(shape: Shape, step: Step, completions: int) -> int:
    """Queries, keys, values and results of a layer, fetched to rectangles; and the mask as numbers.

    On a GPU no fused kernel takes both a mask and shared keys, as of torch 2.13: there keys and
    values are repeated for every head and the weights of attention are kept.
    """
    asked = math.ceil(completions / step.group) * step.prompt_tokens
    own = completions * max(1, step.new_tokens - 1)
    seen = completions * (step.prompt_tokens + max(1, step.new_tokens - 1))
    pairs = own * (step.prompt_tokens + max(1, step.new_tokens - 1))
    shared = shape.keys < shape.queries
    keys = shape.queries if step.gpus and shared else shape.keys
    numbers = 2 * (asked + own) * shape.queries + 2 * (asked + seen) * keys + pairs
    if step.gpus and shared:
        numbers += shape.heads * (pairs + asked * step.prompt_tokens)
    return numbers * step.product_bytes + FLOAT * (asked + own) * shape.heads


def stepping(shape: Shape, step: Step) -> int:
    """What AdamW computes in passing: parameter by parameter on a CPU, all at once on a GPU."""
    moving = trained(shape, step)
    if step.gpus:
        return FLOAT * moving // step.shares
    largest = shape.largest if step.lora_rank is None else step.lora_rank * shape.inner
    return 2 * FLOAT * largest


def checkpoint_bytes(shape: Shape, step: Step) -> int:
    """What a checkpoint takes on disk: the weights that move, and two moments of each."""
    return 3 * FLOAT * trained(shape, step)
