"""What a plan counts is what autograd keeps, tensor by tensor."""

from dataclasses import replace

import pytest
import torch

from sirl.models import forward, head
from sirl.models.adapters import with_lora
from sirl.models.forward import Scorer, micro_batches
from sirl.models.trial import adopt
from sirl.planning import memory
from sirl.planning.memory import Step, activations
from sirl.planning.shape import shape_of
from sirl.types import Completion

PROMPTS, GROUP, PROMPT, NEW, RANK = 3, 4, 11, 8, 5


def completions():
    return [
        Completion("", tuple(range(p, p + PROMPT)), tuple(range(30, 30 + NEW)), "", (), (), "stop")
        for p in range(PROMPTS)
        for _ in range(GROUP)
    ]


def kept_bytes(chat):
    """Bytes that the forward pass of a loss keeps, weights and the head's gradients left out."""
    weights = {p.untyped_storage().data_ptr() for p in chat.model.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        Scorer(chat)(completions(), lambda logprobs, _: logprobs.sum())
    gradients = {chat.model.get_output_embeddings().weight.shape, (PROMPTS * GROUP * NEW, 32)}
    return sum(size for size, tensor in kept.values() if tuple(tensor.shape) not in gradients)


@pytest.mark.parametrize("way", ["all", "all in bfloat16", "lora", "lora on bfloat16"])
def test_activations_are_what_autograd_keeps(family, way):
    half, lora = "bfloat16" in way, "lora" in way
    shape = shape_of(family.model)
    chat = replace(family, model=family.model.to(torch.bfloat16)) if half and lora else family
    adopt(chat)
    if lora:
        chat = with_lora(chat, rank=RANK, seed=0)
    elif half:
        chat = replace(chat, autocast=torch.bfloat16)
    step = Step(PROMPTS, GROUP, PROMPT, NEW, 64, 16384, lora_rank=RANK if lora else None,
                bfloat16=half)  # fmt: skip
    counted = activations(shape, step) + memory.cast(shape, step)
    assert counted == pytest.approx(kept_bytes(chat), rel=0.05)


def test_micro_batches_are_as_wide_as_the_trainer_makes_them(embedded):
    for budget in (20, 64, 150, 1000):
        step = Step(PROMPTS, GROUP, PROMPT, NEW, 64, budget)
        made = micro_batches(embedded, completions(), budget)
        assert step.per_micro_batch == max(map(len, made))


def test_the_constants_are_those_of_the_code():
    assert memory.TILE == head.TILE
    assert memory.TILE_ON_GPU == head.TILE_ON_GPU
    assert memory.LEAST == head.LEAST
    assert memory.SPARED == forward.SPARED
