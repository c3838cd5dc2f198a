"""Times the checks of a stream, compared with the decoding of its tokens."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import DynamicCache

from sirl.guard.checks import CheckReader
from sirl.models.forward import next_logits

__all__ = ["Timing", "timed"]


@dataclass(frozen=True)
class Timing:
    """Times of one stream at a time."""

    ratio: float
    """Time of all checks divided by that of decoding."""
    check_ms: float
    token_ms: float
    checks: int
    tokens: int
    prompt_ms: float
    """Of the cuts of a prompt."""


@torch.inference_mode()
def timed(
    reader: CheckReader, prompts: Sequence[tuple[int, ...]], new_tokens: int, every: int
) -> Timing:
    """Decode greedily after each prompt, and check at regular distances; the first prompt warms up.

    The check before the first token reads the state that decoding has computed anyway, and the
    prompt at its cuts, which are timed apart and without a cache.
    """
    decoding, checking, cutting, checks, tokens = 0.0, 0.0, 0.0, 0, 0
    for n, prompt in enumerate([*prompts[:1], *prompts]):
        chat = reader.chat
        began = time.perf_counter()
        reader.read_ids([cut.ids for cut in reader.cutter.cuts(prompt)[:-1]])
        cutting += (time.perf_counter() - began) * bool(n)
        cache = DynamicCache(config=chat.model.config)
        ids = torch.tensor([prompt], device=chat.device)
        for position in range(1, new_tokens + 1):
            started = time.perf_counter()
            length = cache.get_seq_length() + ids.shape[1]
            logits = next_logits(
                chat,
                reader.factor,
                input_ids=ids,
                attention_mask=torch.ones(1, length, dtype=torch.long, device=chat.device),
                position_ids=torch.arange(length - ids.shape[1], length, device=ids.device)[None],
                past_key_values=cache,
                use_cache=True,
            )
            ids = logits.argmax(dim=1, keepdim=True)
            int(ids)  # waits for the device
            between = time.perf_counter()
            due = position % every == 0
            if due:
                reader.peek(cache)
            if n:
                decoding += between - started
                checking += time.perf_counter() - between
                tokens, checks = tokens + 1, checks + due
    return Timing(
        ratio=checking / decoding if decoding else float("nan"),
        check_ms=1e3 * checking / checks if checks else float("nan"),
        token_ms=1e3 * decoding / tokens if tokens else float("nan"),
        checks=checks,
        tokens=tokens,
        prompt_ms=1e3 * cutting / len(prompts) if prompts else float("nan"),
    )
