"""States of the tokens that the user wrote, pooled over windows of several tokens.

A suffix cannot change the states of the request before it, so a probe on them sees a request that
a search has led the model to answer.
"""

from collections.abc import Sequence

import numpy as np
import torch

from sirl.guard.checks import CheckReader
from sirl.models.chat import ChatModel
from sirl.rollouts.local import left_padded
from sirl.types import Message

__all__ = ["SPAN", "edges", "user_windows"]

SPAN = 4
"""Tokens of a window."""
PROBES = ("One of the two.", "Another text 2?")
"""Two texts that have no first and no last token in common."""


def edges(chat: ChatModel) -> tuple[int, int]:
    """Tokens that the chat template writes before and after the text of a single user turn."""
    one, other = (chat.render((Message("user", text),)) for text in PROBES)
    shortest = min(len(one), len(other))
    head = next((n for n in range(shortest) if one[n] != other[n]), 0)
    tail = next((n for n in range(shortest) if one[-1 - n] != other[-1 - n]), 0)
    return head, tail


@torch.inference_mode()
def user_windows(reader: CheckReader, prompts: Sequence[Sequence[int]]) -> list[np.ndarray]:
    """The mean states of every window of each prompt: windows x layers x width, float32.

    The tokens are those between the edges of the template; of a conversation with several turns
    they include the earlier turns.
    """
    chat, found = reader.chat, dict[int, np.ndarray]()
    head, tail = edges(chat)
    for chosen in reader.batches([tuple(p) for p in prompts]):
        ids, is_token = left_padded(chat, [tuple(prompts[i]) for i in chosen])
        states = reader.hidden(
            input_ids=ids,
            attention_mask=is_token,
            position_ids=(is_token.cumsum(dim=1) - 1).clamp(min=0),
            use_cache=False,
        )
        for row, i in enumerate(chosen):
            length = len(prompts[i])
            first = ids.shape[1] - length + min(head, length - 1)
            last = max(first + 1, ids.shape[1] - tail)
            own = torch.stack([s[row, first:last] for s in states], dim=1)
            found[i] = windows(own.float().cpu().numpy())
    return [found[i] for i in range(len(prompts))]


def windows(states: np.ndarray) -> np.ndarray:
    """Means of SPAN neighbouring rows; of all rows if they are fewer.

    >>> windows(np.array([0.0, 2.0, 4.0, 6.0, 8.0])[:, None, None])[:, 0, 0].tolist()
    [3.0, 5.0]
    """
    span = min(SPAN, len(states))
    sums = np.concatenate([np.zeros_like(states[:1]), states.cumsum(axis=0, dtype=np.float64)])
    means: np.ndarray = ((sums[span:] - sums[:-span]) / span).astype(np.float32)
    return means
