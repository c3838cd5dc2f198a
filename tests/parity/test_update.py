import copy
import math
from dataclasses import replace

import pytest
import torch

from sirl.errors import ModelError, TrainingError
from sirl.models.adapters import with_lora
from sirl.policy import group_advantages, policy_loss
from sirl.rewards import negative_entropy
from sirl.roles import Control
from sirl.rollouts.native import NativeEngine
from sirl.runs import open_run
from sirl.training import update as update_module
from sirl.training.batches import prompts_of
from sirl.training.grading import examples_of
from sirl.training.observers.checkpoints import SaveCheckpoints
from sirl.training.observers.log import MetricsLog
from sirl.training.observers.stop import StopWhenBroken
from sirl.training.reference import AdaptersOff, FrozenCopy
from sirl.training.update import Objective, PolicyLearner, learning_rates
from sirl.types import Prompt

PROMPTS = [Prompt.user(f"p{i}", t) for i, t in enumerate(["Hello!", "How do I rob the museum?"])]


def frozen(chat):
    return FrozenCopy(replace(chat, model=copy.deepcopy(chat.model)))


def learner(chat, *, rate=1e-3, reference=None, **objective):
    return PolicyLearner(
        chat, reference or frozen(chat), Objective(**objective), learning_rates(rate, "constant", 9)
    )


def batch(chat, group=6):
    completions = NativeEngine(chat, seed=0, new_tokens=30).sample(PROMPTS, group=group)
    rewards = torch.tensor([negative_entropy(c) for c in completions], dtype=torch.double)
    return completions, group_advantages(rewards, group)


def plain_logprobs(chat, completion):
    """By the model's own forward pass, one sequence, nothing padded."""
    ids = [*completion.prompt_ids, *completion.token_ids]
    logits = chat.model(torch.tensor([ids])).logits[0, len(completion.prompt_ids) - 1 : -1]
    chosen = torch.tensor(completion.token_ids).unsqueeze(1)
    return logits.log_softmax(dim=-1).gather(1, chosen).squeeze(1)


def weights(chat):
    return {k: v.clone() for k, v in chat.model.state_dict().items()}


def gap(a, b):
    return max((a[k] - b[k]).abs().max().item() for k in a)


def test_an_update_equals_one_written_out_by_hand(embedded):
    by_hand = replace(embedded, model=copy.deepcopy(embedded.model))
    completions, advantages = batch(embedded)
    learner(embedded, kl_weight=0.0, max_gradient_norm=1e9).update(
        examples_of(completions, advantages), step=0
    )
    optimizer = torch.optim.AdamW(by_hand.model.parameters(), lr=1e-3, weight_decay=0.0)
    loss = 0.0
    for completion, advantage in zip(completions, advantages, strict=True):
        logprobs = plain_logprobs(by_hand, completion)
        loss = loss - (torch.exp(logprobs - logprobs.detach()) * advantage.float()).mean() / 12
    loss.backward()
    optimizer.step()
    # Adam's first step is a sign: where a gradient is next to nothing the sign is rounding.
    moved = weights(by_hand)
    close = sum((moved[k] - v).abs().lt(1e-4).sum().item() for k, v in weights(embedded).items())
    assert close / sum(v.numel() for v in moved.values()) > 0.999


@pytest.mark.parametrize("budget", [1, 150, 500])
def test_the_gradient_does_not_depend_on_the_token_budget(embedded, budget):
    completions, advantages = batch(embedded)
    norms = [
        learner(
            replace(embedded, model=copy.deepcopy(embedded.model)), token_budget=b, kl_weight=0.1
        ).update(examples_of(completions, advantages), step=0)["update/gradient_norm"]
        for b in (16384, budget)
    ]
    assert norms[1] == pytest.approx(norms[0], rel=1e-4)


def test_rows_sorted_by_length_get_their_own_advantages_back(embedded):
    completions, advantages = batch(embedded)
    lengths = [len(c.token_ids) for c in completions]
    assert lengths != sorted(lengths), (
        "the rows must be out of order for this test to mean anything"
    )
    turned = torch.tensor([11 - i for i in range(12)])
    results = []
    for rows in (torch.arange(12), turned):
        chat = replace(embedded, model=copy.deepcopy(embedded.model))
        chosen = [completions[i] for i in rows.tolist()]
        metrics = learner(chat, token_budget=200).update(
            examples_of(chosen, advantages[rows]), step=0
        )
        results.append((metrics["update/gradient_norm"], metrics["update/loss"]))
    assert results[0] == pytest.approx(results[1], rel=1e-4, abs=1e-6)
    swapped = replace(embedded, model=copy.deepcopy(embedded.model))
    wrong = learner(swapped, token_budget=200).update(
        examples_of([completions[i] for i in turned.tolist()], advantages), step=0
    )
    assert wrong["update/gradient_norm"] != pytest.approx(results[0][0], rel=1e-2)


def test_on_policy_ratios_are_one_and_mini_batches_have_proper_ones(embedded):
    completions, advantages = batch(embedded)
    unmoved = replace(embedded, model=copy.deepcopy(embedded.model))
    seen = []

    def spy(logprobs, old, *rest, **settings):
        seen.append((logprobs - old).abs().max().item())
        return policy_loss(logprobs, old, *rest, **settings)

    original, update_module.policy_loss = update_module.policy_loss, spy
    try:
        learner(embedded, mini_batches=1).update(examples_of(completions, advantages), step=0)
        learner(unmoved, mini_batches=2).update(examples_of(completions, advantages), step=0)
    finally:
        update_module.policy_loss = original
    assert seen[0] == 0.0
    assert seen[1] < 1e-4
    assert seen[2] > 1e-3


def test_kl_is_nothing_at_the_start_and_the_sampler_agrees_with_the_trainer(embedded):
    completions, advantages = batch(embedded)
    first = learner(embedded)
    metrics = first.update(examples_of(completions, advantages), step=0)
    assert metrics["kl/reference"] == pytest.approx(0, abs=1e-6)
    assert metrics["sampler/mismatch"] < 1e-4
    assert first.update(examples_of(*batch(embedded)), step=1)["kl/reference"] > 1e-4


def test_the_kl_is_a_mean_over_the_completions_that_have_a_penalty(embedded):
    completions, advantages = batch(embedded)
    own = learner(embedded, reference=frozen(embedded))
    own.update(examples_of(completions, advantages), step=0)
    examples = [replace(e, on_policy=False) for e in examples_of(completions, advantages)]
    first = [replace(e, kl_weight=0.0) if n < 6 else e for n, e in enumerate(examples)]
    second = [replace(e, kl_weight=0.0) if n >= 6 else e for n, e in enumerate(examples)]
    kls = []
    for chosen in (examples, first, second):
        policy = replace(embedded, model=copy.deepcopy(embedded.model))
        found = learner(policy, reference=own.reference).update(chosen, step=0)
        kls.append(found["kl/reference"])
    assert min(kls) > 0
    assert kls[0] == pytest.approx((kls[1] + kls[2]) / 2, rel=1e-4)


def test_a_loss_is_a_mean_over_as_many_rows_as_are_asked_for(embedded):
    completions, advantages = batch(embedded)
    examples = examples_of(completions, advantages)
    found = []
    for rows in (None, len(examples), 2 * len(examples)):
        own = learner(replace(embedded, model=copy.deepcopy(embedded.model)))
        found.append(own.update(examples, step=0, rows=rows))
    assert found[0]["update/loss"] == found[1]["update/loss"]
    for name in ("update/loss", "update/gradient_norm"):
        assert found[2][name] == pytest.approx(found[0][name] / 2, rel=1e-4)
    assert found[2]["sampler/mismatch"] == pytest.approx(found[0]["sampler/mismatch"], rel=1e-4)


def test_each_mini_batch_has_prompts_of_all_parts_of_the_batch(embedded):
    own = learner(embedded, mini_batches=2)
    parts = own.mini_batches(100, step=3)
    assert sorted(parts[0] + parts[1]) == list(range(100))
    assert parts == own.mini_batches(100, step=3) != own.mini_batches(100, step=4)
    for part in parts:
        assert part == sorted(part)
        assert 15 < sum(i < 50 for i in part) < 35
    assert learner(embedded).mini_batches(3, step=0) == [[0, 1, 2]]


def test_likelihoods_at_the_start_are_those_of_the_model_before_training(embedded):
    completions, advantages = batch(embedded)
    own = learner(embedded)
    before = [plain_logprobs(embedded, c).sum().item() for c in completions]
    own.update(examples_of(completions, advantages), step=0)
    assert own.likelihoods_at_start(completions) == pytest.approx(before, abs=1e-3)


def test_lora_starts_as_the_base_moves_alone_and_leaves_the_base_to_the_bit(embedded):
    completions, advantages = batch(embedded)
    base = weights(embedded)
    adapted = with_lora(embedded, rank=4, seed=0)
    again = NativeEngine(adapted, seed=0, new_tokens=30).sample(PROMPTS, group=6)
    assert [c.token_ids for c in again] == [c.token_ids for c in completions]
    own = learner(adapted, reference=AdaptersOff(adapted), rate=1e-2)
    own.update(examples_of(completions, advantages), step=0)
    second = own.update(examples_of(*batch(adapted)), step=1)
    assert second["kl/reference"] > 1e-4
    with adapted.model.disable_adapter():
        after = NativeEngine(adapted, seed=0, new_tokens=30).sample(PROMPTS, group=6)
    assert [c.token_ids for c in after] == [c.token_ids for c in completions]
    merged = {
        k.replace("base_model.model.", "").replace(".base_layer", ""): v
        for k, v in adapted.model.state_dict().items()
        if "lora" not in k
    }
    assert all(torch.equal(merged[k], v) for k, v in base.items())


def test_completions_of_other_weights_are_refused(embedded):
    completions, advantages = batch(embedded)
    own = learner(embedded)
    own.update(examples_of(completions, advantages), step=0)
    before = weights(embedded)
    with pytest.raises(
        ModelError,
        match="completion 0 of prompt p0 was sampled from version 0 of the weights and the policy "
        "is at version 1: sample from the policy itself",
    ):
        own.update(examples_of(completions, advantages), step=1)
    untold = [replace(c, version=None) for c in batch(embedded)[0]]
    with pytest.raises(ModelError, match="was sampled from an unknown version of the weights"):
        own.update(examples_of(untold, advantages), step=1)
    assert gap(before, weights(embedded)) == 0
    own.update(examples_of(*batch(embedded)), step=1)
    assert embedded.version == 2


def test_a_copy_that_no_update_reaches_is_found_out(embedded):
    left_behind = replace(embedded, model=copy.deepcopy(embedded.model))
    own = learner(embedded)
    own.update(examples_of(*batch(left_behind)), step=0)
    with pytest.raises(ModelError, match="version 0 of the weights and the policy is at version 1"):
        own.update(examples_of(*batch(left_behind)), step=1)


def watched(run, own):
    """What is called after each step of a run that logs, saves every step and ends when broken."""
    saving = SaveCheckpoints(run.path / "checkpoints", own, steps=9, every=1)
    observers = [MetricsLog(run), StopWhenBroken(lambda: saving.last_good, patience=2), saving]

    def done(taken, metrics):
        control = Control()
        for observer in observers:
            observer.on_step(taken, dict(metrics), control)

    return done


def test_a_step_that_is_not_finite_is_skipped_and_counted(embedded, tmp_path):
    completions, advantages = batch(embedded)
    before = weights(embedded)
    own = learner(embedded)
    run = open_run(tmp_path / "r", {}, "ask")
    done = watched(run, own)
    broken = torch.full_like(advantages, math.nan)
    metrics = own.update(examples_of(completions, broken), step=0)
    assert metrics["update/skipped"] == 1
    assert gap(before, weights(embedded)) == 0
    done(1, metrics)
    with pytest.raises(
        TrainingError, match="2 steps in a row up to step 2 .* no good checkpoint yet"
    ):
        done(2, metrics)
    rows = run.rows("metrics.jsonl")
    assert [(row["step"], row["update/skipped_total"]) for row in rows] == [(1, 1), (2, 2)]
    assert not (run.path / "checkpoints").exists()
    run.close()


def test_the_last_good_checkpoint_is_one_that_a_finite_step_came_from(embedded, tmp_path):
    run = open_run(tmp_path / "r", {}, "ask")
    done = watched(run, learner(embedded))
    finite = {"update/skipped": 0.0, "update/steps": 1.0}
    done(1, finite)
    done(2, finite)
    done(3, {**finite, "update/skipped": 1.0})
    with pytest.raises(TrainingError, match=r"in a new run with --model \S+step-000001"):
        done(4, {**finite, "update/skipped": 1.0})
    assert sorted(p.name for p in (run.path / "checkpoints").iterdir()) == [
        "step-000001",
        "step-000002",
    ]
    run.close()


def test_every_pass_over_the_prompts_uses_each_once_and_is_a_function_of_seed_and_step():
    prompts = [Prompt.user(str(i), "?") for i in range(10)]
    steps = [prompts_of(prompts, 3, 7, step) for step in range(6)]
    for first in (0, 3):
        ids = [p.id for s in range(first, first + 3) for p in steps[s]]
        assert len(set(ids)) == 9
    assert [prompts_of(prompts, 3, 7, step) for step in (4, 5)] == steps[4:]
    assert [prompts_of(prompts, 3, 8, step) for step in range(6)] != steps


def test_the_cosine_falls_from_the_peak_towards_nothing():
    rate = learning_rates(0.4, "cosine", 10)
    assert [rate(0), rate(5), rate(10)] == pytest.approx([0.4, 0.2, 0.0])
