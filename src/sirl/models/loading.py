"""From a folder or hub id to a model that can chat: weights, tokenizer, template, adapter.

Weights are read from safetensors only and no code that comes with a checkpoint is run. A folder
with an `adapter_config.json` is a LoRA adapter: its base is loaded underneath.
"""

import hashlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import logging as hub_logging
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from sirl.errors import ModelError
from sirl.models.chat import ChatModel
from sirl.models.folder import EMBEDDED_PATH, adapter_base, inside, is_adapter
from sirl.models.forward import adopt

__all__ = ["DType", "check_roles", "fingerprint", "load", "old_names"]

PLACE = "qzx7"
"""Stands for what somebody says; no template holds it."""
ADAPTER_WEIGHTS = "adapter_model.safetensors"
DType = Literal["float32", "bfloat16"]


def load(name: str, *, dtype: DType = "float32", device: str | None = None) -> ChatModel:
    """The chat model of a folder, a hub id, or `embedded`; a LoRA adapter on top of its base.

    Raises:
        ModelError: It is no model, has no chat template, no end-of-turn token, or lies about
            its weights.
    """
    where = str(EMBEDDED_PATH) if name == "embedded" else name
    # Its warnings speak of what is checked and named here; its errors are raised.
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    adapted = is_adapter(Path(where))
    base = adapter_base(Path(where)) if adapted else where
    check_folder(base)
    tokenizer = load_tokenizer(where if (Path(where) / "tokenizer_config.json").is_file() else base)
    model: Any = load_weights(base, dtype)
    # A mapped file may place tensors off the boundaries that matrix kernels favour, and the last
    # bit of a product depends on that: a resumed run would not be the unbroken one.
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()
    if adapted:
        model = with_adapter(model, where)
    model = model.to(device or ("cuda" if torch.cuda.is_available() else "cpu")).eval()
    ends = end_tokens(model, tokenizer)
    if not ends:
        raise ModelError(f"{name} names no end-of-turn token: set eos_token in its tokenizer")
    check_roles(name, tokenizer)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else min(ends)
    context = int(getattr(model.config, "max_position_embeddings", 0) or 4096)
    chat = ChatModel(name, model, tokenizer, ends, pad, context)
    adopt(chat)
    return chat


@contextmanager
def old_names() -> Iterator[None]:
    """Say nothing of a name by which peft 0.21 asks transformers 5.23: users cannot mend it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".is_gradient_checkpointing. is deprecated")
        yield


def with_adapter(model: Any, where: str) -> Any:  # noqa: ANN401 - peft's own wrapper
    """The model under the LoRA adapter of a folder, ready to be trained on."""
    from peft import PeftModel  # noqa: PLC0415 - seconds of import that plain models never need

    if not (Path(where) / ADAPTER_WEIGHTS).is_file():
        raise ModelError(f"{where} has no {ADAPTER_WEIGHTS}: check that the folder is complete")
    try:
        with old_names():
            return PeftModel.from_pretrained(model, where, is_trainable=True)
    except Exception as error:  # safetensors and peft raise types of their own
        raise ModelError(f"the adapter {where} does not fit: {first_line(error)}") from error


def check_folder(where: str) -> None:
    """Refuse a path that is no checkpoint before a library does so in twenty lines."""
    folder = Path(where)
    looks_local = where.startswith((".", "/", "~")) or folder.exists()
    if looks_local and not folder.is_dir():
        raise ModelError(f"--model {where} is not a folder: give a checkpoint folder or a hub id")
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise ModelError(f"--model {where} is no model: it has no config.json{inside(folder)}")
    if not looks_local:
        check_hub(where)


def check_hub(where: str) -> None:
    """Refuse an id that the hub and its cache here do not have, or do not hand out."""
    # It tells of every attempt; what they come to is told here.
    hub_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        hf_hub_download(where, "config.json")
    except HFValidationError as error:
        raise ModelError(f"--model {where} is neither a folder nor an id of the hub") from error
    except GatedRepoError as error:
        raise ModelError(
            f"--model {where} is gated: accept its terms on the hub, then log in with hf auth login"
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"--model {where} is no folder here and no model of the hub: check the spelling, "
            "or log in with hf auth login if it is private"
        ) from error
    except LocalEntryNotFoundError as error:
        raise ModelError(
            f"--model {where} is no folder here and not in the hub's cache, and the hub cannot be "
            "reached: give a checkpoint folder, or try again with a connection"
        ) from error
    except EntryNotFoundError as error:
        raise ModelError(f"--model {where} is no model: it has no config.json") from error
    except Exception as error:  # hub clients raise types of their own
        raise ModelError(f"--model {where} cannot be had: {first_line(error)}") from error


def load_tokenizer(where: str) -> PreTrainedTokenizerBase:
    """The tokenizer, with a chat template."""
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            where, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{where} has no usable tokenizer: {first_line(error)}; save one beside the weights"
        ) from error
    if not tokenizer.chat_template:
        raise ModelError(
            f"the tokenizer of {where} has no chat template: sirl hardens chat models; "
            "add chat_template.jinja to the folder"
        )
    return tokenizer


def check_roles(where: str, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a tokenizer that reads the marks of two roles as the same tokens.

    A template may refuse a conversation; then there is nothing to compare.
    """
    turns = [
        {"role": role, "content": PLACE} for role in ("user", "assistant", "user", "assistant")
    ]
    try:
        text = str(tokenizer.apply_chat_template(turns, tokenize=False))
    except Exception:  # a template is foreign code and raises what it likes
        return
    marks = text.split(PLACE)[1:3]  # before the assistant's first turn, before the user's second
    read = [tokenizer(mark, add_special_tokens=False)["input_ids"] for mark in marks]
    if len(marks) == 2 and marks[0] != marks[1] and read[0] == read[1]:
        raise ModelError(
            f"the tokenizer of {where} reads the user's and the assistant's marks as the same "
            "tokens: add the tokens that its chat template writes"
        )


def load_weights(where: str, dtype: DType) -> PreTrainedModel:
    """The causal language model, from safetensors only."""
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            where,
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except Exception as error:  # safetensors and hub clients raise types of their own
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
    return model


def first_line(error: Exception) -> str:
    """The first line of an error that may be pages long, without a trailing full stop."""
    lines = str(error).strip().splitlines()
    return f"{lines[0].rstrip('.')} ({type(error).__name__})" if lines else type(error).__name__


def end_tokens(
    model: Any,  # noqa: ANN401 - plain, or wrapped by peft
    tokenizer: PreTrainedTokenizerBase,
) -> frozenset[int]:
    """Every token that ends a turn, wherever the checkpoint names it."""
    named = [tokenizer.eos_token_id, model.config.eos_token_id]
    if getattr(model, "generation_config", None) is not None:
        named.append(model.generation_config.eos_token_id)
    flat: list[int] = []
    for ids in named:
        flat.extend(ids if isinstance(ids, list) else [] if ids is None else [ids])
    return frozenset(int(i) for i in flat)


def fingerprint(chat: ChatModel) -> dict[str, str]:
    """SHA-256 of the weights (names, shapes and bytes) and of the chat template."""
    digest = hashlib.sha256()
    for key, tensor in sorted(chat.model.state_dict().items()):
        digest.update(f"{key}{tuple(tensor.shape)}{tensor.dtype}".encode())
        flat = tensor.detach().cpu().contiguous().flatten()
        digest.update(memoryview(flat.view(torch.uint8).numpy()))
    template = str(chat.tokenizer.chat_template).encode()
    return {"weights": digest.hexdigest(), "template": hashlib.sha256(template).hexdigest()}
