"""Builds the inputs of `sirl plan` from the settings."""

from typing import TYPE_CHECKING

from sirl.config import PlanConfig
from sirl.errors import ConfigError
from sirl.planning.memory import GIB
from sirl.registry.training import copies_reference, objective

if TYPE_CHECKING:
    from sirl.planning.memory import Shape, Step
    from sirl.planning.throughput import Rates

__all__ = ["gpu_room", "planned", "rates"]


def planned(config: PlanConfig) -> "tuple[Shape, Step]":
    """The shape of the model and the training step of the settings.

    Raises:
        ModelError: The model does not exist.
    """
    from sirl.planning.memory import Step
    from sirl.planning.shape import adapter_rank, read_shape

    shape = read_shape(config.model)
    adapter = adapter_rank(config.model)
    lora = config.lora or adapter is not None
    split = objective(config)
    step = Step(
        prompts=config.batch,
        group=config.group,
        prompt_tokens=config.prompt_tokens,
        new_tokens=config.new_tokens,
        sampling_batch_size=config.sampling_batch_size,
        token_budget=split.token_budget,
        mini_batches=split.mini_batches,
        lora_rank=(adapter or config.lora_rank) if lora else None,
        bfloat16=config.dtype == "bfloat16",
        copied_reference=copies_reference(config),
        gpus=config.gpus or int(config.gpu is not None or config.gpu_memory is not None),
        shard=config.shard,
    )
    return shape, step


def gpu_room(config: PlanConfig) -> int | None:
    """Memory of a GPU in bytes; None on the CPU.

    Raises:
        ConfigError: A GPU is requested, but its memory is unknown.
    """
    from sirl.planning.throughput import GPUS, gpu_named

    if config.gpu_memory is not None:
        return int(config.gpu_memory * GIB)
    if config.gpu is not None:
        return gpu_named(config.gpu).memory * 10**9
    if not config.gpus:
        return None
    raise ConfigError(
        f"--gpus {config.gpus} does not say how much memory they have: give --gpu-memory GIB, "
        f"or --gpu and one of {', '.join(GPUS)}"
    )


def rates(config: PlanConfig, step: "Step") -> "Rates | None":
    """Rates of the named GPU, else of this machine's CPU; None if unknown.

    Raises:
        ConfigError: The GPU is not in the table.
    """
    from sirl.planning.throughput import gpu_named, measured_rates, sheet_rates

    if config.gpu is not None:
        return sheet_rates(gpu_named(config.gpu), bfloat16=step.bfloat16)
    return None if step.gpus else measured_rates(bfloat16=step.bfloat16)
