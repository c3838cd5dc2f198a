"""A real-English checkpoint and public prompts, through the commands a model owner types."""

import json
import shutil

import pytest
import torch

from sirl.models.loading import load
from tests.command import sirl
from tests.conftest import shared


@pytest.fixture(scope="module")
def hardened(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "tiny"
    words = [
        "train", "--method", "entropy", "--model", shared("models/tiny-english"), "--prompts",
        shared("data/advbench_goals.csv"), "--lora", "--steps", 2, "--batch", 3, "--group", 3,
        "--learning-rate", 1e-3, "--checkpoint-every", 1, "--set", "held_out=6", "--set",
        "attacks=direct", "--set", "new_tokens=16", "--limit", 6, "--eval-every", 0, "--out", out,
        "--json",
    ]  # fmt: skip
    done = sirl(*words)
    assert done.returncode == 0, done.stderr
    return out, words, json.loads(done.stdout)


def test_the_table_keeps_gain_and_price_together(hardened):
    _, _, summary = hardened
    for model in summary["models"].values():
        assert model["dsr"]["by_attack"]["direct"]["n"] == 6
        assert model["over_refusal"]["ordinary"]["n"] == model["over_refusal"]["lookalike"]["n"]
        assert "capability" not in model


def test_an_adapter_is_resumed_to_the_bit(hardened, tmp_path):
    out, words, _ = hardened
    copy = tmp_path / "tiny"
    shutil.copytree(out, copy)
    shutil.rmtree(copy / "checkpoints" / "step-000002")
    done = sirl(*(copy if word is out else word for word in words), "--resume")
    assert done.returncode == 0, done.stderr
    for name in ("adapter_model.safetensors", "trainer/optimizer.safetensors"):
        paths = (folder / "checkpoints" / "step-000002" / name for folder in (out, copy))
        first, second = (path.read_bytes() for path in paths)
        assert first == second, name


def test_an_adapter_loads_with_plain_peft_and_is_the_one_that_speaks(hardened):
    from peft import AutoPeftModelForCausalLM

    from sirl.models.loading import old_names

    folder = hardened[0] / "checkpoints" / "step-000002"
    with old_names():
        plain = AutoPeftModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ours, base = load(str(folder)), load(str(shared("models/tiny-english")))
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.inference_mode():
        assert torch.allclose(plain(ids).logits, ours.model(ids).logits, atol=1e-4)
        assert not torch.allclose(base.model(ids).logits, ours.model(ids).logits, atol=1e-4)


def test_evaluation_judges_it_by_the_rules(hardened, tmp_path):
    done = sirl(
        "evaluate", "--model", hardened[0] / "checkpoints" / "step-000002", "--behaviours",
        shared("data/harmbench_val.csv"), "--lookalikes", shared("data/xstest_safe.csv"),
        "--attacks", "direct,story", "--limit", 6, "--set", "new_tokens=16", "--out",
        tmp_path / "e", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)["models"]["target"]
    # One of the six carries a context too long for 512 tokens: it is named once, not cut.
    assert figures["dsr"]["mean"]["n"] == 10
    assert len((tmp_path / "e" / "rejected.jsonl").read_text().splitlines()) == 1
    assert figures["over_refusal"]["lookalike"]["n"] == 6
    rows = [json.loads(r) for r in (tmp_path / "e" / "records.jsonl").read_text().splitlines()]
    assert {row["judge"] for row in rows} == {"rules"}
