import math
from dataclasses import replace

import pytest

from sirl.rewards import REWARDS
from sirl.roles import Reward
from sirl.types import Completion

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
