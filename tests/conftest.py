import gc
import os
import sys
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
from beartype import BeartypeConf
from beartype.claw import beartype_package

if TYPE_CHECKING:
    from sirl.models.chat import ChatModel

SHARED = Path(__file__).parents[2] / "shared"

# One thread, here and in processes that tests start: two busy workers of two threads each wait for
# each other, and what one thread computes can be compared to the bit.
os.environ["OMP_NUM_THREADS"] = "1"
# A process of tests holds millions of objects that stay; looking through them seldom saves 3%.
gc.set_threshold(20_000)
# Types are checked at every call, and shapes in `sirl.entropy` and `sirl.policy`. The packages
# left out import types only for the type checker, which jaxtyping's slower hook tolerates;
# pyproject.toml names them for it.
beartype_package(
    "sirl",
    conf=BeartypeConf(
        claw_is_pep526=False,
        claw_skip_package_names=(
            "sirl.cli",
            "sirl.entropy",
            "sirl.policy",
            "sirl.registry",
            "sirl.workflows",
        ),
    ),
)
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Torch as described above; imported here, as the process that hands out tests needs none."""
    import torch

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)


@pytest.fixture(autouse=True)
def no_plugin_is_loaded() -> None:
    """Only plug-ins of the test itself can be blamed for an exception."""
    if plugins := sys.modules.get("sirl.registry.plugins"):
        plugins.LOADED.clear()


@pytest.fixture(scope="session")
def embedded_once() -> "ChatModel":
    """The embedded model, for copies: loading one takes ten times as long as copying it."""
    from sirl.models.loading import load

    return load("embedded")


@pytest.fixture
def embedded(embedded_once) -> "ChatModel":
    """The embedded model, fresh for every test."""
    return deepcopy(embedded_once)


@pytest.fixture(params=["llama", "qwen2", "qwen3", "gemma"])
def family(request, embedded) -> "ChatModel":
    """A tiny random model of each family, with the embedded model's tokenizer."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(
        request.param,
        vocab_size=len(embedded.tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=512,
        eos_token_id=sorted(embedded.end_ids),
        pad_token_id=embedded.pad_id,
        bos_token_id=None,
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():  # sharper than at birth, so that answers end and entropies differ
        for parameter in model.parameters():
            parameter.mul_(3.0)
    ends = embedded.end_ids | set(range(100, 150))
    return replace(embedded, model=model, context=512, end_ids=ends)


def shared(name: str) -> Path:
    """A file of the shared data, or a reason to skip."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{path} is not there")
    return path
