"""Checkpoints that lie about themselves end in a sentence, or are read as what they are."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, Llama4Config, Llama4ForConditionalGeneration

from sirl.errors import InputError, ModelError
from sirl.models.adapters import with_lora
from sirl.models.folder import EMBEDDED_PATH
from sirl.models.loading import load
from sirl.models.weights import load_config, load_weights
from sirl.training.checkpoints import write_manifest
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


def changed(folder, file, **values):
    """The folder, with other values in one of its JSON files."""
    held = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(held | values))
    return str(folder)


@pytest.mark.parametrize("layers", [0, 1, 3])
def test_a_config_of_fewer_layers_than_the_weights_is_refused(folder, layers):
    said = rf"has the weights \['model.layers.{layers}.input_layernorm.*restore the config.json"
    with pytest.raises(ModelError, match=said):
        load(changed(folder, "config.json", num_hidden_layers=layers))


def test_weights_that_no_config_of_this_kind_reads_are_refused(folder):
    weights = load_file(folder / "model.safetensors")
    weights["model.embed_norm.weight"] = weights["model.norm.weight"].clone()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"has the weights \['model.embed_norm.weight'\], for"):
        load(str(folder))


def test_buffers_of_older_versions_and_a_second_copy_of_tied_weights_are_no_fault(folder):
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(16)
    weights["model.layers.0.attn.masked_bias"] = torch.tensor(-1e4)
    weights["model.layers.0.self_attention.maybe_rotary.inv_freq"] = torch.ones(4)
    weights["v_head.summary.weight"] = torch.ones(1, 4)
    weights["model.layers.0.attn.bias"] = torch.ones(1, 1, 8, 8, dtype=torch.bool)
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert load(str(folder)).manner.notes == ()


SIZES = {
    "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "head_dim": 8, "vocab_size": 32, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
SEEN = {"hidden_size": 16, "intermediate_size": 64, "num_hidden_layers": 1, "image_size": 28}


def test_of_a_multimodal_model_the_text_part_is_loaded_and_is_whole(tmp_path):
    text = {**SIZES, "intermediate_size_mlp": 16, "num_local_experts": 2}
    seen = {**SEEN, "num_attention_heads": 2, "patch_size": 14, "vision_output_dim": 16}
    projected = {"projector_input_dim": 16, "projector_output_dim": 16}
    config = Llama4Config(text_config=text, vision_config=seen | projected)
    Llama4ForConditionalGeneration(config).save_pretrained(tmp_path)
    model = load_weights(str(tmp_path), load_config(str(tmp_path)), "float32")
    assert type(model).__name__ == "Llama4ForCausalLM"
    fewer = {"num_hidden_layers": 1, "layer_types": None, "no_rope_layers": [1], "moe_layers": [0]}
    inner = json.loads((tmp_path / "config.json").read_text())["text_config"]
    changed(tmp_path, "config.json", text_config=inner | fewer)
    with pytest.raises(ModelError, match=r"has the weights \['language_model.model.layers.1"):
        load_weights(str(tmp_path), load_config(str(tmp_path)), "float32")


@pytest.mark.parametrize("value", ["<|none|>", "3", ["<|end|>", 3], [None, 3], True, 1.5, {"a": 1}])
@pytest.mark.parametrize("file", ["config.json", "generation_config.json"])
def test_an_end_of_turn_token_that_is_no_id_is_told_with_its_file(folder, file, value):
    with pytest.raises(ModelError) as caught:
        load(changed(folder, file, eos_token_id=value))
    said = str(caught.value)
    assert said.startswith(f"{file} of {folder}")
    assert "eos_token_id" in said
    assert repr(value) in said
    assert "tokenizer" not in said


def test_the_id_of_an_end_of_turn_token_that_is_given_by_name_is_told(folder):
    with pytest.raises(ModelError, match=r"'<\|end\|>', which is not a token id: write 1$"):
        load(changed(folder, "generation_config.json", eos_token_id="<|end|>"))


@pytest.mark.parametrize("file", ["config.json", "generation_config.json"])
def test_end_of_turn_tokens_without_a_row_are_left_out_and_told(folder, file):
    chat = load(changed(folder, file, eos_token_id=[1, -1, 10**9]))
    assert chat.end_ids == {1}
    assert [note.partition(" as an ")[0] for note in chat.manner.notes] == [
        f"{file} of {folder} names -1", f"{file} of {folder} names 1000000000",
    ]  # fmt: skip
    assert load(changed(folder, file, eos_token_id=None)).manner.notes == ()


def test_a_config_that_cannot_be_used_is_not_laid_on_the_tokenizer(folder):
    with pytest.raises(ModelError, match=r"^config.json of .* cannot be used: .*`no_such`"):
        load(changed(folder, "config.json", model_type="no_such"))


@pytest.mark.parametrize("name", ["model.safetensors", "generation_config.json", "tokenizer.json"])
def test_a_checkpoint_that_changed_since_it_was_written_is_refused(folder, name):
    write_manifest(folder)
    load(str(folder))
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ModelError, match=rf"{name} is not what was written; .* remove .*manifest"):
        load(str(folder))
    (folder / name).unlink()
    with pytest.raises(ModelError, match=f"{name}"):
        load(str(folder))


def test_a_changed_adapter_or_base_of_a_checkpoint_is_refused(folder, adapter):
    said = json.loads((adapter / "adapter_config.json").read_text("utf-8"))
    said["base_model_name_or_path"] = str(folder)
    (adapter / "adapter_config.json").write_text(json.dumps(said), "utf-8")
    write_manifest(adapter)
    write_manifest(folder)
    load(str(adapter))
    for place, name in ((folder, "model.safetensors"), (adapter, ADAPTER)):
        weights = load_file(place / name)
        save_file({k: v + 1 for k, v in weights.items()}, place / name, {"format": "pt"})
        with pytest.raises(ModelError, match=f"{place} has changed .*: {name} is not what"):
            load(str(place if place == folder else adapter))
        (place / "manifest.json").unlink()
    load(str(adapter))


def test_the_trainer_state_and_manifests_of_other_tools_do_not_hinder_loading(folder):
    (folder / "trainer").mkdir()
    (folder / "trainer" / "state.json").write_text("{}")
    (folder / "README.md").write_text("Notes")
    write_manifest(folder)
    shutil.rmtree(folder / "trainer")
    (folder / "README.md").write_text("Other notes")
    load(str(folder))
    (folder / "manifest.json").write_text('{"files": ["config.json"]}')
    load(str(folder))


@pytest.mark.parametrize("text", ["{", "[]", '{"sha256": ["config.json"]}'])
def test_a_damaged_manifest_is_named(folder, text):
    (folder / "manifest.json").write_text(text)
    with pytest.raises(ModelError, match=r"manifest\.json .*restore the checkpoint"):
        load(str(folder))
