"""Loads a chat model from a folder or hub id: weights, tokenizer, template, adapter.

Reads weights from safetensors only and never runs code of a checkpoint. A folder with an
`adapter_config.json` is a LoRA adapter, which is loaded on top of its base model.
"""

import hashlib
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
from safetensors import SafetensorError, safe_open
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from sirl.errors import InputError, ModelError, first_line, printable
from sirl.models.chat import ChatModel, Manner, settle
from sirl.models.folder import (
    EMBEDDED_PATH,
    adapter_base,
    check_unchanged,
    document,
    inside,
    is_adapter,
    perhaps_embedded,
)
from sirl.models.template import PLACE, Voice, dates_written, fitted
from sirl.models.trial import adopt
from sirl.models.turn_ends import turn_ends
from sirl.models.weights import (
    DType,
    damaged_weights,
    is_whole,
    load_config,
    load_weights,
    weights_in,
)
from sirl.types import Message

__all__ = ["check_roles", "fingerprint", "load", "old_names"]

ADAPTER_WEIGHTS = "adapter_model.safetensors"
LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
"""Config keys of the number of layers."""
FEW_LAYERS = 1000
"""Up to this many layers are built without checking the weights first."""


def load(
    name: str,
    *,
    dtype: DType = "float32",
    device: str | None = None,
    voice: Voice | None = None,
) -> ChatModel:
    """The chat model of a folder, a hub id, or `embedded`; a LoRA adapter on top of its base.

    `voice` holds the chat-template arguments and date; default: no arguments, current time.

    Raises:
        ModelError: It is not a model, has no chat template or no end-of-turn token, its weights
            do not match its config or its manifest, or its logits are not finite.
    """
    where = str(EMBEDDED_PATH) if name == "embedded" else name
    # Silence transformers' warnings: the same conditions are checked below.
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    adapted = is_adapter(Path(where))
    base = adapter_base(Path(where)) if adapted else where
    check_folder(base)
    check_unchanged(Path(where))
    config = load_config(base)
    tokenizer = load_tokenizer(where if (Path(where) / "tokenizer_config.json").is_file() else base)
    voice = fitted(name, tokenizer, voice or Voice())
    check_roles(name, tokenizer, voice)
    model: Any = load_weights(base, config, dtype)
    # Memory-mapped tensors may be unaligned, which changes the last bit of matrix products: a
    # resumed run would differ from an unbroken one.
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()
    if adapted:
        model = with_adapter(model, where)
    model = model.to(device or ("cuda" if torch.cuda.is_available() else "cpu")).eval()
    rows = model.get_input_embeddings().weight.shape[0]
    ends, notes = turn_ends(name, model, tokenizer, voice)
    if voice.in_parts:
        notes += (
            f"the chat template of {name} reads messages as lists of parts: so they are given",
        )
    if not ends:
        raise ModelError(f"{name} names no end-of-turn token: set eos_token in its tokenizer")
    pad = tokenizer.pad_token_id  # padding is masked, so any token works
    pad = min(ends) if pad is None or not 0 <= pad < rows else pad
    chat = ChatModel(name, model, tokenizer, ends, pad, context_of(name, model), voice=voice)
    check_rows(chat)
    settle(model, Manner(notes=notes))
    adopt(chat)
    return chat


def context_of(name: str, model: Any) -> int:  # noqa: ANN401 - plain, or wrapped by peft
    """Context length in tokens from the config, or a conservative default."""
    said = getattr(model.config.get_text_config(), "max_position_embeddings", None) or 4096
    if not isinstance(said, int) or said < 1:
        raise ModelError(
            f"config.json of {name}: max_position_embeddings {said!r} is not a valid length"
        )
    return said


def check_rows(chat: ChatModel) -> None:
    """Reject a template whose tokens have no row in the embedding."""
    try:
        chat.render((Message("user", PLACE),))
    except InputError as error:
        if "rows" in str(error):
            raise ModelError(f"its chat template cannot be read: {error}") from error


@contextmanager
def old_names() -> Iterator[None]:
    """Silence a deprecation warning that peft 0.21 causes in transformers 5.23."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".is_gradient_checkpointing. is deprecated")
        yield


def with_adapter(model: Any, where: str) -> Any:  # noqa: ANN401 - peft's own wrapper
    """Load the LoRA adapter of a folder onto its base, trainable."""
    from peft import PeftModel  # noqa: PLC0415 - slow import, only for adapters

    if not (Path(where) / ADAPTER_WEIGHTS).is_file():
        raise ModelError(f"{where} has no {ADAPTER_WEIGHTS}: check that the folder is complete")
    try:
        with old_names(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Found missing adapter keys")  # named below
            adapted = PeftModel.from_pretrained(model, where, is_trainable=True)
        check_adapter(where, adapted)
    except ModelError:
        raise
    except SafetensorError as error:
        raise damaged_weights(where, error) from error
    except Exception as error:  # peft raises various types
        unlike = [line for line in str(error).splitlines() if "size mismatch" in line]
        reason = printable(unlike[0].strip()) if unlike else first_line(error)
        raise ModelError(f"the adapter {where} does not fit: {reason}") from error
    return adapted


def check_adapter(where: str, model: Any) -> None:  # noqa: ANN401 - peft's own wrapper
    """Reject an adapter with missing or unexpected weights."""
    from peft import get_peft_model_state_dict  # noqa: PLC0415 - as above

    wanted = {*get_peft_model_state_dict(model, save_embedding_layers=False)}
    with safe_open(Path(where) / ADAPTER_WEIGHTS, "pt") as file:
        given = {*file.keys()}
    whole = {name for name, _ in model.named_parameters()}
    faults = [
        f"{what} {len(keys)} weights, {sorted(keys)[0]} for one"
        for what, keys in (("lacks", wanted - given), ("has unexpected", given - wanted - whole))
        if keys
    ]
    if faults:
        raise ModelError(
            f"the adapter {where} does not fit its base: it {' and '.join(faults)}; "
            "give the complete adapter of this base model"
        )


def check_folder(where: str) -> None:
    """Reject a path that is not a checkpoint, with a short message."""
    folder = Path(where)
    looks_local = where.startswith((".", "/", "~")) or folder.exists()
    if looks_local and not folder.is_dir():
        raise ModelError(f"--model {where} is not a folder: give a checkpoint folder or a hub id")
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise ModelError(f"--model {where} is not a model: it has no config.json{inside(folder)}")
    if looks_local:
        check_layers(folder)
    else:
        check_hub(where)


def check_layers(folder: Path) -> None:
    """Reject a config with more layers than weights, which would take forever to build.

    Raises:
        ModelError: It has more layers than weights, or cannot be read.
    """
    config = document(folder / "config.json")
    inner = [part for part in config.values() if isinstance(part, dict)]
    said = [part[name] for part in (config, *inner) for name in LAYERS if name in part]
    wrong = [n for n in said if not isinstance(n, int) or n < 0]
    if not wrong and max(said, default=0) > FEW_LAYERS:
        files = [*folder.glob("*.safetensors")]
        if all(map(is_whole, files)):  # damaged files are reported when loaded
            held = sum(map(weights_in, files))
            wrong = [n for n in said if n > held]
    if wrong:
        raise ModelError(
            f"{folder / 'config.json'} names {printable(repr(wrong[0]))} layers, which its "
            "weights do not contain: restore the checkpoint"
        )


def check_hub(where: str) -> None:
    """Reject an id that is neither on the hub nor in its cache, or is not accessible."""
    # Silence the hub's retry log; the outcome is reported below.
    hub_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        hf_hub_download(where, "config.json")
    except HFValidationError as error:
        raise ModelError(f"--model {where} is neither a folder nor a hub id") from error
    except GatedRepoError as error:
        raise ModelError(
            f"--model {where} is gated: accept its terms on the hub, then log in with hf auth login"
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"--model {where} is neither a local folder nor a model on the hub: "
            f"{perhaps_embedded(where)}check the spelling, or log in with hf auth login "
            "if it is private"
        ) from error
    except LocalEntryNotFoundError as error:
        raise ModelError(
            f"--model {where} is neither a local folder nor in the hub's cache, and the hub "
            f"cannot be reached: {perhaps_embedded(where)}give a checkpoint folder, or try again "
            "with a connection"
        ) from error
    except EntryNotFoundError as error:
        raise ModelError(f"--model {where} is not a model: it has no config.json") from error
    except Exception as error:  # hub clients have their own error types
        raise ModelError(f"--model {where} cannot be loaded: {first_line(error)}") from error


def load_tokenizer(where: str) -> PreTrainedTokenizerBase:
    """The tokenizer, with a chat template."""
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            where, trust_remote_code=False
        )
    except Exception as error:  # tokenizers have their own error types
        raise ModelError(
            f"{where} has no usable tokenizer: {first_line(error)}; save one next to the weights"
        ) from error
    if not tokenizer.chat_template:
        raise ModelError(
            f"the tokenizer of {where} has no chat template: sirl needs a chat model; add "
            "chat_template.jinja to the folder"
        )
    return tokenizer


def check_roles(where: str, tokenizer: PreTrainedTokenizerBase, voice: Voice) -> None:
    """Reject a tokenizer that encodes the markers of two roles as the same tokens.

    Skipped if the template rejects the test conversation.
    """
    turns = [
        {"role": role, "content": PLACE} for role in ("user", "assistant", "user", "assistant")
    ]
    try:
        text = voice.text(tokenizer, turns, answers=False)
    except ModelError:
        raise
    except Exception:  # a template is third-party code and may raise anything
        return
    marks = text.split(PLACE)[1:3]  # before the assistant's first turn, before the user's second
    read = [tokenizer(mark, add_special_tokens=False)["input_ids"] for mark in marks]
    if len(marks) == 2 and marks[0] != marks[1] and read[0] == read[1]:
        raise ModelError(
            f"the tokenizer of {where} encodes the user's and the assistant's role markers as "
            "the same tokens: add the tokens that its chat template uses"
        )


def fingerprint(chat: ChatModel) -> dict[str, str]:
    """SHA-256 of the weights (names, shapes and bytes) and of the chat template.

    The template hash includes its arguments; the date is a separate entry.
    """
    digest = hashlib.sha256()
    for key, tensor in sorted(chat.model.state_dict().items()):
        digest.update(f"{key}{tuple(tensor.shape)}{tensor.dtype}".encode())
        flat = tensor.detach().cpu().contiguous().flatten()
        digest.update(memoryview(flat.view(torch.uint8).numpy()))
    template = str(chat.tokenizer.chat_template)
    if chat.voice.in_parts:
        template += "in parts"
    if chat.voice.arguments:
        template += json.dumps(chat.voice.arguments, sort_keys=True, default=str)
    about = {
        "weights": digest.hexdigest(),
        "template": hashlib.sha256(template.encode()).hexdigest(),
    }
    dates = dates_written(chat.tokenizer, chat.voice)
    return about | ({"date": ", ".join(dates)} if dates else {})
