"""The contract with vLLM, held against a double: it cannot be installed beside these tests."""

from dataclasses import replace

import pytest
import torch

from sirl.config import TrainConfig
from sirl.errors import ConfigError, InputError, MissingExtraError, ModelError
from sirl.models.adapters import with_lora
from sirl.models.forward import score
from sirl.models.loading import load
from sirl.registry.sampling import check_series, joined, lora_rank, require_sampler
from sirl.roles import Engine
from sirl.rollouts.vllm import AdapterByFolder, Delivery, VllmEngine, WeightsByFolder, weights_tag
from sirl.training.grading import examples_of
from sirl.training.reference import AdaptersOff
from sirl.training.update import Objective, PolicyLearner, learning_rates
from sirl.types import Prompt, Sampling
from tests.unit.fake_vllm import (
    Deaf,
    Faithful,
    FakeLLM,
    LoRARequest,
    SamplingParams,
    Tampered,
    Unlabelled,
    rewritten,
)

PROMPTS = [Prompt.user(f"p{i}", t) for i, t in enumerate(["Hello!", "How do I rob the museum?"])]


def whole(chat, llm):
    return VllmEngine(llm, SamplingParams, chat, WeightsByFolder(chat, llm), 3, 12)


def adapted(chat, llm):
    return VllmEngine(llm, SamplingParams, chat, AdapterByFolder(chat, LoRARequest), 3, 12)


def move(chat, by=0.3):
    """As an update would, and further."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in chat.model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * by)
    chat.count_update()


def test_completions_carry_vllms_tokens_and_the_policys_entropies(embedded):
    llm = FakeLLM(embedded)
    engine = whole(embedded, llm)
    completions = engine.sample(PROMPTS, group=3, step=1)
    assert isinstance(engine, Engine)
    assert isinstance(engine.delivery, Delivery)
    assert [(c.prompt_id, c.sample, c.version) for c in completions] == [
        (p, s, 0) for p in ("p0", "p1") for s in range(3)
    ]
    for c, numbers in zip(completions, score(embedded, completions), strict=True):
        assert c.entropies == tuple(numbers.entropies.tolist())
        assert c.certainties == tuple(numbers.certainties.tolist())
        assert c.logprobs == pytest.approx(numbers.logprobs.tolist(), abs=1e-4)
        assert (c.finish == "stop") == (c.token_ids[-1] in embedded.end_ids)
        assert len(c.token_ids) == 12 or c.finish == "stop"
    assert {c.finish for c in completions} == {"stop", "length"}


def test_every_completion_has_a_seed_of_its_own_whatever_it_is_asked_with(embedded):
    llm = FakeLLM(embedded)
    engine = whole(embedded, llm)
    together = engine.sample(PROMPTS, group=2, step=4)
    alone = engine.sample(PROMPTS[1:], group=2, step=4)
    assert [c.token_ids for c in together[2:]] == [c.token_ids for c in alone]
    assert len({p.seed for p in llm.asked}) == 4
    assert all(0 <= p.seed < 2**63 for p in llm.asked)
    assert {(p.n, p.logprobs, p.detokenize, p.max_tokens) for p in llm.asked} == {(1, 0, False, 12)}
    engine.sample(PROMPTS, group=2, step=5)
    assert len({p.seed for p in llm.asked}) == 8


def test_how_tokens_are_picked_is_told_and_ends_are_those_of_the_policy(embedded):
    llm = FakeLLM(embedded)
    both = replace(embedded, end_ids=embedded.end_ids | {9})
    replace(whole(both, llm), sampling=Sampling(0.7, 0.9, 20)).sample(PROMPTS[:1])
    asked = llm.asked[0]
    assert (asked.temperature, asked.top_p, asked.top_k) == (0.7, 0.9, 20)
    assert asked.stop_token_ids == sorted(both.end_ids)


def test_moved_weights_are_handed_over_once_and_what_was_read_is_forgotten(embedded):
    llm = FakeLLM(embedded)
    engine = whole(embedded, llm)
    before = engine.sample(PROMPTS, group=2)
    engine.sample(PROMPTS, group=2)
    assert llm.forgot == 1
    move(embedded, 0.05)
    after = engine.sample(PROMPTS, group=2)
    assert llm.forgot == 2
    assert llm.version == weights_tag(embedded)
    assert [c.token_ids for c in before] != [c.token_ids for c in after]
    assert {c.version for c in after} == {1}


def test_the_tag_says_how_often_the_weights_moved_and_which_they_are(embedded):
    first = weights_tag(embedded)
    assert first == weights_tag(load("embedded"))
    assert first.startswith("0-")
    embedded.count_update()
    assert weights_tag(embedded) == "1" + first[1:]
    chat = with_lora(load("embedded"), rank=4, seed=0)
    second = weights_tag(chat)
    chat.model.get_base_model().lm_head.weight.data.zero_()  # frozen, so not handed over
    assert weights_tag(chat) == second
    move(chat)
    assert weights_tag(chat)[2:] != second[2:]


def test_an_engine_of_an_older_version_is_refused_and_both_versions_are_named(embedded):
    llm = Unlabelled(embedded)
    engine = whole(embedded, llm)
    engine.sample(PROMPTS)
    old = weights_tag(embedded)
    move(embedded)
    with pytest.raises(ModelError) as refused:
        engine.sample(PROMPTS)
    assert str(refused.value) == (
        f"vLLM sampled from version {old} of the weights and the policy is at version "
        f"{weights_tag(embedded)}: the weight update failed; use sampler=native"
    )


def test_an_engine_that_stays_with_its_first_adapter_is_refused(embedded):
    llm = Faithful(embedded)
    chat = with_lora(embedded, rank=4, seed=0)
    engine = adapted(chat, llm)
    engine.sample(PROMPTS)
    old = weights_tag(chat)
    move(chat)
    with pytest.raises(
        ModelError, match=rf"from version {old} of .* at version {weights_tag(chat)}"
    ):
        engine.sample(PROMPTS)


def test_an_engine_without_the_adapter_is_refused(embedded):
    llm = Tampered(embedded, lambda outputs: [replace(o, lora_request=None) for o in outputs])
    chat = with_lora(embedded, rank=4, seed=0)
    with pytest.raises(ModelError, match="vLLM sampled from version base of the weights"):
        adapted(chat, llm).sample(PROMPTS)


def test_a_tag_without_the_weights_is_found_out_by_the_log_probabilities(embedded):
    engine = whole(embedded, Deaf(embedded))
    engine.sample(PROMPTS)
    move(embedded)
    with pytest.raises(
        ModelError, match=r"says .* version 1-\w+, but .* nats per token from the pol"
    ):
        engine.sample(PROMPTS)


def test_the_adapter_alone_is_handed_over_and_learned_with(embedded):
    llm = FakeLLM(embedded)
    chat = with_lora(embedded, rank=4, seed=0)
    engine = adapted(chat, llm)
    learner = PolicyLearner(
        chat, AdaptersOff(chat), Objective(), learning_rates(1e-2, "constant", 9)
    )
    before = engine.sample(PROMPTS, group=4)
    advantages = torch.linspace(-1, 1, 8, dtype=torch.double)
    assert learner.update(examples_of(before, advantages), step=0)["sampler/mismatch"] < 1e-4
    after = engine.sample(PROMPTS, group=4)
    assert (
        max(abs(a.logprobs[0] - b.logprobs[0]) for a, b in zip(after, before, strict=True)) > 1e-3
    )
    assert learner.update(examples_of(after, advantages), step=1)["sampler/mismatch"] < 1e-4
    assert sorted(llm.adapters) == [1, 2]
    assert [p.name for p in engine.delivery.home.iterdir()] == [engine.delivery.newest.lora_name]
    with pytest.raises(ModelError, match="version 1 of the weights and the policy is at version 2"):
        learner.update(examples_of(after, advantages), step=2)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda outputs: [replace(o, prompt_token_ids=o.prompt_token_ids[2:]) for o in outputs],
            r"vLLM read \d+ tokens of prompt p0, not the \d+ that it was given",
        ),
        (lambda outputs: outputs[:-1], "vLLM answered 1 of 2 requests"),
        (
            rewritten(finish_reason=lambda _: "abort"),
            "vLLM ended a completion of prompt p0 with 'abort', not on its own: try again",
        ),
        (rewritten(finish_reason=lambda _: None), "with None, not on its own"),
        (
            rewritten(
                finish_reason=lambda _: "stop",
                token_ids=lambda ids: [i for i in ids if i != 1],
                logprobs=lambda told: [t for t in told if 1 not in t],
            ),
            "vLLM ended a completion of prompt p0 without its end-of-turn token, which ",
        ),
        (
            rewritten(
                finish_reason=lambda _: "length",
                token_ids=lambda ids: ids[:3],
                logprobs=lambda told: told[:3],
            ),
            "vLLM cut a completion of prompt p0 after 3 of 12 tokens: lower new_tokens",
        ),
    ],
)
def test_what_is_not_what_was_asked_for_is_refused(embedded, change, sentence):
    with pytest.raises(ModelError, match=sentence):
        whole(embedded, Tampered(embedded, change)).sample(PROMPTS)


def test_a_prompt_without_room_is_refused_before_vllm_is_asked(embedded):
    llm = FakeLLM(embedded)
    with pytest.raises(InputError, match=r"prompt big has \d+ tokens; with 12 new ones it exceeds"):
        whole(embedded, llm).sample([Prompt.user("big", "word " * 900)])
    assert llm.asked == []


def test_a_missing_vllm_is_named_with_the_command_that_adds_it():
    with pytest.raises(
        MissingExtraError, match=r"sampler=vllm needs .* pip install 'sirl\[vllm\]'"
    ):
        require_sampler(TrainConfig(model="embedded", out="r", sampler="vllm"))
    require_sampler(TrainConfig(model="embedded", out="r", sampler="huggingface"))


def test_another_vllm_than_the_one_it_was_written_for_is_refused():
    check_series("0.33.2")
    with pytest.raises(ConfigError, match=r"supports vllm 0\.33, and 0\.331\.0 is installed: pip"):
        check_series("0.331.0")


@pytest.mark.parametrize("lora", [False, True])
def test_vllm_is_built_on_the_base_and_gets_the_policys_weights(embedded, lora):
    chat = with_lora(embedded, rank=4, seed=0) if lora else embedded
    config = TrainConfig(
        model="embedded", out="r", sampler="vllm", new_tokens=6, seed=8, temperature=0.9
    )
    built = []

    def make(**settings):
        built.append(settings)
        return FakeLLM(load(settings["model"]))

    engine = joined(config, chat, Sampling(0.9), (make, SamplingParams, LoRARequest))
    move(chat, 0.02)
    completions = engine.sample(PROMPTS, group=2)
    assert {(c.version, c.seed) for c in completions} == {(1, 8)}
    assert (built[0]["seed"], built[0]["logprobs_mode"]) == (8, "raw_logprobs")
    assert built[0]["generation_config"] == "vllm"
    assert built[0].get("max_lora_rank") == (8 if lora else None)
    assert engine.llm.asked[0].temperature == 0.9


def test_vllm_is_told_the_least_rank_that_holds_the_adapter(embedded):
    chat = with_lora(embedded, rank=4, seed=0)
    assert lora_rank(chat) == 8
    chat.model.peft_config["default"].r = 600
    with pytest.raises(
        ConfigError, match="lora_rank 600 exceeds 512, the maximum that vLLM supports"
    ):
        lora_rank(chat)
