"""Builds the sampling engine: local or vLLM."""

import importlib.util
import os
from collections.abc import Callable
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from sirl.config import Settings, TrainingSettings
from sirl.errors import ConfigError, MissingExtraError
from sirl.registry.plugins import from_plugin, member
from sirl.roles import Engine
from sirl.types import Sampling

if TYPE_CHECKING:
    from sirl.models.chat import ChatModel

__all__ = ["local_engine", "require_sampler", "sampler", "with_tried_sampler"]

SERIES = "0.33"
"""The supported vLLM series; its interfaces change with every minor version."""
GPU_SHARE = 0.4
"""Share of GPU memory for vLLM; the trainer uses the rest."""
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Values that vLLM accepts for `max_lora_rank`."""


OWN = ("native", "huggingface", "vllm")
"""Engines of this package; vLLM serves training alone."""


def require_sampler(config: Settings) -> None:
    """Check that the sampler is installed, before any other work.

    Raises:
        MissingExtraError: vLLM is requested and not installed.
        ConfigError: The engine is unknown, or the installed vLLM is not the supported series.
    """
    known = OWN if isinstance(config, TrainingSettings) else OWN[:2]
    if config.sampler != "vllm" or config.sampler not in known:
        member("engine", config.sampler, dict.fromkeys(known))
        return
    if importlib.util.find_spec("vllm") is None:
        raise MissingExtraError("sampler=vllm", "vllm")
    check_series(version("vllm"))
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError(
            "sampler=vllm runs in one process, but torchrun started several: use sampler=native"
        )


def check_series(installed: str) -> None:
    """Raise ConfigError for a vLLM of another minor version."""
    if not installed.startswith(f"{SERIES}."):
        raise ConfigError(
            f"sampler=vllm supports vllm {SERIES}, and {installed} is installed: "
            f"pip install 'vllm=={SERIES}.*', or use sampler=native"
        )


def sampler(config: TrainingSettings, chat: "ChatModel") -> Engine:
    """The engine that samples training completions."""
    sampling = Sampling(config.temperature)
    if config.sampler == "vllm":
        return vllm_engine(config, chat, sampling)
    return local_engine(config, chat, sampling)


def with_tried_sampler(config: Settings, chat: "ChatModel") -> "ChatModel":
    """The model, after a trial that chooses its sampler.

    Raises:
        ModelError: No sampler works.
    """
    from sirl.rollouts.trial import settle_sampler

    settle_sampler(chat, native=config.sampler != "huggingface")
    return chat


def local_engine(config: Settings, chat: "ChatModel", sampling: Sampling) -> Engine:
    """An engine that samples from a model in this process; vLLM serves training alone.

    Raises:
        ConfigError: An engine from outside does not keep its contract.
    """
    if config.sampler not in OWN:
        given = {
            "chat": chat,
            "seed": config.seed,
            "new_tokens": config.new_tokens,
            "sampling": sampling,
            "batch_size": config.sampling_batch_size,
        }
        engine = member("engine", config.sampler, {})
        found: Engine = from_plugin("engine", config.sampler, engine, Engine, given)
        return found
    if config.sampler == "huggingface" or chat.manner.generates:
        from sirl.rollouts.huggingface import HuggingFaceEngine

        return HuggingFaceEngine(
            chat, config.seed, config.new_tokens, sampling, config.sampling_batch_size
        )
    from sirl.rollouts.native import NativeEngine

    return NativeEngine(chat, config.seed, config.new_tokens, sampling, config.sampling_batch_size)


def vllm_engine(config: TrainingSettings, chat: "ChatModel", sampling: Sampling) -> Engine:
    """A vLLM engine in the trainer's process."""
    from vllm import LLM, SamplingParams
    from vllm.lora.request import LoRARequest

    return joined(config, chat, sampling, (LLM, SamplingParams, LoRARequest))


def joined(
    config: TrainingSettings,
    chat: "ChatModel",
    sampling: Sampling,
    parts: tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]],
) -> Engine:
    """Build the vLLM engine from vLLM's classes, with the way to send it new weights."""
    from sirl.models.adapters import is_adapted
    from sirl.rollouts.vllm import AdapterByFolder, VllmEngine, WeightsByFolder

    make, params, request = parts
    settings = {
        "model": chat.model.config._name_or_path,
        "dtype": config.dtype,
        "seed": config.seed,
        "gpu_memory_utilization": GPU_SHARE,
        "generation_config": "vllm",  # ignore the checkpoint's generation_config
        "logprobs_mode": "raw_logprobs",
    }
    if is_adapted(chat):
        settings |= {"enable_lora": True, "max_loras": 1, "max_lora_rank": lora_rank(chat)}
    llm = make(**settings)
    delivery = AdapterByFolder(chat, request) if is_adapted(chat) else WeightsByFolder(chat, llm)
    return VllmEngine(
        llm,
        params,
        chat,
        delivery,
        config.seed,
        config.new_tokens,
        sampling,
        config.token_budget,
    )


def lora_rank(chat: "ChatModel") -> int:
    """The lowest `max_lora_rank` that vLLM accepts and the adapter fits.

    Raises:
        ConfigError: The adapter's rank exceeds the maximum.
    """
    own: int = chat.model.peft_config["default"].r
    if own > RANKS[-1]:
        raise ConfigError(
            f"lora_rank {own} exceeds {RANKS[-1]}, the maximum that vLLM supports: lower it, or "
            "use sampler=native"
        )
    return next(rank for rank in RANKS if rank >= own)
