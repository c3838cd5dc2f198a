"""Memory by part and phase, FLOPs and memory traffic of a training step.

Pure arithmetic on the shape of a model and the size of a step; nothing is loaded or measured. It
counts, tensor by tensor, what the code keeps of a decoder with RMS norms and a gated MLP, with
packed sequences (`sirl.models.packing`) and a tiled head (`sirl.models.head`). Answers are assumed
to have full length: the plan is for the worst step. torch's `MemTracker` would have to build the
model and run the step; this answers in a second, and tests compare it with measured peaks.

    x       residual stream, kept by each norm
    q k v o queries, keys, values and attention output, gathered into padded tensors for prompts
            and completions
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
"""Copies from `sirl.models.head` and `sirl.models.forward`; a test compares them."""
HEAP = 32 << 20
"""Maximum of glibc's dynamic mmap threshold in bytes: larger blocks are always mapped."""


@dataclass(frozen=True)
class Shape:
    """The properties of a model that determine memory and time; sizes count numbers, not bytes."""

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
    """All parameters; shared ones count once."""
    products: int
    """Parameters in the matrices below the head."""
    sides: int
    """Sum of their input and output widths; LoRA has `rank` parameters for each."""
    largest: int
    """Size of the largest parameter."""
    matrices: int = 7
    """Matrices per layer."""
    tied: bool = False
    """Whether head and embedding share their weight."""
    qk_norm: bool = False
    """Whether queries and keys are normalised."""
    stored: int = 0
    """Bytes of the weight files."""

    @property
    def head(self) -> int:
        """Parameters of the head."""
        return self.vocab * self.width


@dataclass(frozen=True)
class Step:
    """The size of a training step."""

    prompts: int
    group: int
    prompt_tokens: int
    new_tokens: int
    sampling_batch_size: int
    token_budget: int
    mini_batches: int = 1
    lora_rank: int | None = None
    """None if all weights are trained."""
    bfloat16: bool = False
    """Full training: autocast to bfloat16. LoRA: the frozen base is stored in bfloat16."""
    copied_reference: bool | None = None
    """Whether the reference is a copy of the weights; None: a copy unless LoRA is used."""
    gpus: int = 0
    """Number of GPUs, which share the prompts; 0 for the CPU."""
    shard: bool = False
    """Whether weights, gradients and moments are sharded over the GPUs."""

    @property
    def shares(self) -> int:
        """Number of shards of weights, gradients and moments."""
        return max(1, self.gpus) if self.shard else 1

    @property
    def completions(self) -> int:
        """Completions per device and step."""
        return math.ceil(self.prompts / max(1, self.gpus)) * self.group

    @property
    def weight_bytes(self) -> int:
        """Bytes per parameter of the base model."""
        return HALF if self.bfloat16 and self.lora_rank is not None else FLOAT

    @property
    def product_bytes(self) -> int:
        """Bytes per activation."""
        return HALF if self.bfloat16 else FLOAT

    @property
    def decoded(self) -> int:
        """Completions decoded at the same time."""
        return min(self.completions, max(1, self.sampling_batch_size // self.group) * self.group)

    @property
    def per_micro_batch(self) -> int:
        """Completions per micro-batch, as in `sirl.models.forward.micro_batches`."""
        side = self.prompt_tokens + self.new_tokens
        most = math.ceil(self.completions / self.mini_batches)
        wide = min(most, max(1, SPARED * self.token_budget // side))
        while wide > 1 and self.read(wide) > self.token_budget:
            wide -= 1
        return wide

    @property
    def micro_batches(self) -> int:
        """Micro-batches per optimizer step."""
        return math.ceil(self.completions / self.mini_batches / self.per_micro_batch)

    def read(self, completions: int) -> int:
        """Tokens in the forward pass of some completions; each prompt counts once."""
        return math.ceil(completions / self.group) * self.prompt_tokens + (
            completions * self.new_tokens
        )


@dataclass(frozen=True)
class Phase:
    """Tensors that exist at the same time, in bytes by part."""

    name: str
    parts: Mapping[str, int]

    @property
    def total(self) -> int:
        """Sum of all parts."""
        return sum(self.parts.values())


def trained(shape: Shape, step: Step) -> int:
    """Number of trained parameters."""
    return shape.parameters if step.lora_rank is None else shape.sides * step.lora_rank


def phases(shape: Shape, step: Step) -> tuple[Phase, ...]:
    """The phases of a step on one device, with optimizer moments as from the second step on."""
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
    if step.shares > 1:  # every process loads the whole model before it keeps its shard
        whole = standing(shape, replace(step, shard=False))
        loaded = {name: whole[name] for name in ("weights", "reference")}
        found.insert(0, Phase("loading", loaded))
    return tuple(found)


def peak(shape: Shape, step: Step) -> Phase:
    """The phase with the most memory."""
    return max(phases(shape, step), key=lambda phase: phase.total)


def standing(shape: Shape, step: Step) -> dict[str, int]:
    """Bytes that are allocated during the whole step."""
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
    """Bytes of gathered shards: the whole model, or two layers and the head at a time."""
    if step.shares == 1:
        return {}
    all_of_them = standing(shape, replace(step, shard=False))["weights"]
    working = (2 * shape.products // shape.layers + shape.head) * step.weight_bytes
    rest = all_of_them - all_of_them // step.shares
    return {"gathered": rest if whole else min(working, rest)}


def cast(shape: Shape, step: Step) -> int:
    """Autocast's bfloat16 copy of the weights, cached from first use to the end of a pass."""
    return HALF * shape.products if step.bfloat16 and step.lora_rank is None else 0


def sampling(shape: Shape, step: Step) -> dict[str, int]:
    """Bytes of the KV cache, the logits of one position, and the prompt pass."""
    size = step.product_bytes
    tokens = step.decoded * (step.prompt_tokens + step.new_tokens)
    cache = 2 * shape.layers * tokens * shape.keys * size
    # A layer's keys and values, repeated for every head under grouped-query attention.
    looked_at = tokens * size * (2 * shape.queries if shape.queries > shape.keys else shape.keys)
    # The previous logits live until the next exist; a CPU samples a few rows at a time.
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
    """Activations per token of one layer without gradient."""
    return 2 * shape.width + 3 * max(shape.inner, shape.queries)


def scoring(shape: Shape, step: Step) -> dict[str, int]:
    """Bytes of a micro-batch without gradient."""
    completions = step.per_micro_batch
    tokens = step.read(completions)
    passing = tokens * layer_scratch(shape) * step.product_bytes
    return {
        "activations": passing + attention_bytes(shape, step, completions),
        "head": 2 * head_tile(shape, step) + head_copy(shape, step),
        "cast": cast(shape, step) if step.mini_batches > 1 else 0,
    }


def head_tile(shape: Shape, step: Step) -> int:
    """Bytes of a tile of float32 logits."""
    predicted = step.per_micro_batch * step.new_tokens
    tile = TILE_ON_GPU if step.gpus else TILE
    return FLOAT * shape.vocab * min(predicted, max(LEAST, tile // shape.vocab))


def head_copy(shape: Shape, step: Step) -> int:
    """Bytes of a copy of the head in the precision of its product, if that differs.

    A CPU multiplies in float32. A GPU multiplies in bfloat16 if the head is bfloat16 or under
    autocast.
    """
    if step.gpus:
        return HALF * shape.head if step.bfloat16 and step.weight_bytes == FLOAT else 0
    return FLOAT * shape.head if step.weight_bytes < FLOAT else 0


def updates(shape: Shape, step: Step, kept: dict[str, int], moving: dict[str, int]) -> list[Phase]:
    """Forward and backward of a micro-batch: between the two, and at the end of backward.

    From the second micro-batch on, accumulated gradients exist from the start.
    """
    full = step.lora_rank is None
    on_head = FLOAT * shape.head if full else 0
    on_tile = (
        on_head if step.gpus and step.bfloat16 else 0
    )  # before it is added to the accumulated gradient
    predicted = step.per_micro_batch * step.new_tokens * shape.width * step.product_bytes
    multiplied = head_tile(shape, step) + head_copy(shape, step) + on_tile
    inside = multiplied + 2 * predicted + on_head
    leaving = 2 * (predicted + on_head)  # scaled by the incoming gradient
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
    """Bytes that a micro-batch saves for its backward pass."""
    completions = step.per_micro_batch
    tokens = step.read(completions) - completions  # the last token is only predicted
    layer = tokens * token_bytes(shape, step) + attention_bytes(shape, step, completions)
    norm = 3 if step.lora_rank is None else 1
    return shape.layers * layer + tokens * norm * shape.width * FLOAT


def held(shape: Shape, step: Step) -> int:
    """Freed bytes that the C library's heap cannot reuse, on a CPU: fragmentation.

    A freed block of less than 32 MiB lies between two live ones and, because of its alignment, is
    too small for another block of its size. Counted are temporary results of the norms and the
    residual stream; with LoRA also each adapted product with and without its adapter, half of
    which are reused. Backward adds the gradients of one layer. Larger blocks are returned to the
    system at once.
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
    """Bytes that a layer saves per token, without attention's padded tensors."""
    width, queries, keys, inner = shape.width, shape.queries, shape.keys, shape.inner
    normed = 2 * width + (queries + keys if shape.qk_norm else 0)
    if step.lora_rank is None:
        # A norm saves its input and its normalised input in float32.
        norms = FLOAT * 2 * normed
        if step.bfloat16:  # each product saves its own copy of the input
            return norms + HALF * (5 * width + queries + 4 * inner)
        return norms + FLOAT * (2 * width + queries + 4 * inner)
    ranks = FLOAT * shape.matrices * step.lora_rank
    norms = FLOAT * normed
    if step.bfloat16:  # adapters are float32 and each saves its input in float32
        return norms + ranks + FLOAT * (5 * width + queries + inner) + HALF * 3 * inner
    return norms + ranks + FLOAT * (2 * width + queries + 4 * inner)


def attention_bytes(shape: Shape, step: Step, completions: int) -> int:
    """Bytes of a layer's padded queries, keys, values and attention outputs, and its mask.

    On a GPU no fused kernel supports both a mask and grouped-query attention, as of torch 2.13:
    keys and values are repeated for every head, and the attention weights are saved.
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
    """Temporary bytes of AdamW: one parameter at a time on a CPU, all at once on a GPU."""
    moving = trained(shape, step)
    if step.gpus:
        return FLOAT * moving // step.shares
    largest = shape.largest if step.lora_rank is None else step.lora_rank * shape.inner
    return 2 * FLOAT * largest


def checkpoint_bytes(shape: Shape, step: Step) -> int:
    """Bytes of a checkpoint: the trained weights and two moments of each."""
    return 3 * FLOAT * trained(shape, step)
