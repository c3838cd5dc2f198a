"""Checkpoints that lie about themselves end in a sentence, or are read as what they are."""

import json
import shutil

import pytest
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from sirl.errors import InputError, ModelError
from sirl.models.adapters import with_lora
from sirl.models.folder import EMBEDDED_PATH
from sirl.models.loading import load
from sirl.types import Message

ADAPTER = "adapter_model.safetensors"


@pytest.fixture
def folder(tmp_path):
    """A copy of the embedded model."""
    return shutil.copytree(EMBEDDED_PATH, tmp_path / "model")


@pytest.fixture
def adapter(embedded, tmp_path):
    """An adapter of the embedded model, saved."""
    with_lora(embedded, rank=2, seed=0).model.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def test_a_pad_token_without_a_row_is_not_used_and_a_text_that_holds_it_is_refused(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"pad_token": "[FILL]"})
    tokenizer.save_pretrained(folder)
    chat = load(str(folder))
    assert tokenizer.pad_token_id == chat.rows
    assert chat.pad_id in chat.end_ids
    with pytest.raises(InputError, match=r"reads '\[FILL\]' as token \d+, and the embedding has"):
        chat.render((Message("user", "Hi [FILL]"),))


def test_a_template_that_writes_a_token_without_a_row_is_refused(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["[SAY]"]})
    tokenizer.chat_template = "[SAY]" + tokenizer.chat_template
    tokenizer.save_pretrained(folder)
    with pytest.raises(ModelError, match=r"its chat template cannot be read: .*'\[SAY\]'"):
        load(str(folder))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda _: {}, r"lacks \d+ weights"),
        (lambda weights: {f"x.{k}": v for k, v in weights.items()}, r"lacks \d+ .* unexpected \d+"),
        (
            lambda weights: {k: v for k, v in weights.items() if "lora_B" not in k},
            r"lacks \d+ weights, .*lora_B",
        ),
        (lambda weights: dict([*weights.items()][::2]), r"lacks \d+ weights"),
        (
            lambda weights: {k: v.repeat(2, 2) for k, v in weights.items()},
            "the adapter .* does not fit: .*size mismatch",
        ),
    ],
    ids=["empty", "prefixed", "half a product", "half", "other shapes"],
)
def test_an_adapter_that_does_not_fit_is_no_model(adapter, change, said):
    weights = load_file(adapter / ADAPTER)
    assert load(str(adapter)).manner.notes == ()
    save_file({k: v.contiguous() for k, v in change(weights).items()}, adapter / ADAPTER)
    with pytest.raises(ModelError, match=said):
        load(str(adapter))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_hidden_layers", 10**9),
        ("num_hidden_layers", -3),
        ("num_hidden_layers", "many\x1b[2J"),
        ("hidden_size", 10**12),
        ("hidden_size", -192),
        ("num_attention_heads", 0),
        ("max_position_embeddings", -5),
        ("vocab_size", "x"),
    ],
)
def test_sizes_that_no_model_has_are_one_sentence(folder, key, value):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {key: value}))
    with pytest.raises(ModelError) as caught:
        load(str(folder))
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_a_configuration_that_is_nested_without_end_is_one_sentence(folder):
    nested = '{"a":' * 100_000 + "1" + "}" * 100_000
    (folder / "config.json").write_text(nested)
    with pytest.raises(ModelError, match=r"config.json cannot be read as JSON: restore the check"):
        load(str(folder))
