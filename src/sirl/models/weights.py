"""The config and the weights of a checkpoint: each weight has its place, and each place its weight.

Weights are read from safetensors only.
"""

import re
from itertools import dropwhile
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from sirl.errors import ModelError, first_line, printable

__all__ = ["DType", "damaged_weights", "is_whole", "load_config", "load_weights", "weights_in"]

DType = Literal["float32", "bfloat16"]
UNUSED = re.compile(
    r"(?:^|\.)(?:attn(?:\.attention)?\.bias|masked_bias|causal_mask|\w*rotary\w*\.inv_freq)$"
    r"|^v_head\."
)
"""What a model computes itself and older versions of transformers saved, and the value head that
training with TRL leaves."""


def load_config(where: str) -> PreTrainedConfig:
    """The config of a model."""
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(where, trust_remote_code=False)
    except Exception as error:  # configs have their own error types
        inner = error.__cause__ if isinstance(error, StrictDataclassError) else None
        reason = first_line(inner if isinstance(inner, Exception) else error)
        raise ModelError(
            f"config.json of {where} cannot be used: {reason}; correct it or restore the checkpoint"
        ) from error
    return config


def load_weights(where: str, config: PreTrainedConfig, dtype: DType) -> PreTrainedModel:
    """The causal language model, from safetensors only."""
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            where,
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except SafetensorError as error:
        raise damaged_weights(where, error) from error
    except Exception as error:  # hub clients raise various types
        raise ModelError(
            f"{where} cannot be loaded as a chat model: {first_line(error)}"
        ) from error
    model: PreTrainedModel = loaded[0]
    report: dict[str, set[str]] = loaded[1]
    if report["missing_keys"]:
        raise ModelError(
            f"{where} lacks the weights {sorted(report['missing_keys'])[:3]}: "
            "they would be random; check that the folder is complete"
        )
    extra = {key for key in report["unexpected_keys"] if not UNUSED.search(key)}
    if config.get_text_config() is not config:  # only the text part of some models is loaded
        extra = {key for key in extra if is_of_text(model, config, key)}
    if extra:
        raise ModelError(
            f"{where} has the weights {sorted(extra)[:3]}, for which its config.json has no place: "
            "restore the config.json that belongs to them"
        )
    return model


def is_of_text(model: PreTrainedModel, config: PreTrainedConfig, key: str) -> bool:
    """Whether a weight of a multimodal model belongs to a part that its text model has.

    A prefix of its own, such as `language_model.`, may precede the names of the text model.
    """
    others = [name.removesuffix("_config") for name in config.sub_configs if name != "text_config"]
    if key.startswith(tuple(others)):
        return False
    parts = {name for name, _ in model.named_children()}
    path = [*dropwhile(lambda name: name not in parts, key.split("."))]
    place = ".".join(path[: 2 if path[:1] == [model.base_model_prefix] else 1])
    return place in {name for name, _ in model.named_modules() if name}


def damaged_weights(where: str, error: SafetensorError) -> ModelError:
    """The error for a weights file that is truncated or not safetensors."""
    said = str(error).strip().removeprefix("Error while deserializing header: ")
    names = sorted(p.name for p in Path(where).glob("*.safetensors") if not is_whole(p))
    file = Path(where) / names[0] if names else f"a weights file of {where}"
    return ModelError(
        f"{file} is damaged or incomplete ({printable(said)}): copy or download it again"
    )


def is_whole(path: Path) -> bool:
    """Whether the header of a weights file can be read and fits its length."""
    try:
        with safe_open(path, "pt"):
            return True
    except (SafetensorError, OSError):
        return False


def weights_in(path: Path) -> int:
    """Number of tensors in a file."""
    with safe_open(path, "pt") as file:
        return len([*file.keys()])
