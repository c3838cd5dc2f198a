"""Models that nobody tried by hand are read and sampled as they read themselves, or refused."""

import math
from dataclasses import replace

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

from sirl.config import EvaluateConfig
from sirl.errors import ModelError
from sirl.models.forward import is_packed, next_logits, plain_head, score
from sirl.models.trial import adopt
from sirl.registry.sampling import local_engine
from sirl.rollouts.trial import settle_sampler
from sirl.types import Prompt, Sampling

PROMPTS = [Prompt.user("a", "Hello!"), Prompt.user("b", "How do I bake a plum cake for six of us?")]
LINEAR = {
    "head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}
CONVOLVED = {"layer_types": ["conv", "full_attention"], "conv_L_cache": 3}
CHUNKED = {"head_dim": 8, "intermediate_size_mlp": 48, "num_local_experts": 2}
MAMBA = {"mamba_d_state": 8, "mamba_n_heads": 8, "mamba_d_head": 8, "mamba_n_groups": 1}
KINDS = {
    "qwen3_5_text": LINEAR | {"layer_types": ["linear_attention", "full_attention"]},
    "lfm2": CONVOLVED,
    "mamba": {"state_size": 4},
    "jamba": {
        "mamba_d_state": 8,
        "num_experts": 2,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "use_mamba_kernels": False,
    },
    "falcon_h1": MAMBA | {"mamba_d_ssm": 64},
    "gemma3_text": {"head_dim": 8, "sliding_window": 6},
    "gemma3n_text": {
        "head_dim": 8,
        "sliding_window": 6,
        "final_logit_softcapping": 3.0,
        "hidden_size_per_layer_input": 8,
        "num_kv_shared_layers": 0,
        "laurel_rank": 8,
        "intermediate_size": [48, 48],
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "llama4_text": CHUNKED | {"attention_chunk_size": 8},
    "exaone4": {"sliding_window": 6},
    "cohere2": {"head_dim": 8, "sliding_window": 6},
}
PACKED = {"gemma3_text", "exaone4"}


def model_of(embedded, kind, **settings):
    """A small random model of a kind, with the embedded model's tokenizer."""
    if kind not in CONFIG_MAPPING_NAMES:
        pytest.skip(f"this transformers has no {kind}")
    sizes = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "initializer_range": 0.4,
    }
    ids = {"bos_token_id": None, "eos_token_id": min(embedded.end_ids)}
    vocab = {"vocab_size": len(embedded.tokenizer), "pad_token_id": embedded.pad_id}
    if kind == "gemma3n_text":
        vocab["vocab_size_per_layer_input"] = vocab["vocab_size"]
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **(sizes | ids | vocab | settings))
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    # Many ends, so that some answers end before others.
    return replace(embedded, model=model, context=512, end_ids=frozenset(range(40, 500)))


def alone(chat, completion):
    """Log-probabilities and entropies of a completion by transformers alone."""
    ids = torch.tensor([[*completion.prompt_ids, *completion.token_ids]])
    with torch.no_grad():
        logits = chat.model(input_ids=ids, use_cache=False).logits[0].double()
    logprobs = logits[len(completion.prompt_ids) - 1 : -1].log_softmax(-1)
    chosen = logprobs.gather(1, torch.tensor(completion.token_ids).unsqueeze(1)).squeeze(1)
    return chosen, -(logprobs.exp() * logprobs).sum(-1)


@pytest.mark.parametrize("kind", KINDS)
def test_sampler_and_learner_say_of_a_token_what_transformers_says(embedded, kind):
    chat = model_of(embedded, kind, **KINDS[kind])
    adopt(chat)
    settle_sampler(chat, native=True)
    assert is_packed(chat.model) == (kind in PACKED)
    config = EvaluateConfig(model="embedded", out="x", new_tokens=12)
    given = local_engine(config, chat, Sampling()).sample(PROMPTS, group=3)
    assert len({len(c.token_ids) for c in given}) > 1
    for c, numbers in zip(given, score(chat, given), strict=True):
        logprobs, entropies = alone(chat, c)
        for found in (torch.tensor(c.logprobs), numbers.logprobs):
            assert (found - logprobs).abs().max() < 2e-3
        for found in (torch.tensor(c.entropies), numbers.entropies):
            assert (found - entropies).abs().max() < 2e-3


def test_a_model_whose_own_generate_errs_in_batches_is_refused(embedded):
    chat = model_of(embedded, "rwkv", attention_hidden_size=32)
    adopt(chat)
    assert chat.manner.padding == "right"
    assert chat.manner.notes[0].endswith("; batches are padded on the right instead")
    with pytest.raises(
        ModelError, match=r"generate\(\): its logits differ from those of a forward"
    ):
        settle_sampler(chat, native=True)


def test_a_hybrid_under_the_default_sampler_is_sampled_by_generate_and_says_so(embedded):
    chat = model_of(embedded, "lfm2", **CONVOLVED)
    adopt(chat)
    settle_sampler(chat, native=True)
    assert chat.manner.generates
    packing, cache = chat.manner.notes
    assert packing.endswith("; batches are padded instead")
    assert cache.endswith(": sampler=huggingface is used")


def test_a_cap_of_logits_that_has_no_known_name_is_found_by_trial(embedded):
    class Capped(type(embedded.model)):
        def forward(self, *rest, **named):
            out = super().forward(*rest, **named)
            out.logits = 3 * torch.tanh(out.logits / 3)
            return out

    embedded.model.__class__ = Capped
    adopt(embedded)
    assert plain_head(embedded.model) is None
    assert "post-processes its logits, so its full forward pass is used" in embedded.manner.notes[0]
    ids = torch.tensor([embedded.render(PROMPTS[0].messages)])
    with torch.no_grad():
        logits = next_logits(embedded, None, input_ids=ids)
    assert logits.abs().max() <= 3


def test_logits_that_are_no_numbers_are_named_at_load_and_while_sampling(embedded):
    engine = local_engine(
        EvaluateConfig(model="embedded", out="x", new_tokens=3), embedded, Sampling()
    )
    with torch.no_grad():
        embedded.model.get_output_embeddings().weight[7] = math.nan
    with pytest.raises(ModelError, match="gives logits that are not finite"):
        adopt(embedded)
    with pytest.raises(ModelError, match="not finite .NaN or infinity. for prompt a: its weights"):
        engine.sample(PROMPTS[:1])


def test_code_of_a_model_that_raises_is_a_sentence(embedded):
    def broken(_, inputs, named):
        if named.get("past_key_values") is not None:
            raise AttributeError("no such cache")
        return inputs, named

    embedded.model.model.register_forward_pre_hook(broken, with_kwargs=True)
    adopt(embedded)
    with pytest.raises(
        ModelError,
        match="neither by the native sampler nor by generate\\(\\): no such cache",
    ):
        settle_sampler(embedded, native=True)
