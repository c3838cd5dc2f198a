"""The shape of a model, from its configuration and file headers; no weights are read."""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from sirl.errors import ModelError, first_line
from sirl.models.folder import EMBEDDED_PATH, adapter_base, document, is_adapter
from sirl.models.loading import check_folder
from sirl.planning.memory import FLOAT, Shape

__all__ = ["adapter_rank", "read_shape", "shape_of", "tensor_bytes"]


def read_shape(name: str) -> Shape:
    """The shape of a checkpoint folder, a hub id, or `embedded`; for an adapter, of its base.

    Raises:
        ModelError: There is no configuration, or it is not a chat model's.
    """
    where = str(EMBEDDED_PATH) if name == "embedded" else name
    where = adapter_base(Path(where)) if is_adapter(Path(where)) else where
    check_folder(where)
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        config = AutoConfig.from_pretrained(where, trust_remote_code=False)
        with torch.device("meta"):
            make: Any = AutoModelForCausalLM.from_config
            model = make(config, trust_remote_code=False)
    except Exception as error:  # transformers and hub clients raise various types
        raise ModelError(
            f"{where} has no usable config.json of a chat model: {first_line(error)}"
        ) from error
    return shape_of(model, stored_bytes(Path(where)))


def adapter_rank(name: str) -> int | None:
    """The rank of an adapter folder; None for any other model."""
    folder = Path(name)
    if not is_adapter(folder):
        return None
    rank = document(folder / "adapter_config.json").get("r")
    if not isinstance(rank, int):
        raise ModelError(f"{folder / 'adapter_config.json'} does not name its rank r")
    return rank


def shape_of(model: Any, stored: int = 0) -> Shape:  # noqa: ANN401 - any transformers model
    """The shape of a model on any device, including the meta device."""
    config = model.config.get_text_config()
    heads = int(config.num_attention_heads)
    width = int(config.hidden_size)
    head_width = int(getattr(config, "head_dim", None) or width // heads)
    shared = int(getattr(config, "num_key_value_heads", None) or heads)
    layers = int(config.num_hidden_layers)
    head = model.get_output_embeddings()
    linear = [m for m in model.modules() if isinstance(m, nn.Linear) and m is not head]
    embedding = model.get_input_embeddings()
    outside = {id(head.weight), id(embedding.weight)}
    sizes = {id(p): p.numel() for p in model.parameters()}
    matrices = [p.numel() for p in model.parameters() if p.ndim > 1 and id(p) not in outside]
    return Shape(
        layers=layers,
        width=width,
        heads=heads,
        queries=heads * head_width,
        keys=shared * head_width,
        inner=int(getattr(config, "intermediate_size", None) or 4 * width),
        vocab=int(head.weight.shape[0]),
        parameters=sum(sizes.values()),
        products=sum(matrices),
        sides=sum(m.in_features + m.out_features for m in linear),
        largest=max(sizes.values()),
        matrices=round(len(linear) / layers),
        tied=head.weight is embedding.weight,
        qk_norm=any(name.endswith("q_norm") for name, _ in model.named_modules()),
        stored=stored or FLOAT * sum(sizes.values()),
    )


def stored_bytes(folder: Path) -> int:
    """Bytes of the tensors in a folder's safetensors files, from their headers; 0 if none.

    Raises:
        ModelError: A file is damaged.
    """
    return sum(map(tensor_bytes, sorted(folder.glob("model*.safetensors"))))


def tensor_bytes(file: Path) -> int:
    """Bytes of the tensors in a safetensors file, which is mapped and not read."""
    try:
        with safe_open(file, framework="pt") as weights:
            return sum(tensor.nbytes for tensor in map(weights.get_tensor, weights.keys()))
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{file} is not a safetensors file: restore the checkpoint") from error
