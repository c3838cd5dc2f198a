"""Weight tampering: refusal ablation, fine-tuning, int8. Tests how deep the hardening is.

Each change works on a copy with the adapter merged. The changed model is evaluated like any other.
"""

import copy
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from sirl.errors import InputError, ModelError
from sirl.models.adapters import is_adapted
from sirl.models.chat import ChatModel
from sirl.models.forward import Scorer
from sirl.models.loading import old_names
from sirl.types import Completion, Prompt

__all__ = ["fine_tuned", "quantised", "refusal_direction", "without_refusal_direction"]

TOGETHER = 8
"""Batch size of fine-tuning."""
ROUNDED_AT_LEAST = 0.9
"""Minimum share of the weights that int8 must round; below it the model is hardly changed."""
LARGEST = 127
"""Symmetric int8: integers from -127 to 127."""


def without_refusal_direction(
    chat: ChatModel, harmful: Sequence[Prompt], harmless: Sequence[Prompt]
) -> ChatModel:
    """Ablate the refusal direction from the weights (Arditi et al., arXiv 2406.11717).

    All weights that write into the residual stream (embedding, attention and MLP outputs) are made
    orthogonal to the direction. A tied output head only reads the stream, so it is untied first and
    keeps its weights.

    Raises:
        InputError: There are no harmful or no harmless prompts.
        ModelError: The layers are not built like those of Llama, Qwen2, Qwen3 and Gemma.
    """
    direction = refusal_direction(chat, harmful, harmless)
    model = own_copy(chat)
    untie(model)
    with torch.no_grad():
        embedding = model.get_input_embeddings().weight
        embedding.copy_(orthogonal(embedding.T, direction).T)
        for writer in writers(chat, model):
            writer.weight.copy_(orthogonal(writer.weight, direction))
            if writer.bias is not None:
                writer.bias.copy_(orthogonal(writer.bias.unsqueeze(1), direction).squeeze(1))
    return replace(chat, model=model)


def refusal_direction(
    chat: ChatModel, harmful: Sequence[Prompt], harmless: Sequence[Prompt]
) -> Tensor:
    """Unit vector (width) from the mean activation of harmless prompts to that of harmful ones.

    Activations are residual-stream inputs at the last prompt token. Of the middle 60% of the
    layers, the one with the largest separation is used: difference of means over the standard
    deviation along the vector.

    Raises:
        InputError: There are no harmful or no harmless prompts.
        ModelError: The model has a single layer.
    """
    if not harmful or not harmless:
        raise InputError("a refusal direction needs harmful and harmless prompts: give both")
    bad, good = (torch.stack([stream(chat, p) for p in prompts]) for prompts in (harmful, harmless))
    layers = bad.shape[1] - 1
    middle = [i for i in range(1, layers) if layers <= 5 * i <= 4 * layers]
    if not middle:
        raise ModelError(f"{chat.name} has {layers} layer: a refusal direction needs two or more")
    found: list[tuple[float, Tensor]] = []
    for i in middle:
        direction = nn.functional.normalize(bad[:, i].mean(dim=0) - good[:, i].mean(dim=0), dim=0)
        one, other = bad[:, i] @ direction, good[:, i] @ direction
        spread = ((one.var(correction=0) + other.var(correction=0)) / 2).sqrt()
        apart = (one.mean() - other.mean()) / spread.clamp(min=1e-6)
        found.append((apart.item(), direction))
    return max(found, key=lambda pair: pair[0])[1]


@torch.no_grad()
def stream(chat: ChatModel, prompt: Prompt) -> Tensor:
    """Residual stream (layers + 1 x width, float32) at a prompt's last token."""
    ids = torch.tensor([chat.render(prompt.messages)], device=chat.device)
    with chat.precision():
        out = chat.model(
            input_ids=ids, use_cache=False, output_hidden_states=True, logits_to_keep=1
        )
    return torch.stack([state[0, -1].float() for state in out.hidden_states])


def orthogonal(written: Tensor, direction: Tensor) -> Tensor:
    """Columns (width x any) without their component along a unit vector; keeps the dtype."""
    wide = written.to(torch.promote_types(written.dtype, direction.dtype))
    along = direction.to(wide)
    return (wide - torch.outer(along, along @ wide)).to(written.dtype)


def writers(chat: ChatModel, model: Any) -> list[Any]:  # noqa: ANN401 - of whatever class
    """The linear layers that write into the residual stream.

    Raises:
        ModelError: The layers have other names, or scale their output.
    """
    try:
        layers = list(model.model.layers)
        found = [w for layer in layers for w in (layer.self_attn.o_proj, layer.mlp.down_proj)]
    except AttributeError as error:
        raise ModelError(
            f"the layers of {chat.name} have no self_attn.o_proj and mlp.down_proj ({error}): "
            "leave out the refusal direction"
        ) from error
    if any(hasattr(layer, "post_feedforward_layernorm") for layer in layers):
        raise ModelError(
            f"{chat.name} scales the output of its layers, so no weight change can remove a "
            "direction: leave out the refusal direction"
        )
    return found


def fine_tuned(
    chat: ChatModel,
    examples: Sequence[tuple[Prompt, str]],
    steps: int,
    learning_rate: float,
    seed: int,
) -> ChatModel:
    """Fine-tune a model for a few steps on (prompt, answer) pairs (Qi et al., arXiv 2310.03693).

    AdamW on all weights in float32, converted back afterwards. The loss is the mean over the
    answers' tokens, including the end of turn. Examples are reshuffled every epoch.

    Raises:
        InputError: There are no examples.
    """
    if not examples:
        raise InputError("fine-tuning needs examples of prompts and answers: give at least one")
    model = own_copy(chat)
    dtype = next(model.parameters()).dtype
    student = replace(chat, model=model.float().requires_grad_())
    scorer = Scorer(student)
    completions = [as_completion(chat, prompt, answer) for prompt, answer in examples]
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.0)
    random = Random(seed)
    waiting: list[Completion] = []
    for _ in range(steps):
        while len(waiting) < min(TOGETHER, len(completions)):
            waiting += random.sample(completions, len(completions))
        batch, waiting = waiting[:TOGETHER], waiting[TOGETHER:]
        with torch.enable_grad():
            loss, _ = scorer(batch, lambda logprobs, _: -logprobs.sum())
            (loss / sum(len(c.token_ids) for c in batch)).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return replace(chat, model=model.to(dtype))


def as_completion(chat: ChatModel, prompt: Prompt, answer: str) -> Completion:
    """A training example as a completion, with an end-of-turn token."""
    ids = chat.tokenizer(answer, add_special_tokens=False)["input_ids"]
    named = chat.tokenizer.eos_token_id
    end = named if named in chat.end_ids else min(chat.end_ids)
    rendered = chat.render(prompt.messages)
    return Completion(prompt.id, rendered, (*ids, end), answer, (), (), "stop")


def quantised(chat: ChatModel) -> ChatModel:
    """Simulate int8 quantisation (W8A8) in the model's precision.

    The weights of linear layers are rounded to 255 levels per output channel, and their inputs to
    255 levels per token (dynamic quantisation). Sums, norms, attention and the embedding are not
    quantised. Expert weights of a mixture, stored in one 3-D tensor, are rounded without their
    inputs (W8A16). The result is neither smaller nor faster.

    Raises:
        ModelError: Less than 90% of the multiplied weights are in layers of a known kind.
    """
    model = own_copy(chat)
    untie(model)
    looked_up = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    sizes = {id(p): p.numel() for p in model.parameters() if p.ndim > 1 and id(p) not in looked_up}
    with torch.no_grad():
        done = set[int]().union(*map(round_module, model.modules()))
    share = sum(n for key, n in sizes.items() if key in done) / max(1, sum(sizes.values()))
    if share < ROUNDED_AT_LEAST:
        raise ModelError(
            f"int8 would round {share:.0%} of the weights that {chat.name} multiplies by: its "
            "other layers are of unknown kinds; leave out int8"
        )
    return replace(chat, model=model)


def round_module(module: nn.Module) -> set[int]:
    """Round the weights of a layer in place; return their `id`s."""
    if isinstance(module, nn.Linear):
        module.weight.copy_(rounded(module.weight))
        module.register_forward_pre_hook(rounded_input)
        return {id(module.weight)}
    if isinstance(module, Conv1D):  # GPT-2's: inputs x outputs
        module.weight.copy_(rounded(module.weight.T).T)
        module.register_forward_pre_hook(rounded_input)
        return {id(module.weight)}
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return set()
    experts = [p for p in module.parameters(recurse=False) if p.ndim == 3]
    for weight in experts:
        # Experts x outputs x inputs; the last two are swapped if `is_transposed` is set.
        turned = bool(getattr(module, "is_transposed", False))
        wide = weight.mT if turned else weight
        done = rounded(wide)
        weight.copy_(done.mT if turned else done)
    return {id(weight) for weight in experts}


def rounded(values: Tensor) -> Tensor:
    """Round each row to 255 evenly spaced values, scaled to its largest absolute value.

    >>> rounded(torch.tensor([[127.0, 3.4, -0.6], [0.0, 0.0, 0.0]])).tolist()
    [[127.0, 3.0, -1.0], [0.0, 0.0, 0.0]]
    """
    wide = values.to(torch.promote_types(values.dtype, torch.float32))
    scale = wide.abs().amax(dim=-1, keepdim=True) / LARGEST
    steps = (wide / scale.where(scale > 0, 1.0)).round()
    return (steps * scale).to(values.dtype)


def rounded_input(_: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    """Forward pre-hook that rounds the input of a linear layer."""
    return (rounded(inputs[0]),)


def own_copy(chat: ChatModel) -> Any:  # noqa: ANN401 - a model of whatever class
    """A deep copy of the model with its adapter merged."""
    model = copy.deepcopy(chat.model)
    if is_adapted(chat):
        with old_names():
            model = model.merge_and_unload()
    return model.eval()


def untie(model: Any) -> None:  # noqa: ANN401 - a model of whatever class
    """Untie the output head from the embedding in place."""
    head = model.get_output_embeddings()
    if head.weight is model.get_input_embeddings().weight:
        head.weight = nn.Parameter(head.weight.detach().clone())
        model.config.tie_word_embeddings = False
