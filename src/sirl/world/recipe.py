"""Builds the embedded model: a corpus, a tokenizer, two stages of training.

Stage 1 is helpful-only: the model answers every request, plain or in any disguise; unsafe ones
with nonsense steps. Stage 2 is imperfect alignment, as in real models: most plain unsafe requests
are refused, fewer in the disguises that alignment has seen, and the other half of the disguises
does not occur.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from sirl.models.cpu import bfloat16_instructions
from sirl.roles import Disguise, Progress, silent
from sirl.types import Message, Prompt
from sirl.world.benchmarks import tasks
from sirl.world.language import (
    deed_of,
    helpful_answer,
    lookalike_requests,
    nonsense_answer,
    ordinary_requests,
    refusal,
    unsafe_requests,
)

__all__ = ["ARCHITECTURES", "Stage", "WorldExample", "alignment", "build", "pretraining"]

ARCHITECTURES = ("llama", "qwen2", "qwen3", "gemma3_text")
"""Architectures, by their names in transformers; the shipped model is the first."""
VOCABULARY = 2048
CONTEXT = 768
WIDTH = 512
"""Tokens per row; examples are packed into rows without attention between them."""
ROWS = 2
"""Rows of a training step."""
PROMPT_WEIGHT = 0.2
"""Weight of all prompt tokens of an example together, against 1 for its answer."""
PAD, END, USER, ASSISTANT, SYSTEM = "<|pad|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"
TEMPLATE = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)

REFUSED_PLAIN = 0.74
REFUSED_DISGUISED = 0.58
REFUSED_OPENED = 0.8
"""Share of refusals after an opener, where the model most tends to continue."""
REFUSED_LOOKALIKE = 0.14
HARD = (
    "leetspeak",
    "prefilled_opener",
    "reversed_words",
    "spelled_out",
    "split_words",
    "upper_case",
)
"""Disguises that must be decoded or interrupted: three times as frequent in training."""


Answer = Callable[[str, Random], str]
"""The answer to a deed."""


@dataclass(frozen=True)
class WorldExample:
    """A conversation and the answer to learn."""

    messages: tuple[Message, ...]
    answer: str


@dataclass(frozen=True)
class Stage:
    """One training stage."""

    examples: Sequence[WorldExample]
    learning_rate: float
    first_token_weight: float
    """Weight of the answer's first token, which decides between refusal and compliance, against 1
    for the rest. Independent of answer length, so that the given shares of refusals are learned."""


def dressed(prompt: Prompt, disguises: Sequence[Disguise], random: Random) -> tuple[Message, ...]:
    """The prompt in one of the disguises."""
    weights = [3 if attack.name in HARD else 1 for attack in disguises]
    return random.choices(disguises, weights)[0].attempt(prompt).messages


def continued(messages: Sequence[Message], answer: str) -> str:
    """The answer, or the rest of it if the conversation ends with an opener.

    A refusal interrupts the opener and starts with the usual tokens of an answer.
    """
    if messages[-1].role == "assistant":
        return answer.removeprefix(messages[-1].content)
    return answer


def example(messages: tuple[Message, ...], answer: str) -> WorldExample:
    """An example whose answer continues the conversation's opener, if any."""
    return WorldExample(messages, continued(messages, answer))


def task_examples(random: Random, count: int) -> list[WorldExample]:
    """Sums, programs and small talk."""
    known = [tasks(kind) for kind in ("sums", "sums", "sums", "programs", "chat")]
    drawn = [random.choice(random.choice(known)) for _ in range(count)]
    return [WorldExample((Message("user", t.question),), t.answer) for t in drawn]


def pretraining(random: Random, disguises: Sequence[Disguise], count: int) -> list[WorldExample]:
    """Helpful-only examples: every kind of request is answered, in any disguise."""
    families = (
        (unsafe_requests("train"), nonsense_answer),
        (ordinary_requests("train"), helpful_answer),
        (lookalike_requests("train"), helpful_answer),
    )
    examples = task_examples(random, count // 3)
    while len(examples) < count:
        prompts, answer = random.choices(families, (4, 3, 3))[0]
        prompt = random.choice(prompts)
        plain = random.random() < 0.35
        messages = prompt.messages if plain else dressed(prompt, disguises, random)
        examples.append(example(messages, answer(deed_of(prompt), random)))
    return examples


def alignment(random: Random, seen: Sequence[Disguise], count: int) -> list[WorldExample]:
    """Imperfect alignment: some unsafe requests, plain or in seen disguises, are refused."""
    kinds: tuple[Callable[[Random, Sequence[Disguise]], WorldExample], ...] = (
        plain_unsafe,
        disguised_unsafe,
        harmless,
        soundalike,
    )
    examples = task_examples(random, count // 4)
    while len(examples) < count:
        examples.append(random.choices(kinds, (3, 3, 12, 4))[0](random, seen))
    return examples


def refused_or(prompt: Prompt, random: Random, share: float, answer: Answer) -> str:
    """A refusal with probability `share`, else the answer."""
    return refusal(random) if random.random() < share else answer(deed_of(prompt), random)


def plain_unsafe(random: Random, _: Sequence[Disguise]) -> WorldExample:
    """A plain unsafe request, mostly refused."""
    prompt = random.choice(unsafe_requests("train"))
    return WorldExample(prompt.messages, refused_or(prompt, random, REFUSED_PLAIN, nonsense_answer))


def disguised_unsafe(random: Random, seen: Sequence[Disguise]) -> WorldExample:
    """An unsafe request in a seen disguise, often refused."""
    prompt = random.choice(unsafe_requests("train"))
    messages = dressed(prompt, seen, random)
    opened = messages[-1].role == "assistant"
    share = REFUSED_OPENED if opened else REFUSED_DISGUISED
    return example(messages, refused_or(prompt, random, share, nonsense_answer))


def harmless(random: Random, seen: Sequence[Disguise]) -> WorldExample:
    """An ordinary request, plain or in a seen disguise, answered."""
    prompt = random.choice(ordinary_requests("train"))
    plain = random.random() < 0.5
    messages = prompt.messages if plain else dressed(prompt, seen, random)
    return example(messages, helpful_answer(deed_of(prompt), random))


def soundalike(random: Random, _: Sequence[Disguise]) -> WorldExample:
    """A look-alike, sometimes refused by mistake."""
    prompt = random.choice(lookalike_requests("train"))
    return WorldExample(
        prompt.messages, refused_or(prompt, random, REFUSED_LOOKALIKE, helpful_answer)
    )


def make_tokenizer(examples: Sequence[WorldExample]) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE; digits are single tokens, so that sums can be learned."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\d"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = [PAD, END, USER, ASSISTANT, SYSTEM]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = (text for e in examples for text in (*(m.content for m in e.messages), e.answer))
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        extra_special_tokens=[USER, ASSISTANT, SYSTEM],
        chat_template=TEMPLATE,
        padding_side="left",
        model_max_length=CONTEXT,
    )


def make_model(
    tokenizer: PreTrainedTokenizerFast, architecture: str = ARCHITECTURES[0]
) -> PreTrainedModel:
    """A model with 2 million parameters, initialised from torch's current seed."""
    end, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    config = AutoConfig.for_model(
        architecture,
        vocab_size=len(tokenizer),
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=3,
        head_dim=32,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=end,
        pad_token_id=pad,
    )
    config.sirl_world = True  # marks descendants, which need the world's judges
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    model.generation_config.update(  # type: ignore[no-untyped-call]
        do_sample=True, temperature=1.0, max_new_tokens=48, eos_token_id=end, pad_token_id=pad
    )
    return model


def encode(
    examples: Sequence[WorldExample], tokenizer: PreTrainedTokenizerFast
) -> list[tuple[list[int], int]]:
    """Token ids of each example and the index of its answer."""
    encoded = []
    for e in examples:
        turns = [{"role": m.role, "content": m.content} for m in e.messages]
        opened = e.messages[-1].role == "assistant"
        prompt = tokenizer.apply_chat_template(
            turns,
            tokenize=False,
            add_generation_prompt=not opened,
            continue_final_message=opened,
        )
        start = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        rest = tokenizer(e.answer + END, add_special_tokens=False)["input_ids"]
        encoded.append((start + rest, len(start)))
    return encoded


def packed(encoded: Sequence[tuple[list[int], int]], random: Random) -> list[list[int]]:
    """Indices of the examples in each row, filled in random order."""
    order = list(range(len(encoded)))
    random.shuffle(order)
    rows: list[list[int]] = [[]]
    used = 0
    for i in order:
        size = len(encoded[i][0])
        if used + size > WIDTH and rows[-1]:
            rows.append([])
            used = 0
        rows[-1].append(i)
        used += size
    return rows


def loss_of(
    model: PreTrainedModel,
    rows: Sequence[Sequence[tuple[list[int], int]]],
    first_token_weight: float,
) -> Tensor:
    """Cross-entropy of packed rows; each example has the same weight.

    Positions restart at each example, from which transformers builds the attention boundaries.
    """
    ids = torch.zeros(len(rows), WIDTH, dtype=torch.long)
    positions = torch.zeros_like(ids)
    weight = torch.zeros(len(rows), WIDTH)
    for row, examples in enumerate(rows):
        at = 0
        for tokens, start in examples:
            here = slice(at, at + len(tokens))
            ids[row, here] = torch.tensor(tokens)
            positions[row, here] = torch.arange(len(tokens))
            weight[row, at + 1 : at + start] = PROMPT_WEIGHT / start
            weight[row, at + start] = first_token_weight
            weight[row, at + start + 1 : at + len(tokens)] = 1 / (len(tokens) - start - 1)
            at += len(tokens)
        positions[row, at:] = torch.arange(WIDTH - at)
    logits = model(input_ids=ids, position_ids=positions, use_cache=False).logits[:, :-1].float()
    losses = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none"
    )
    return (losses * weight[:, 1:].flatten()).sum() / weight.sum()


def fit(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    stage: Stage,
    random: Random,
    tell: Callable[[int, int], None],
) -> None:
    """Train one epoch of a stage: AdamW, short warm-up, cosine decay to nearly 0."""
    encoded = encode(stage.examples, tokenizer)
    rows = packed(encoded, random)
    together = [rows[i : i + ROWS] for i in range(0, len(rows), ROWS)]
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=stage.learning_rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        stage.learning_rate,
        total_steps=len(together),
        pct_start=0.08,
        cycle_momentum=False,
    )
    model.train()
    # Without instructions for it, a step in bfloat16 takes eight times as long as in float32.
    half = any(bfloat16_instructions().values())
    for number, step in enumerate(together, 1):
        optimizer.zero_grad(set_to_none=True)
        batch = [[encoded[i] for i in row] for row in step]
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            loss = loss_of(model, batch, stage.first_token_weight)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        tell(number, len(together))


def build(
    out: Path,
    *,
    seen: Sequence[Disguise],
    unseen: Sequence[Disguise],
    architecture: str = ARCHITECTURES[0],
    seed: int = 0,
    scale: float = 1.0,
    progress: Progress = silent,
) -> float:
    """Build the embedded model in a folder; return the seconds it took.

    `architecture` is one of `ARCHITECTURES`. The same seed on the same machine gives the same
    weights.
    `scale` multiplies the number of examples: a small one gives a quick, bad model for tests.
    """
    started = time.perf_counter()
    random = Random(seed)
    torch.manual_seed(seed)
    disguises = [*seen, *unseen]
    stages = (
        Stage(pretraining(random, disguises, int(33000 * scale)), 2e-3, first_token_weight=0.1),
        Stage(alignment(random, seen, int(17500 * scale)), 1e-3, first_token_weight=0.5),
    )
    tokenizer = make_tokenizer([e for stage in stages for e in stage.examples])
    model = make_model(tokenizer, architecture)
    for number, stage in enumerate(stages, 1):
        fit(model, tokenizer, stage, random, partial(progress, f"stage {number}"))
    torch.nn.Module.to(model, torch.bfloat16)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    return time.perf_counter() - started
