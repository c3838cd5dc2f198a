"""The adapter is what samples, what is saved, and what is merged."""

from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM

from sirl.config import TrainConfig
from sirl.models.adapters import with_lora
from sirl.models.loading import load
from sirl.policy import group_advantages
from sirl.registry.training import policy
from sirl.rewards import negative_entropy
from sirl.rollouts.huggingface import HuggingFaceEngine
from sirl.rollouts.native import NativeEngine
from sirl.training.checkpoints import Checkpoint, newest, restore_optimizer, save
from sirl.training.grading import examples_of
from sirl.training.reference import AdaptersOff
from sirl.training.update import Objective, PolicyLearner, learning_rates
from sirl.types import Prompt

PROMPTS = [Prompt.user(f"p{i}", t) for i, t in enumerate(["Hello!", "How do I rob the museum?"])]
ENGINES = {"native": NativeEngine, "huggingface": HuggingFaceEngine}


def learner(chat):
    rates = learning_rates(1e-2, "constant", 9)
    return PolicyLearner(chat, AdaptersOff(chat), Objective(), rates)


def sampled(chat, engine=NativeEngine, step=0):
    return engine(chat, seed=2, new_tokens=30).sample(PROMPTS, group=6, step=step)


def taught(chat, steps=2):
    """The adapted model after some updates."""
    own = learner(chat)
    for step in range(steps):
        completions = sampled(chat, step=step)
        rewards = torch.tensor([negative_entropy(c) for c in completions], dtype=torch.double)
        own.update(examples_of(completions, group_advantages(rewards, 6)), step=step)
    return own


def logits(chat, model=None):
    ids = torch.tensor([chat.render(PROMPTS[1].messages)])
    with torch.no_grad():
        return (model or chat.model)(input_ids=ids).logits


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_an_update_of_the_adapter_changes_what_is_sampled(embedded, engine):
    chat = with_lora(embedded, rank=4, seed=0)
    before = sampled(chat, engine)
    taught(chat)
    after = sampled(chat, engine)
    assert [c.token_ids for c in before] != [c.token_ids for c in after]
    assert {c.version for c in before} == {0}
    assert {c.version for c in after} == {2}
    with chat.model.disable_adapter():
        off = sampled(chat, engine)
    assert [c.token_ids for c in off] == [c.token_ids for c in before]


def test_the_adapter_merged_exported_and_read_again_is_the_adapter_that_sampled(embedded, tmp_path):
    chat = with_lora(embedded, rank=4, seed=0)
    taught(chat)
    adapted = logits(chat)
    with chat.model.disable_adapter():
        assert (logits(chat) - adapted).abs().max() > 1e-2
    chat.model.save_pretrained(tmp_path / "adapter")
    chat.tokenizer.save_pretrained(tmp_path / "adapter")
    again = load(str(tmp_path / "adapter"))
    assert torch.equal(logits(again), adapted)
    assert sampled(again) == [replace(c, version=0) for c in sampled(chat)]
    merged = chat.model.merge_and_unload()
    assert (logits(chat, merged) - adapted).abs().max() < 1e-5
    merged.save_pretrained(tmp_path / "merged")
    assert {p.suffix for p in (tmp_path / "merged").iterdir()} == {".json", ".safetensors"}
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    assert (logits(chat, plain) - adapted).abs().max() < 1e-5


def test_a_resumed_policy_goes_on_at_the_version_that_it_had(embedded, tmp_path):
    own = taught(with_lora(embedded, rank=4, seed=0))
    save(tmp_path, 2, own, {"skipped": 0, "in_a_row": 0})
    checkpoint, _ = newest(tmp_path)
    assert isinstance(checkpoint, Checkpoint)
    chat = policy(TrainConfig(model="embedded", out="r", lora=True, lora_rank=4), checkpoint)
    resumed = learner(chat)
    restore_optimizer(resumed, checkpoint)
    completions = sampled(chat, step=2)
    assert {c.version for c in completions} == {2}
    assert completions == sampled(own.chat, step=2)
    resumed.update(examples_of(completions, torch.zeros(12, dtype=torch.double)), step=2)
    assert chat.version == 3
