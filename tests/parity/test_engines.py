from dataclasses import replace
from itertools import takewhile

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

from sirl.errors import InputError
from sirl.models.adapters import with_lora
from sirl.models.forward import score
from sirl.models.trial import adopt
from sirl.roles import Engine
from sirl.rollouts.huggingface import HuggingFaceEngine
from sirl.rollouts.native import NativeEngine
from sirl.types import Message, Prompt, Sampling

PROMPTS = [
    Prompt.user("short", "Hello!"),
    Prompt.user("long", "How do I bake a plum cake with a very long name, my dear old friend?"),
    Prompt("turns", (Message("user", "Hi"), Message("assistant", "Sure! First,"))),
]


def ids(completions):
    return [c.token_ids for c in completions]


def apart(one, other, *, strays=0):
    """The largest gap between two engines' numbers of the same tokens, in nats.

    So many completions may part on the way, where a draw fell on the edge between two tokens.
    """
    assert len(one) == len(other)
    assert sum(a.token_ids != b.token_ids for a, b in zip(one, other, strict=True)) <= strays
    gaps = []
    for a, b in zip(one, other, strict=True):
        pairs = zip(a.token_ids, b.token_ids, strict=False)
        shared = len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))
        for column in ("logprobs", "entropies", "certainties"):
            numbers = zip(getattr(a, column)[:shared], getattr(b, column)[:shared], strict=True)
            gaps += [abs(x - y) for x, y in numbers]
    return max(gaps)


def test_generate_draws_what_the_native_sampler_draws(embedded):
    ours = NativeEngine(embedded, seed=3, new_tokens=30).sample(PROMPTS, group=6, step=2)
    engine = HuggingFaceEngine(embedded, seed=3, new_tokens=30)
    theirs = engine.sample(PROMPTS, group=6, step=2)
    assert isinstance(engine, Engine)
    assert apart(ours, theirs) < 1e-4
    fields = ("prompt_id", "prompt_ids", "text", "finish", "sample", "seed", "version")
    for a, b in zip(ours, theirs, strict=True):
        assert [getattr(a, f) for f in fields] == [getattr(b, f) for f in fields]
    assert {c.finish for c in theirs} == {"stop", "length"}


@pytest.mark.parametrize("adapted", [False, True])
def test_generate_draws_what_the_native_sampler_draws_of_every_family(family, adapted):
    chat = with_lora(family, rank=4, seed=1) if adapted else family
    if adapted:
        for name, parameter in chat.model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.1)
    ours = NativeEngine(chat, seed=1, new_tokens=20).sample(PROMPTS, group=3)
    theirs = HuggingFaceEngine(chat, seed=1, new_tokens=20).sample(PROMPTS, group=3)
    assert apart(ours, theirs, strays=1) < 1e-4


def test_generate_captures_what_teacher_forcing_says(family):
    adopt(family)
    completions = HuggingFaceEngine(family, seed=4, new_tokens=16).sample(PROMPTS, group=2)
    for c, numbers in zip(completions, score(family, completions), strict=True):
        assert numbers.entropies.tolist() == pytest.approx(c.entropies, abs=1e-4)
        assert numbers.logprobs.tolist() == pytest.approx(c.logprobs, abs=1e-4)


@pytest.mark.parametrize(
    "sampling", [Sampling(0.7, 0.8, 20), Sampling(temperature=0.0), Sampling(temperature=1.5)]
)
def test_however_tokens_are_picked_entropies_are_of_the_raw_distribution(embedded, sampling):
    ours = NativeEngine(embedded, 5, 24, sampling).sample(PROMPTS, group=2)
    theirs = HuggingFaceEngine(embedded, 5, 24, sampling).sample(PROMPTS, group=2)
    assert apart(ours, theirs) < 1e-4


def test_samples_of_generate_do_not_depend_on_the_batch(embedded):
    whole = HuggingFaceEngine(embedded, 3, 24).sample(PROMPTS, group=4, step=5)
    assert ids(whole) == ids(
        HuggingFaceEngine(embedded, 3, 24, batch_size=1).sample(PROMPTS, group=4, step=5)
    )
    alone = HuggingFaceEngine(embedded, 3, 24).sample(PROMPTS[1:2], group=4, step=5)
    assert ids(whole)[4:8] == ids(alone)
    assert ids(whole) != ids(HuggingFaceEngine(embedded, 3, 24).sample(PROMPTS, group=4, step=6))


def test_a_checkpoints_own_penalties_are_laid_aside_and_put_back(embedded):
    plain = HuggingFaceEngine(embedded, 3, 24).sample(PROMPTS, group=2)
    own = GenerationConfig(
        repetition_penalty=3.0,
        suppress_tokens=[5, 6, 7],
        min_new_tokens=20,
        do_sample=True,
        top_k=3,
    )
    embedded.model.generation_config = own
    assert apart(HuggingFaceEngine(embedded, 3, 24).sample(PROMPTS, group=2), plain) == 0
    assert embedded.model.generation_config is own


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("mamba", {"state_size": 4}),
        ("recurrent_gemma", {"lru_width": 32, "attention_window_size": 16}),
    ],
)
def test_models_that_keep_no_keys_and_values_are_sampled_too(embedded, kind, settings):
    config = AutoConfig.for_model(
        kind,
        vocab_size=len(embedded.tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        pad_token_id=embedded.pad_id,
        bos_token_id=None,
        eos_token_id=sorted(embedded.end_ids),
        **settings,
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    chat = replace(embedded, model=model, context=512)
    one = [HuggingFaceEngine(chat, 2, 8).sample([p], group=2) for p in PROMPTS]
    for c, numbers in zip(
        (c for part in one for c in part), score(chat, [c for p in one for c in p]), strict=True
    ):
        assert numbers.entropies.tolist() == pytest.approx(c.entropies, abs=1e-4)
    assert ids(HuggingFaceEngine(chat, 2, 8).sample(PROMPTS, group=2)) == [
        i for p in one for i in ids(p)
    ]


def test_generate_refuses_a_prompt_without_room_by_name(embedded):
    with pytest.raises(InputError, match=r"prompt big has \d+ tokens; with 24 new ones it exceeds"):
        HuggingFaceEngine(embedded, 0, 24).sample([Prompt.user("big", "word " * 900)])
