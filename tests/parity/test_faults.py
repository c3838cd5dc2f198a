"""Steps that meet trouble on the way end as steps that did not."""

import copy
from dataclasses import replace

import pytest
import torch

from sirl.errors import TrainingError
from sirl.models.forward import Scorer
from sirl.policy import group_advantages
from sirl.rewards import negative_entropy
from sirl.rollouts.native import NativeEngine
from sirl.training.grading import examples_of
from sirl.training.parallel import Ranks, SingleProcess, shard_rows
from sirl.training.reference import FrozenCopy
from sirl.training.update import Objective, PolicyLearner, learning_rates
from sirl.types import Prompt
from tests.command import all_said, ended, ranks

PROMPTS = [Prompt.user(f"p{i}", t) for i, t in enumerate(["Hello!", "How do I rob the museum?"])]


class Cramped(Scorer):
    """Runs out of memory where a micro-batch reads more tokens than it holds."""

    def __init__(self, chat, holds, says):
        super().__init__(chat)
        self.holds = holds
        self.says = says

    def forward(self, completions, loss):
        prompts = {c.prompt_ids for c in completions}
        read = sum(map(len, prompts)) + sum(len(c.token_ids) for c in completions)
        found = super().forward(completions, loss)
        if read > self.holds:
            raise RuntimeError(self.says)
        return found


FULL = "[enforce fail] DefaultCPUAllocator: can't allocate memory"


def learner(chat, holds=None, says=FULL, **objective):
    frozen = FrozenCopy(replace(chat, model=copy.deepcopy(chat.model)))
    parallel = SingleProcess(Cramped(chat, holds, says) if holds else Scorer(chat))
    rates = learning_rates(1e-3, "constant", 9)
    return PolicyLearner(chat, frozen, Objective(**objective), rates, parallel=parallel)


def batch(chat):
    completions = NativeEngine(chat, seed=2, new_tokens=30).sample(PROMPTS, group=6)
    rewards = torch.tensor([negative_entropy(c) for c in completions], dtype=torch.double)
    return completions, group_advantages(rewards, 6)


def test_a_step_that_runs_out_of_memory_is_redone_with_half_the_tokens_at_a_time(embedded):
    completions, advantages = batch(embedded)
    roomy = replace(embedded, model=copy.deepcopy(embedded.model))
    expected = learner(roomy, token_budget=80).update(examples_of(completions, advantages), step=0)
    own = learner(embedded, holds=100, token_budget=320)
    found = own.update(examples_of(completions, advantages), step=0)
    assert (found["update/token_budget"], own.token_budget) == (80, 80)
    for key in ("update/loss", "update/gradient_norm", "kl/reference", "sampler/mismatch"):
        assert found[key] == expected[key], key
    for name, weight in roomy.model.state_dict().items():
        assert torch.equal(weight, embedded.model.state_dict()[name]), name


def test_a_completion_that_does_not_fit_by_itself_ends_in_a_sentence(embedded):
    completions, advantages = batch(embedded)
    before = {k: v.clone() for k, v in embedded.model.state_dict().items()}
    with pytest.raises(TrainingError, match=r"a completion of \d+ tokens does not fit in memory"):
        learner(embedded, holds=5, token_budget=320).update(
            examples_of(completions, advantages), step=0
        )
    assert all(torch.equal(v, before[k]) for k, v in embedded.model.state_dict().items())


def test_other_faults_are_not_taken_for_a_full_memory(embedded):
    completions, advantages = batch(embedded)
    own = learner(embedded, holds=5, says="shapes do not match")
    with pytest.raises(RuntimeError, match="shapes do not match"):
        own.update(examples_of(completions, advantages), step=0)


def test_completions_are_dealt_out_whole_groups_at_a_time_and_evenly(embedded):
    completions, _ = batch(embedded)
    three = [*completions, *(replace(c, prompt_ids=(1, 2)) for c in completions[:6])]
    shares = [shard_rows(three, Ranks(rank, 2)) for rank in range(2)]
    assert sorted(i for share in shares for i in share) == list(range(18))
    for share in shares:
        prompts = [three[i].prompt_ids for i in share]
        assert all(prompts.count(p) == 6 for p in prompts)
    assert shard_rows(three, Ranks()) == list(range(18))
    assert [len(shard_rows(completions, Ranks(rank, 4))) for rank in range(4)].count(0) == 2


TWO = """
import math, sys, torch
from sirl import registry
from sirl.config import TrainConfig
from sirl.models.loading import load
from sirl.rollouts.native import NativeEngine
from sirl.training.parallel import shard_rows
from sirl.training.grading import examples_of
from sirl.types import Prompt

config = TrainConfig(model="embedded", out="x", shard=sys.argv[1] == "shards", timeout=60)
ranks = registry.ranks(config)
chat = load("embedded")
learner = registry.learner(config, chat, None, ranks)
prompts = [Prompt.user(str(i), t) for i, t in enumerate(["Hello!", "Add 2 and 3."])]

def sampled(prompts):
    with learner.parallel.unsharded():
        return NativeEngine(chat, 0, 12).sample(prompts, group=3)

# The second process learns nothing in the first two steps.
for step in range(2):
    completions = sampled(prompts[:1])
    assert len(shard_rows(completions, ranks)) == (3 if ranks.main else 0)
    metrics = learner.update(examples_of(completions, torch.tensor([1.0, 0.0, -1.0])), step=step)
    assert metrics["update/skipped"] == 0
    assert metrics["update/gradient_norm"] > 0

completions = sampled(prompts)
theirs = shard_rows(completions, type(ranks)(1, 2))
assert theirs, "the second process learns something"
before = {n: p.detach().clone() for n, p in learner.parameters.items()}
broken = torch.ones(6, dtype=torch.double)
broken[theirs[0]] = math.nan  # only the second process ever multiplies by it
assert learner.update(examples_of(completions, broken), step=2)["update/skipped"] == 1
for name, parameter in learner.parameters.items():
    old, new = (x.full_tensor() if config.shard else x for x in (before[name], parameter))
    assert torch.equal(old, new)

if not config.shard:  # the second process alone runs out of memory once
    learn, full = learner.backward, [not ranks.main]
    def cramped(*rest):
        if full and full.pop():
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return learn(*rest)
    learner.backward = cramped
    metrics = learner.update(examples_of(sampled(prompts), torch.ones(6)), step=3)
    assert metrics["update/token_budget"] == config.token_budget // 2
    assert metrics["update/skipped"] == 0
print("kept step")
ranks.close()
"""


@pytest.mark.parametrize("parallel", ["replicas", "shards"])
def test_processes_keep_step_whatever_happens_to_one_of_them(tmp_path, parallel):
    (tmp_path / "two.py").write_text(TWO)
    processes = ranks(2, tmp_path / "said", parallel, program=tmp_path / "two.py")
    assert [ended(p) for p in processes] == [0, 0], all_said(tmp_path / "said")
    assert all_said(tmp_path / "said").count("kept step") == 2
