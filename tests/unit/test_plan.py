"""The arithmetic of a plan, by numbers worked out by hand."""

import json
from dataclasses import replace

import pytest

from sirl.cli.machine import free_disk, free_memory
from sirl.errors import ConfigError, ModelError
from sirl.planning.advice import fitting_sentence, remedies
from sirl.planning.memory import (
    Shape,
    Step,
    activations,
    checkpoint_bytes,
    peak,
    phases,
)
from sirl.planning.shape import read_shape, tensor_bytes
from sirl.planning.throughput import (
    PRESENTED,
    Rates,
    gpu_named,
    seconds,
    seconds_of_points,
    sheet_rates,
)
from sirl.workflows.method import PER_PROMPT
from tests.command import sirl

# One layer: width 4, two heads of 2 that share one key, an MLP of 8, eleven words.
SHAPE = Shape(
    layers=1, width=4, heads=2, queries=4, keys=2, inner=8, vocab=11, parameters=300,
    products=144, sides=90, largest=44, stored=600,
)  # fmt: skip
# Two prompts of 3 tokens, two answers of 5 to each.
STEP = Step(
    prompts=2, group=2, prompt_tokens=3, new_tokens=5, sampling_batch_size=64, token_budget=1000
)


def parts(name, step=STEP, shape=SHAPE):
    (found,) = [phase.parts for phase in phases(shape, step) if phase.name == name]
    return found


def test_weights_reference_moments_and_gradients_are_four_bytes_a_number():
    found = parts("stepping")
    assert (found["weights"], found["reference"]) == (1200, 1200)
    assert (found["optimizer"], found["gradients"]) == (2400, 1200)
    assert found["scratch"] == 2 * 4 * 44


def test_an_adapter_moves_alone_and_needs_no_second_model():
    found = parts("stepping", replace(STEP, lora_rank=3))
    assert found["weights"] == 1200 + 4 * 270
    assert found["reference"] == 0
    assert found["optimizer"] == 8 * 270
    half = parts("stepping", replace(STEP, lora_rank=3, bfloat16=True))
    assert half["weights"] == 600 + 4 * 270


def test_the_cache_holds_keys_and_values_of_every_row_to_its_last_token():
    # 2 (keys, values) x 4 rows x 8 tokens x 2 wide x 4 bytes
    assert parts("sampling")["cache"] == 2 * 4 * 8 * 2 * 4
    assert parts("sampling", replace(STEP, sampling_batch_size=2))["cache"] == 2 * 2 * 8 * 2 * 4


def test_activations_by_hand():
    tokens = 2 * 3 + 4 * 4
    # Norms: twice in, normed. Products: two inputs, attention's result. MLP: four of eight.
    layer = tokens * 4 * (2 * 2 * 4 + 2 * 4 + 4 + 4 * 8)
    # Queries and results of 6 + 16 tokens, keys and values of 6 + 4 x 7, a mask of 16 x 7.
    attention = 4 * (2 * 22 * 4 + 2 * (6 + 28) * 2 + 16 * 7) + 4 * 22 * 2
    assert activations(SHAPE, STEP) == layer + attention + tokens * 3 * 4 * 4


def test_a_budget_cuts_a_step_into_micro_batches_that_keep_their_gradients():
    assert (STEP.per_micro_batch, STEP.micro_batches) == (4, 1)
    small = replace(STEP, token_budget=13)
    assert (small.per_micro_batch, small.micro_batches) == (2, 2)
    assert "gradients" not in parts("updating")
    assert parts("updating", small)["gradients"] == 1200


def test_several_gpus_divide_prompts_and_shards_divide_what_is_trained():
    two = replace(STEP, gpus=2)
    assert two.completions == 2
    assert parts("stepping", two)["weights"] == 1200
    assert "loading" not in [phase.name for phase in phases(SHAPE, two)]
    shards = replace(two, shard=True)
    assert parts("stepping", shards)["weights"] == 600
    assert parts("stepping", shards)["optimizer"] == 1200
    assert parts("stepping", shards)["reference"] == 1200
    assert parts("sampling", shards)["gathered"] == 600
    assert parts("updating", shards)["gathered"] == min(600, 4 * (2 * 144 + 44))
    assert parts("loading", shards) == {"weights": 1200, "reference": 1200}


def test_a_checkpoint_is_the_moving_weights_and_two_moments():
    assert checkpoint_bytes(SHAPE, STEP) == 3600
    assert checkpoint_bytes(SHAPE, replace(STEP, lora_rank=3)) == 12 * 270


def test_seconds_by_hand():
    found = seconds(SHAPE, STEP, Rates(1.0, 1e30, "made up"))
    read, predicted, pairs = 26, 20, 20 * 8
    body, head, attention = 2 * 144 * read, 2 * 44 * predicted, 4 * 4 * pairs
    assert found["scoring"] == body + head + attention
    assert found["updating"] == 3 * (body + head) + 3.5 * attention
    assert found["sampling"] == pytest.approx(2 * 144 * 6 + 5 * 2 * (144 + 44) * 4)
    slow = seconds(SHAPE, STEP, Rates(1e30, 1.0, "made up"))
    assert slow["stepping"] == pytest.approx(7 * 4 * 300)


def test_decision_points_present_prompts_to_both_models_and_sample_nothing():
    found = seconds_of_points(SHAPE, STEP, Rates(1.0, 1e30, "made up"))
    count, prompt, new = STEP.prompts, STEP.prompt_tokens, STEP.new_tokens
    shown = PRESENTED * count
    presented = 2 * (144 * shown * prompt + 44 * shown)
    own = 2 * (144 * count * (prompt + new) + 44 * count * new)
    assert found["scoring"] == 2 * presented + own
    assert found["updating"] == 3 * (presented + own)
    assert "sampling" not in found
    assert PRESENTED == PER_PROMPT + 1  # one unreadable prompt


def test_a_data_sheet_gives_less_than_it_says_and_no_bfloat16_where_there_is_none():
    assert sheet_rates(gpu_named("a100-80gb"), bfloat16=True).operations == pytest.approx(
        0.4 * 312e12
    )
    assert sheet_rates(gpu_named("t4"), bfloat16=True) is None
    with pytest.raises(ConfigError, match="Did you mean 'h100'"):
        gpu_named("h10")


LONG = replace(STEP, prompts=64, group=8, prompt_tokens=100, new_tokens=200, token_budget=10**6)
BIG = replace(SHAPE, layers=8, products=8 * 144, parameters=2000)


def test_what_does_not_fit_is_told_with_what_would():
    now = peak(BIG, LONG)
    assert now.name == "updating"
    assert fitting_sentence(now, 10**12, "free").startswith("fits: ")
    assert fitting_sentence(now, now.total, "free").startswith("barely fits: ")
    assert fitting_sentence(now, 10**6, "free").startswith("does not fit: ")
    found = remedies(BIG, LONG, now.total // 2)
    assert any(r.fits and r.change.startswith("--set token_budget=") for r in found)
    assert all(r.peak < now.total for r in found)
    assert [r.fits for r in found] == sorted((r.fits for r in found), reverse=True)
    nothing = remedies(replace(BIG, parameters=10**9), LONG, 1000)
    assert not any(r.fits for r in nothing)
    assert any("all of these" in r.change for r in nothing)


def test_the_embedded_model_has_the_shape_that_its_files_have():
    from safetensors.torch import load_file

    from sirl.models.folder import EMBEDDED_PATH

    weights = load_file(EMBEDDED_PATH / "model.safetensors")
    shape = read_shape("embedded")
    assert shape.parameters == sum(w.numel() for w in weights.values())
    assert shape.stored == sum(w.numel() * w.element_size() for w in weights.values())
    assert (shape.layers, shape.width, shape.tied) == (4, 192, True)
    assert shape.sides == 4 * (192 * 2 + 2 * (192 + 96) + 192 * 2 + 3 * (192 + 512))


def test_damaged_models_get_a_sentence(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="has no usable config.json"):
        read_shape(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 20)
    with pytest.raises(ModelError, match="is not a safetensors file"):
        tensor_bytes(tmp_path / "model.safetensors")


def test_memory_is_what_the_control_group_leaves(tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable: 4000 kB\n")
    assert free_memory(tmp_path / "meminfo", tmp_path) == 4_096_000
    (tmp_path / "memory.max").write_text("3000\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert free_memory(tmp_path / "meminfo", tmp_path) == 2000
    assert free_memory(tmp_path / "nothing") is None
    assert free_disk(tmp_path / "not" / "there") > 0


def plan(*words):
    return sirl("plan", *words, env={"COLUMNS": "200"})


def test_the_verb_reads_a_configuration_alone_and_says_what_to_change(tmp_path):
    config = {
        "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
        "vocab_size": 128256, "tie_word_embeddings": False,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    words = ("--model", tmp_path, "--gpu", "h100", "--set", "dtype=bfloat16")
    done = plan(*words)
    assert done.returncode == 0, done.stderr
    assert "8,030,261,248 parameters" in done.stdout
    assert "does not fit: " in done.stdout
    assert "change: " in done.stdout
    found = json.loads(plan(*words, "--lora", "--json").stdout)
    assert found["phases"]["stepping"]["weights"] > 2 * 8_030_261_248
    assert found["phases"]["stepping"]["reference"] == 0
    assert found["seconds"]["sampling"] > 0
    assert set(found["seconds_of_points"]) == {"scoring", "updating", "stepping"}
    assert "min for 40 steps with decision points; " in done.stdout.replace("\n", " ")
    only = plan(*words, "--set", "method=entropy", "--json").stdout
    assert json.loads(only)["seconds_of_points"] is None
    unknown = plan("--model", "embedded", "--gpus", 2)
    assert unknown.returncode == 2
    assert "does not say how much memory they have" in unknown.stderr


def test_a_gpu_that_the_table_lacks_is_named_with_those_that_it_has():
    with pytest.raises(ConfigError, match="--gpu FOO is not in the table of GPUs. Known: .*t4"):
        gpu_named("FOO")
