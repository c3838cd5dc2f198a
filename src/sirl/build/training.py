"""The policy to train, and the optimizer's owner."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sirl.config import TrainConfig
from sirl.errors import ModelError
from sirl.models.folder import is_adapter

if TYPE_CHECKING:
    from sirl.models.chat import ChatModel
    from sirl.training.checkpoints import Checkpoint
    from sirl.training.update import Learner

__all__ = ["learner", "policy"]


def policy(config: TrainConfig, checkpoint: "Checkpoint | None") -> "ChatModel":
    """The model to train, or to go on training from a checkpoint.

    Weights that move are kept in float32: at a learning rate of 1e-6 a bfloat16 weight would
    never move. Under LoRA only the frozen base takes the configured precision.
    """
    import torch

    from sirl.models.adapters import is_adapted, with_lora
    from sirl.models.loading import load

    if checkpoint:
        loaded = load(str(checkpoint.path), dtype=config.dtype if config.lora else "float32")
        loaded.learned(checkpoint.step)
    else:
        loaded = load(config.model, dtype=config.dtype if config.lora else "float32")
        if config.lora and not is_adapted(loaded):
            loaded = with_lora(loaded, rank=config.lora_rank, seed=config.seed)
    if config.dtype == "bfloat16" and not config.lora:
        loaded = replace(loaded, autocast=torch.bfloat16)
    if config.new_tokens >= loaded.context:
        raise ModelError(
            f"new_tokens {config.new_tokens} leaves no room for a prompt in the context of "
            f"{loaded.context} tokens of {config.model}: lower it"
        )
    return loaded


def learner(config: TrainConfig, chat: "ChatModel", start: "ChatModel | None") -> "Learner":
    """The optimizer's owner, leashed to the starting model.

    `start` is that model where the policy has left it already; None while they are the same.
    """
    from sirl.models.adapters import is_adapted
    from sirl.training.reference import AdaptersOff, FrozenCopy
    from sirl.training.update import Learner, Objective, learning_rates

    if is_adapted(chat) and not is_adapter(Path(config.model)):
        reference: AdaptersOff | FrozenCopy = AdaptersOff(chat)
    else:
        frozen = start or replace(chat, model=copy.deepcopy(chat.model))
        frozen.model.requires_grad_(False)
        reference = FrozenCopy(frozen)
    objective = Objective(
        clip=config.clip,
        kl_weight=config.kl,
        kl_estimator=config.kl_estimator,
        mini_batches=config.mini_batches,
        token_budget=config.token_budget,
        max_gradient_norm=config.max_gradient_norm,
    )
    rates = learning_rates(config.learning_rate, config.schedule, config.steps)
    return Learner(chat, reference, objective, rates, weight_decay=config.weight_decay)
