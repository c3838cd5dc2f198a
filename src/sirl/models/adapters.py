"""LoRA: trains an adapter; the reference is the same weights with the adapter off."""

import sys
from dataclasses import replace
from pathlib import Path

import torch

from sirl.models.chat import ChatModel
from sirl.models.loading import old_names

__all__ = ["is_adapted", "with_lora"]


def with_lora(chat: ChatModel, *, rank: int, seed: int) -> ChatModel:
    """The model with a fresh adapter on every linear layer; its answers are still the same.

    Alpha is twice the rank and dropout is off: dropout alone would already move the policy away
    from its reference. The base is named by its full path, so that the adapter can be loaded from
    any folder.
    """
    from peft import LoraConfig, get_peft_model  # noqa: PLC0415 - slow import, only for adapters

    torch.manual_seed(seed)
    config = LoraConfig(
        r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    base = Path(chat.model.config._name_or_path)
    with old_names():
        adapted = get_peft_model(chat.model, config)
    if base.exists():
        adapted.peft_config["default"].base_model_name_or_path = str(base.resolve())
    return replace(chat, model=adapted.eval())


def is_adapted(chat: ChatModel) -> bool:
    """Whether the model carries a LoRA adapter."""
    peft = sys.modules.get("peft")  # slow to import; without it there is no adapter
    return peft is not None and isinstance(chat.model, peft.PeftModel)
