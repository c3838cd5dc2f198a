"""Teacher-forced forward passes: log-probabilities, entropies and losses of given completions.

A model that can is read packed: each distinct prompt once, no padding, the head a tile at a time.
Any other reads padded rows and gives its own logits. `sirl.models.trial` finds at load which it is.
Either way what comes out is flat: the predicted tokens, completion after completion.
"""

import inspect
from collections.abc import Callable, Sequence
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
    factor_of,
    logprobs_of,
    loss_of,
    numbers_of,
)
from sirl.models.packing import PACKED, pack
from sirl.types import Completion, Message

__all__ = [
    "Scorer",
    "answer_likelihoods",
    "decoder",
    "head_factor",
    "is_packed",
    "micro_batches",
    "next_logits",
    "own_logits",
    "packed_states",
    "padded_logits",
    "plain_head",
    "score",
    "score_logprobs",
]

SPARED = 4
"""Attention fetches a prompt's keys once a completion: at most so many times the budget."""
SCALES = (
    "final_logit_softcapping",
    "logit_scale",
    "logits_scaling",
    "logits_soft_cap",
    "output_multiplier_scale",
)
"""What models are known to do to their logits; a trial at load finds what has another name."""

HANDED = (
    "input_ids",
    "attention_mask",
    "position_ids",
    "past_key_values",
    "use_cache",
    "logits_to_keep",
)
"""What models are handed here; a model may know neither positions nor how to keep few logits."""


class Scorer(nn.Module):
    """A model as what it thinks of given completions; the module that is wrapped to be sharded."""

    def __init__(self, chat: ChatModel) -> None:
        super().__init__()
        self.model = chat.model
        self.chat = chat

    def forward(self, completions: Sequence[Completion], loss: TokenLoss) -> tuple[Tensor, Tensor]:
        """The loss over all predicted tokens, and their log-probabilities without a gradient."""
        return loss_of(predicted(self.chat, completions), loss)


def predicted(chat: ChatModel, completions: Sequence[Completion]) -> Predicted:
    """The predicted tokens of the completions, and what predicts them."""
    if is_packed(chat.model):
        return packed_states(chat, completions)
    return padded_logits(chat, completions, chat.manner.padding)


def is_packed(model: Any) -> bool:  # noqa: ANN401 - plain, or wrapped by peft
    """Whether a model is read packed."""
    return model.config._attn_implementation == PACKED and plain_head(model) is not None


def plain_head(model: Any) -> Tensor | None:  # noqa: ANN401 - plain, or wrapped by peft
    """The weight of a head that is a product and nothing else, None for any other."""
    head = model.get_output_embeddings()
    if head is None or manner_of(model).own_logits or scaled(model.config.to_dict()):
        return None
    bare = type(head).forward is nn.Linear.forward and head.bias is None
    return head.weight if bare and not (head._forward_hooks or head._forward_pre_hooks) else None


def scaled(config: object) -> bool:
    """Whether a configuration, or one inside it, names something that is done to logits.

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
    """The hidden state that predicts each token, of one packed row."""
    packed = pack(completions, chat.device)
    with chat.precision():
        hidden: Tensor = decoder(chat.model)(
            input_ids=packed.input_ids.unsqueeze(0),
            # Of four axes, so that it is handed through as it is; the layout says who sees whom.
            attention_mask=torch.ones(1, 1, 1, 1, dtype=torch.bool, device=chat.device),
            position_ids=packed.positions.unsqueeze(0),
            use_cache=False,
            sirl_layout=packed.layout,
        ).last_hidden_state[0]
    states = hidden[packed.predicting]
    return Predicted(packed.token_ids, states, plain_head(chat.model), chat.autocast)


def decoder(model: Any) -> Any:  # noqa: ANN401 - plain, or wrapped by peft
    """The model without its head."""
    return unwrapped(model).get_decoder()


def head_factor(chat: ChatModel) -> Factor | None:
    """A plain head as it is multiplied, made once for many tokens; None else."""
    weight = plain_head(chat.model)
    return None if weight is None else factor_of(weight, chat.autocast)


def next_logits(chat: ChatModel, factor: Factor | None, **inputs: Any) -> Tensor:  # noqa: ANN401 - of the model
    """Logits (rows x vocab) of the token after each row.

    Of a plain head they are in float32 or better: a bfloat16 model would round its own, and
    entropies with them. Any other head gives them as it does.
    """
    if factor is None:
        return own_logits(chat, 1, **inputs)[:, -1]
    with chat.precision():
        states: Tensor = decoder(chat.model)(**inputs).last_hidden_state[:, -1]
    # A row that is strided would be multiplied in a way of its own.
    return factor.logits(states.contiguous())


def own_logits(chat: ChatModel, last: int, **inputs: Any) -> Tensor:  # noqa: ANN401 - of the model
    """Logits (rows x last x vocab) of the last places, as the model's own forward pass gives them.

    A model that does not know `logits_to_keep` gives those of all places.
    """
    inputs["logits_to_keep"] = last
    known = parameters_of(type(unwrapped(chat.model)).forward)
    with chat.precision():
        logits: Tensor = chat.model(**{k: v for k, v in inputs.items() if k in known}).logits
    return logits[:, -last:]


@cache
def parameters_of(forward: Callable[..., Any]) -> frozenset[str]:
    """What the forward pass of a class of models takes, of what is handed to it here."""
    taken = inspect.signature(forward).parameters.values()
    every = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in taken)
    return frozenset(HANDED if every else [p.name for p in taken])


def padded_logits(
    chat: ChatModel, completions: Sequence[Completion], padding: Padding = "left"
) -> Predicted:
    """The logits that predict each token, of padded rows.

    The row before a completion's first token is the last of its prompt; the row after its last
    token predicts nothing that was sampled. Prompts padded on the left need the fewest logits;
    with all padding behind the row, nothing that mixes tokens forward can read it.
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
    # The end-of-turn token counts even where it shares its id with the padding.
    is_completion = is_completion[:, first:].to(chat.device)
    return Predicted(input_ids[:, first:][is_completion], logits[is_completion], None)


def score(
    chat: ChatModel, completions: Sequence[Completion], *, token_budget: int = 8192
) -> list[TokenNumbers]:
    """Per completion: log-probability, entropy and certainty of its tokens, in the given order."""
    rows = measured(chat, completions, token_budget, numbers_of)
    return [TokenNumbers(*row) for row in rows]


def score_logprobs(
    chat: ChatModel, completions: Sequence[Completion], token_budget: int = 8192
) -> list[Tensor]:
    """Per completion: log-probabilities of its tokens, which is what the KL penalty needs."""
    rows = measured(chat, completions, token_budget, lambda p: (logprobs_of(p),))
    return [logprobs for (logprobs,) in rows]


def answer_likelihoods(
    chat: ChatModel, conversations: Sequence[tuple[Message, ...]], answer: str
) -> list[float]:
    """Mean log-probability per token (nats) of an answer's text after each conversation.

    The answer is tokenized by itself, as it would be written from an open assistant turn.
    """
    ids = chat.encode(answer)
    given = [
        Completion("", chat.render(messages), ids, answer, (), (), "length")
        for messages in conversations
    ]
    return [float(logprobs.mean()) for logprobs in score_logprobs(chat, given)]


@torch.no_grad()
def measured(
    chat: ChatModel,
    completions: Sequence[Completion],
    token_budget: int,
    numbers: Callable[[Predicted], Sequence[Tensor]],
) -> list[list[Tensor]]:
    """What `numbers` makes of predicted tokens, cut to each completion, in the given order."""
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
    """Indices of the completions of each micro-batch: one prompt's together, like lengths near.

    A micro-batch reads at most `token_budget` tokens, each prompt once; as a rectangle, prompts
    once a completion, it holds at most four times as many, or, of a model that is read padded, as
    many; of a model that is read row by row it holds one. A completion that is longer stands
    alone. Whoever reads results back must put them where the indices say.
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
