"""Teacher-forced forward passes: log-probabilities, entropies and losses of given completions.

Models that support it run packed: each distinct prompt once, no padding, the head in tiles. Others
run on padded batches with their own logits; `sirl.models.trial` decides when a model is loaded.
Results are flat: the predicted tokens, completion after completion.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from sirl.entropy import TokenNumbers
from sirl.models.chat import ChatModel, Padding, manner_of, unwrapped
from sirl.models.head import (
    Factor,
    Predicted,
    TokenLoss,
    distributions_of,
    factor_of,
    logprobs_of,
    loss_of,
    numbers_of,
)
from sirl.models.packing import PACKED, Packed, Tree, pack
from sirl.types import Completion, Message

__all__ = [
    "SPARED",
    "Scorer",
    "answer_likelihoods",
    "decoder",
    "head_factor",
    "is_packed",
    "micro_batches",
    "next_logits",
    "next_logprobs",
    "own_logits",
    "packed_states",
    "padded_logits",
    "plain_head",
    "run_packed",
    "score",
    "score_logprobs",
]

SPARED = 4
"""Limit on the unpacked size of a micro-batch, in token budgets: attention reads the keys of a
shared prompt once per completion."""
SCALES = (
    "final_logit_softcapping",
    "logit_scale",
    "logits_scaling",
    "logits_soft_cap",
    "output_multiplier_scale",
)
"""Config keys of known logit post-processing; the trial at load finds the rest."""

HANDED = (
    "input_ids",
    "attention_mask",
    "position_ids",
    "past_key_values",
    "use_cache",
    "logits_to_keep",
)
"""Optional forward arguments that some models lack."""


class Scorer(nn.Module):
    """Module whose forward returns loss and log-probs of completions; DDP and FSDP wrap it."""

    def __init__(self, chat: ChatModel) -> None:
        super().__init__()
        self.model = chat.model
        self.chat = chat

    def forward(self, completions: Sequence[Completion], loss: TokenLoss) -> tuple[Tensor, Tensor]:
        """The loss over all predicted tokens, and their detached log-probabilities."""
        return loss_of(predicted(self.chat, completions), loss)


def predicted(chat: ChatModel, completions: Sequence[Completion]) -> Predicted:
    """The predicted tokens with their hidden states or logits."""
    if is_packed(chat.model):
        return packed_states(chat, completions)
    return padded_logits(chat, completions, chat.manner.padding)


def is_packed(model: Any) -> bool:  # noqa: ANN401 - plain, or wrapped by peft
    """Whether a model runs packed."""
    return model.config._attn_implementation == PACKED and plain_head(model) is not None


def plain_head(model: Any) -> Tensor | None:  # noqa: ANN401 - plain, or wrapped by peft
    """The weight of a plain linear head; None for any other head."""
    head = model.get_output_embeddings()
    if head is None or manner_of(model).own_logits or scaled(model.config.to_dict()):
        return None
    bare = type(head).forward is nn.Linear.forward and head.bias is None
    return head.weight if bare and not (head._forward_hooks or head._forward_pre_hooks) else None


def scaled(config: object) -> bool:
    """Whether a config, or a nested one, names post-processing of logits.

    >>> scaled({"text_config": {"final_logit_softcapping": 30.0}})
    True
    >>> scaled({"final_logit_softcapping": None, "text_config": {"logit_scale": 1.0}})
    False
    """
    if not isinstance(config, dict):
        return False
    return any(config.get(name) not in (None, 1.0) for name in SCALES) or any(
        scaled(part) for part in config.values()
    )


def packed_states(chat: ChatModel, completions: Sequence[Completion]) -> Predicted:
    """Hidden states that predict the tokens, from one packed row."""
    packed = pack(completions, chat.device)
    states = run_packed(chat, packed).last_hidden_state[0, packed.predicting]
    return Predicted(packed.token_ids, states, plain_head(chat.model), chat.autocast)


def run_packed(chat: ChatModel, packed: Packed | Tree, **options: Any) -> Any:  # noqa: ANN401 - of the model
    """The output of the model without its head for one packed row."""
    with chat.precision():
        return decoder(chat.model)(
            input_ids=packed.input_ids.unsqueeze(0),
            # transformers passes a 4-D mask through; visibility comes from the packed layout.
            attention_mask=torch.ones(1, 1, 1, 1, dtype=torch.bool, device=chat.device),
            position_ids=packed.positions.unsqueeze(0),
            use_cache=False,
            sirl_layout=packed.layout,
            **options,
        )


def decoder(model: Any) -> Any:  # noqa: ANN401 - plain, or wrapped by peft
    """The model without its head."""
    return unwrapped(model).get_decoder()


def head_factor(chat: ChatModel) -> Factor | None:
    """A plain head prepared for products; None for any other head."""
    weight = plain_head(chat.model)
    return None if weight is None else factor_of(weight, chat.autocast)


def next_logits(chat: ChatModel, factor: Factor | None, **inputs: Any) -> Tensor:  # noqa: ANN401 - of the model
    """Logits (rows x vocab) of the token after each row.

    A plain head gives float32 or better, since a bfloat16 model would round its own logits, and
    entropies with them. Any other head gives its own.
    """
    if factor is None:
        return own_logits(chat, 1, **inputs)[:, -1]
    with chat.precision():
        states: Tensor = decoder(chat.model)(**inputs).last_hidden_state[:, -1]
    # Non-contiguous rows use another GEMM kernel, which changes the last bits.
    return factor.logits(states.contiguous())


def own_logits(chat: ChatModel, last: int, **inputs: Any) -> Tensor:  # noqa: ANN401 - of the model
    """Logits (rows x last x vocab) of the last positions, from the model's own forward pass.

    A model without `logits_to_keep` returns those of all positions.
    """
    inputs["logits_to_keep"] = last
    known = parameters_of(type(unwrapped(chat.model)).forward)
    with chat.precision():
        logits: Tensor = chat.model(**{k: v for k, v in inputs.items() if k in known}).logits
    return logits[:, -last:]


@cache
def parameters_of(forward: Callable[..., Any]) -> frozenset[str]:
    """The optional arguments that the forward of a model class accepts."""
    taken = inspect.signature(forward).parameters.values()
    every = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in taken)
    return frozenset(HANDED if every else [p.name for p in taken])


def padded_logits(
    chat: ChatModel, completions: Sequence[Completion], padding: Padding = "left"
) -> Predicted:
    """The logits that predict each token, of padded rows.

    The last prompt position predicts the first token of the completion; the position of its last
    token predicts nothing. Left padding needs the fewest logits; right padding is invisible to
    layers that mix tokens causally.
    """
    prompt = max(len(c.prompt_ids) for c in completions)
    width = prompt + max(len(c.token_ids) for c in completions)
    input_ids = torch.full((len(completions), width), chat.pad_id)
    is_token = torch.zeros_like(input_ids, dtype=torch.bool)
    is_completion = torch.zeros_like(is_token)
    for row, c in enumerate(completions):
        start = 0 if padding == "right" else prompt - len(c.prompt_ids)
        own = start + len(c.prompt_ids)
        end = own + len(c.token_ids)
        input_ids[row, start:end] = torch.tensor([*c.prompt_ids, *c.token_ids])
        is_token[row, start:end] = True
        is_completion[row, own:end] = True
    first = min(len(c.prompt_ids) for c in completions) if padding == "right" else prompt
    input_ids, is_token = input_ids.to(chat.device), is_token.to(chat.device)
    logits = own_logits(
        chat,
        width - first + 1,
        input_ids=input_ids,
        attention_mask=is_token.long(),
        position_ids=(is_token.long().cumsum(dim=1) - 1).clamp(min=0),
        use_cache=False,
    )[:, :-1]
    # The end-of-turn token counts even if its id is also the padding id.
    is_completion = is_completion[:, first:].to(chat.device)
    return Predicted(input_ids[:, first:][is_completion], logits[is_completion], None)


def score(
    chat: ChatModel, completions: Sequence[Completion], *, token_budget: int = 8192
) -> list[TokenNumbers]:
    """Per completion: log-probability, entropy and certainty of its tokens, in the given order."""
    rows = numbers_by_completion(chat, completions, token_budget, numbers_of)
    return [TokenNumbers(*row) for row in rows]


def score_logprobs(
    chat: ChatModel, completions: Sequence[Completion], token_budget: int = 8192
) -> list[Tensor]:
    """Per completion: log-probabilities of its tokens, for the KL penalty."""
    rows = numbers_by_completion(chat, completions, token_budget, lambda p: (logprobs_of(p),))
    return [logprobs for (logprobs,) in rows]


def next_logprobs(
    chat: ChatModel, completions: Sequence[Completion], token_budget: int = 8192
) -> list[Tensor]:
    """Per completion: log-probabilities of the vocabulary at its first token, in nats.

    Only the prompt ids are read.
    """
    firsts = [replace(c, token_ids=(0,)) for c in completions]
    rows = numbers_by_completion(chat, firsts, token_budget, lambda p: (distributions_of(p),))
    return [distribution[0] for (distribution,) in rows]


def answer_likelihoods(
    chat: ChatModel, conversations: Sequence[tuple[Message, ...]], answer: str
) -> list[float]:
    """Mean log-probability per token (nats) of an answer's text after each conversation.

    The answer is tokenized separately, as in an open assistant turn.
    """
    ids = chat.encode(answer)
    given = [
        Completion("", chat.render(messages), ids, answer, (), (), "length")
        for messages in conversations
    ]
    return [float(logprobs.mean()) for logprobs in score_logprobs(chat, given)]


@torch.no_grad()
def numbers_by_completion(
    chat: ChatModel,
    completions: Sequence[Completion],
    token_budget: int,
    numbers: Callable[[Predicted], Sequence[Tensor]],
) -> list[list[Tensor]]:
    """Apply `numbers` to the predicted tokens and split the result by completion, in order."""
    found: dict[int, list[Tensor]] = {}
    for rows in micro_batches(chat, completions, token_budget):
        chosen = [completions[i] for i in rows]
        lengths = [len(c.token_ids) for c in chosen]
        columns = [torch.split(c, lengths) for c in numbers(predicted(chat, chosen))]
        for place, i in enumerate(rows):
            found[i] = [column[place] for column in columns]
    return [found[i] for i in range(len(completions))]


def micro_batches(
    chat: ChatModel, completions: Sequence[Completion], token_budget: int
) -> list[list[int]]:
    """Indices of the completions of each micro-batch: grouped by prompt, then by length.

    A packed micro-batch holds at most `token_budget` tokens, shared prompts counted once, and at
    most four times as many when unpacked. A padded one holds at most `token_budget` including
    padding; a model without padding gets one row. A longer completion gets its own micro-batch.
    Results come back in the order of these indices.
    """
    packed = is_packed(chat.model)
    together = packed or chat.manner.padding != "none"
    spared = SPARED if packed else 1
    longest: dict[tuple[int, ...], int] = {}
    for c in completions:
        longest[c.prompt_ids] = max(longest.get(c.prompt_ids, 0), len(c.token_ids))

    def place(i: int) -> tuple[int, tuple[int, ...], int]:
        prompt = completions[i].prompt_ids
        return len(prompt) + longest[prompt], prompt, i

    batches: list[list[int]] = []
    prompts: set[tuple[int, ...]] = set()
    read = wide = seq = 0
    for i in sorted(range(len(completions)), key=place):
        prompt, own = completions[i].prompt_ids, len(completions[i].token_ids)
        reads = read + own + (0 if prompt in prompts else len(prompt))
        side = max(wide, len(prompt)) + max(seq, own)
        room = together and bool(batches) and side * (len(batches[-1]) + 1) <= spared * token_budget
        if room and reads <= token_budget:
            batches[-1].append(i)
            prompts.add(prompt)
            read, wide, seq = reads, max(wide, len(prompt)), max(seq, own)
        else:
            batches.append([i])
            prompts = {prompt}
            read, wide, seq = len(prompt) + own, len(prompt), own
    return batches
