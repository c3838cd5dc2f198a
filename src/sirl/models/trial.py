"""Tests of a model when it is loaded: which fast forward passes match its plain one?

The standard is the model's own forward pass over one conversation, without cache and padding.
Config keys and layer classes decide nothing: the tiled head, packing and padding are each used
only if their log-probabilities and entropies match. Otherwise they are turned off with a warning.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from sirl.entropy import token_numbers
from sirl.errors import ModelError, first_line
from sirl.models.chat import ChatModel, Padding, settle, unwrapped
from sirl.models.forward import (
    decoder,
    head_factor,
    own_logits,
    packed_states,
    padded_logits,
    plain_head,
)
from sirl.models.head import Predicted, numbers_of
from sirl.models.memory import out_of_memory
from sirl.models.packing import PACKED
from sirl.types import Completion

__all__ = ["adopt", "agree", "alone", "probe"]

TEXT = (
    "How do I bake a plum cake? Take two cups of flour, a pinch of salt and eight ripe plums. "
    "Nobody in the village knew why the old clock had stopped at half past seven; some said that "
    "it was the frost of 1963, others blamed the mice."
)
"""Text of the test prompts."""
LENGTHS = ((9, (5, 3, 1)), (4, (7, 4)))
"""Tokens of each prompt, and of the completions that follow it."""
AGREES = 1e-3
"""Maximum mean |difference| in nats over a completion, in float32."""
ROUNDED, ROUNDED_HEAD = 0.3, 0.1
"""The same in 16 bits, if every layer rounds, and if only the head does."""
PADDINGS: tuple[Padding, ...] = ("left", "right", "none")
"""Padding modes, cheapest first."""
UNPACKED = ("attention_chunk_size",)
"""Config keys of masks that packed attention lacks and a short trial cannot detect."""
LAYERS = frozenset({"full_attention", "sliding_attention"})
"""Layer types whose masks packed attention supports."""


def probe(chat: ChatModel) -> list[Completion]:
    """Test completions of several lengths, for two prompts of different lengths."""
    rows = chat.rows
    ids = [i for i in chat.tokenizer(TEXT, add_special_tokens=False)["input_ids"] if i < rows]
    ids = ids or [n % rows for n in range(3, 64)]
    start, given = 0, []

    def taken(count: int) -> tuple[int, ...]:
        nonlocal start
        start += count
        return tuple(ids[n % len(ids)] for n in range(start - count, start))

    for prompt_length, lengths in LENGTHS:
        prompt = taken(prompt_length)
        given += [Completion("", prompt, taken(n), "", (), (), "length") for n in lengths]
    return given


@torch.no_grad()
def adopt(chat: ChatModel) -> None:
    """Choose the fastest forward pass that matches the model's own.

    Raises:
        ModelError: Its logits are not finite, or no batch layout matches.
    """
    given = probe(chat)
    own = attempted(chat, "read", lambda: alone(chat, given))
    check_finite(chat, own)
    notes = [*chat.manner.notes]
    if plain_head(chat.model) is not None and not agree(
        chat, headed(chat, given), own, rounded=ROUNDED_HEAD
    ):
        settle(chat.model, replace(chat.manner, own_logits=True))
        notes.append(f"{chat.name} post-processes its logits, so its full forward pass is used")
    if not packs(chat, given, own):
        notes += padded(chat, given, own)
    settle(chat.model, replace(chat.manner, notes=tuple(notes)))


def attempted(chat: ChatModel, what: str, work: Callable[[], Any]) -> Any:  # noqa: ANN401 - result of the work
    """Run `work`, with errors of the model's code as ModelError.

    Raises:
        ModelError: The model's code raises.
    """
    try:
        return work()
    except ModelError:
        raise
    except Exception as error:  # a model's code may raise anything
        if isinstance(error, RuntimeError) and out_of_memory(error):
            raise
        raise ModelError(f"{chat.name} cannot be {what}: {first_line(error)}") from error


def alone(chat: ChatModel, given: Sequence[Completion]) -> list[Tensor]:
    """Log-probabilities and entropies (2 x seq) of each completion from the model's own logits."""
    found = []
    for c in given:
        ids = torch.tensor([[*c.prompt_ids, *c.token_ids]], device=chat.device)
        logits = own_logits(chat, len(c.token_ids) + 1, input_ids=ids, use_cache=False)[0, :-1]
        found.append(numbers(logits, c))
    return found


def numbers(logits: Tensor, completion: Completion) -> Tensor:
    """Log-probabilities and entropies (2 x seq) of a completion's tokens."""
    ids = torch.tensor(completion.token_ids, device=logits.device)
    logprobs, entropies, _ = token_numbers(logits, ids)
    return torch.stack([logprobs, entropies])


def headed(chat: ChatModel, given: Sequence[Completion]) -> list[Tensor] | None:
    """The same from hidden states and our head product, as in sampling; None if it fails."""
    factor = head_factor(chat)
    if factor is None:
        return None
    found = []
    for c in given:
        ids = torch.tensor([[*c.prompt_ids, *c.token_ids]], device=chat.device)
        try:
            with chat.precision():
                hidden = decoder(chat.model)(input_ids=ids, use_cache=False).last_hidden_state[0]
        except Exception as error:  # a model's code may raise anything
            if isinstance(error, RuntimeError) and out_of_memory(error):
                raise
            return None
        found.append(numbers(factor.logits(hidden[len(c.prompt_ids) - 1 : -1].contiguous()), c))
    return found


def agree(
    chat: ChatModel,
    found: Sequence[Tensor] | None,
    own: Sequence[Tensor],
    *,
    rounded: float = ROUNDED,
) -> bool:
    """Whether results (2 x seq per completion) match those of the model's own forward pass."""
    if found is None:
        return False
    most = AGREES if chat.model.dtype.itemsize >= 4 and chat.autocast is None else rounded
    gaps = [
        (a.to(b) - b).abs().mean(dim=1).max() for a, b in zip(found, own, strict=True) if b.numel()
    ]
    return bool(torch.stack(gaps).max() < most)  # NaN does not agree


def check_finite(chat: ChatModel, own: Sequence[Tensor]) -> None:
    """Raise ModelError if the model's own logits are not finite."""
    if not all(bool(n.isfinite().all()) for n in own):
        raise ModelError(
            f"{chat.name} gives logits that are not finite (NaN or infinity): its weights are "
            "damaged, or too large for this dtype; restore them, or use dtype=float32"
        )


def split(predicted: Predicted, given: Sequence[Completion]) -> list[Tensor]:
    """Log-probabilities and entropies (2 x seq) of each completion, from flat results."""
    logprobs, entropies, _ = numbers_of(predicted)
    lengths = [len(c.token_ids) for c in given]
    return list(torch.split(torch.stack([logprobs, entropies]), lengths, dim=1))


def packs(chat: ChatModel, given: Sequence[Completion], own: Sequence[Tensor]) -> bool:
    """Turn packing on if it matches the model's own forward pass; whether it does."""
    config, before = chat.model.config, chat.model.config._attn_implementation
    if before not in ("sdpa", PACKED) or plain_head(chat.model) is None:
        return False
    if not masks_are_known(config.get_text_config()):
        return False
    config._attn_implementation = PACKED
    try:
        same = agree(chat, split(packed_states(chat, given), given), own)
    except Exception as error:  # third-party code may not accept a layout
        config._attn_implementation = before
        if isinstance(error, RuntimeError) and out_of_memory(error):
            raise
        return False
    if not same:
        config._attn_implementation = before
    return same


def masks_are_known(config: Any) -> bool:  # noqa: ANN401 - any config class
    """Whether the attention masks of a config are only causal or sliding windows."""
    chunked = any(getattr(config, name, None) for name in UNPACKED)
    kinds = getattr(config, "layer_types", None) or ()
    return not chunked and set(kinds) <= LAYERS


def padded(chat: ChatModel, given: Sequence[Completion], own: Sequence[Tensor]) -> list[str]:
    """Choose how batches are padded, and warn if it is unusual.

    Raises:
        ModelError: Even single rows give other logits than the model without a mask.
    """
    for padding in PADDINGS:
        rows = [[c] for c in given] if padding == "none" else [given]
        try:
            found = [n for r in rows for n in split(padded_logits(chat, r, padding), r)]
        except Exception as error:  # a model's code may raise anything
            if isinstance(error, RuntimeError) and out_of_memory(error):
                raise
            continue
        if agree(chat, found, own):
            settle(chat.model, replace(chat.manner, padding=padding))
            return said_of(chat, padding)
    raise ModelError(
        f"{chat.name} gives different logits with an attention mask than without: "
        "its rewards cannot be computed; use another model"
    )


def said_of(chat: ChatModel, padding: Padding) -> list[str]:
    """A warning about the batch layout; none if left padding is expected for this model."""
    how = {
        "left": "batches are padded instead",
        "right": "batches are padded on the right instead",
        "none": "completions are processed one by one instead",
    }[padding]
    config = unwrapped(chat.model).config
    expected = plain_head(chat.model) is None or config._attn_implementation != "sdpa"
    if padding == "left" and expected:
        return []
    return [f"packing changes the logits of {chat.name}; {how}"]
