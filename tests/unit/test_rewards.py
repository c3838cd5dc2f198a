import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from sirl.errors import TrainingError
from sirl.rewards import REWARDS, negative_entropy
from sirl.roles import Reward
from sirl.training.grading import ByGroup
from sirl.types import Completion, Prompt

DONE = Completion(
    "p", (1,), (5, 6), "hi", (-0.5, -1.5), (0.25, 0.75), "stop", certainties=(2.0, 4.0)
)


@pytest.mark.parametrize(
    ("name", "earned"),
    [("negative_entropy", -0.5), ("reversed", 0.5), ("perplexity", -1.0), ("self_certainty", 3.0)],
)
def test_rewards_by_hand(name, earned):
    assert REWARDS[name](DONE) == earned
    assert isinstance(REWARDS[name], Reward)


def test_the_random_reward_depends_on_the_sample_and_not_on_its_confidence():
    draw = REWARDS["random"]
    assert draw(DONE) == draw(replace(DONE, entropies=(9.0, 9.0)))
    assert draw(DONE) != draw(replace(DONE, sample=1))
    draws = [draw(replace(DONE, sample=i)) for i in range(400)]
    assert 0 <= min(draws) < 0.05
    assert 0.95 < max(draws) < 1
    assert sum(draws) / 400 == pytest.approx(0.5, abs=0.05)


def test_an_empty_completion_earns_nan_and_is_seen():
    assert math.isnan(REWARDS["negative_entropy"](replace(DONE, entropies=())))


@pytest.mark.parametrize(
    ("returned", "shown"),
    [(math.nan, "nan"), (-math.inf, "-inf"), ("high", "'high'"), (None, "None")],
)
def test_a_reward_that_returns_no_finite_number_is_named_with_what_it_returned(returned, shown):
    completion = Completion("p3", (), (1, 2), "", (0.0, 0.0), (0.5, 1.5), "stop")
    grader = ByGroup(lambda _: returned, "python:mine:odd")
    with pytest.raises(TrainingError) as caught:
        grader.grade([Prompt.user("p3", "?")], [completion] * 2)
    assert str(caught.value) == (
        f"the reward python:mine:odd returned {shown} for an answer of 2 tokens to the prompt p3: "
        "let it return a finite number for every answer, then continue with --resume"
    )


def test_rewards_may_be_any_kind_of_number_and_nan_where_there_are_no_tokens():
    full = Completion("p", (), (1, 2), "", (0.0, 0.0), (0.5, 1.5), "stop")
    empty = Completion("p", (), (), "", (), (), "stop")
    for returned in (2, True, Fraction(1, 2), np.float32(0.25), torch.tensor(3.0)):
        assert ByGroup(lambda _, x=returned: x).rewards([], [full]) == [float(returned)]
    broken = replace(full, entropies=(0.5, math.nan))  # by the policy's fault
    assert all(map(math.isnan, ByGroup(negative_entropy).rewards([], [empty, broken])))
