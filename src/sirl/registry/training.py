"""Builds the policy and the learner."""

import copy
import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from sirl.config import TrainingSettings
from sirl.errors import ConfigError, ModelError
from sirl.models.folder import is_adapter
from sirl.registry.sampling import with_tried_sampler
from sirl.registry.voices import voice_of

if TYPE_CHECKING:
    from sirl.models.chat import ChatModel
    from sirl.training.checkpoints import Checkpoint
    from sirl.training.parallel import Parallelism, Ranks
    from sirl.training.update import Objective, PolicyLearner

__all__ = ["copies_reference", "learner", "objective", "policy", "ranks"]


def policy(config: TrainingSettings, checkpoint: "Checkpoint | None") -> "ChatModel":
    """The model to train, from the start or from a checkpoint.

    Trained weights are float32: at a learning rate of 1e-6 a bfloat16 weight would
    never change. With LoRA only the frozen base has the configured precision.
    """
    import torch

    from sirl.models.adapters import is_adapted, with_lora
    from sirl.models.loading import load

    dtype = config.dtype if config.lora else "float32"
    name = str(checkpoint.path) if checkpoint else config.model
    loaded = with_tried_sampler(config, load(name, dtype=dtype, voice=voice_of(config)))
    if checkpoint:
        loaded.count_update(checkpoint.step)
    elif config.lora and not is_adapted(loaded):
        loaded = with_lora(loaded, rank=config.lora_rank, seed=config.seed)
    if config.dtype == "bfloat16" and not config.lora:
        loaded = replace(loaded, autocast=torch.bfloat16)
    if config.new_tokens >= loaded.context:
        raise ModelError(
            f"new_tokens {config.new_tokens} leaves no room for a prompt in the context of "
            f"{loaded.context} tokens of {config.model}: lower it"
        )
    return loaded


def ranks(config: TrainingSettings) -> "Ranks":
    """The processes of this run: one, or those started by `torchrun`.

    Raises:
        ConfigError: `shard` with a single process, or with `suffixes`.
    """
    from sirl.training.parallel import Ranks

    size = int(os.environ.get("WORLD_SIZE", "1"))
    if config.shard and config.suffixes:
        # A search takes gradients again and again, and FSDP shards the weights after each.
        raise ConfigError("--suffixes cannot be used with --shard: leave one of them out")
    if size == 1 and config.shard:
        raise ConfigError(
            "shard needs several processes: start them with torchrun --nproc-per-node N "
            "-m sirl train ..., or leave shard out"
        )
    if size == 1:
        return Ranks()
    import torch
    import torch.distributed as dist
    from torch._C._distributed_c10d import PrefixStore, TCPStore

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    timeout = timedelta(seconds=config.timeout)
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        # The agent's store survives a restart; a prefix per attempt hides stale keys of processes
        # that have ended.
        host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = TCPStore(host, port, size, is_master=False, timeout=timeout)
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        dist.init_process_group(
            backend,
            store=PrefixStore(f"sirl/attempt-{attempt}", store),
            rank=int(os.environ["RANK"]),
            world_size=size,
            timeout=timeout,
        )
    else:
        dist.init_process_group(backend, timeout=timeout)
    return Ranks(dist.get_rank(), dist.get_world_size())


def learner(
    config: TrainingSettings,
    chat: "ChatModel",
    start: "ChatModel | None",
    ranks: "Ranks | None" = None,
) -> "PolicyLearner":
    """The learner, with the starting model as its reference.

    `start` is the starting model if the policy was resumed; None while both are the same.
    Without `ranks`, a single process.
    """
    from sirl.training.parallel import Ranks
    from sirl.training.reference import AdaptersOff, FrozenCopy, Reference
    from sirl.training.update import PolicyLearner, learning_rates

    if copies_reference(config):
        frozen = start or replace(chat, model=copy.deepcopy(chat.model))
        frozen.model.requires_grad_(False)
        reference: Reference = FrozenCopy(frozen)
    else:
        reference = AdaptersOff(chat)
    rates = learning_rates(config.learning_rate, config.schedule, config.steps)
    ranks = ranks or Ranks()
    return PolicyLearner(
        chat,
        reference,
        objective(config),
        rates,
        weight_decay=config.weight_decay,
        ranks=ranks,
        parallel=parallel(config, chat, ranks),
    )


def objective(config: TrainingSettings) -> "Objective":
    """The objective of a step and its split into mini- and micro-batches."""
    from sirl.training.update import Objective

    return Objective(
        clip=config.clip,
        kl_weight=config.kl,
        kl_estimator=config.kl_estimator,
        mini_batches=config.mini_batches,
        token_budget=config.token_budget,
        max_gradient_norm=config.max_gradient_norm,
    )


def copies_reference(config: TrainingSettings) -> bool:
    """Whether the reference is a copy of the weights: only a fresh adapter can be switched off."""
    return not config.lora or is_adapter(Path(config.model))


def parallel(config: TrainingSettings, chat: "ChatModel", ranks: "Ranks") -> "Parallelism":
    """The parallelism that keeps the weights of all processes in sync."""
    from sirl.models.forward import Scorer
    from sirl.training.parallel import DataParallel, FullySharded, SingleProcess

    scorer = Scorer(chat)
    if ranks.size == 1:
        return SingleProcess(scorer)
    return FullySharded(scorer, ranks) if config.shard else DataParallel(scorer)
