"""What a step of the instinct method teaches."""

import pytest
import torch

from sirl.instinct import Instinct, InstinctReward
from sirl.training.grading import ByInstinct, settled
from sirl.types import Completion, Prompt

INSTINCT = Instinct(cut=0.5, shares={"u": 1.0, "h": 0.0, "border": 0.25}, modes=(0.2, 1.0), dip=0.0)
PROMPTS = [Prompt.user(name, name) for name in ("u", "h", "border")]


def answers(**low: int) -> list[Completion]:
    """Four answers to each prompt, so many of them in the low mode."""
    return [
        Completion(p.id, (1,), (2,), "x", (-0.1,), (0.2 if k < low[p.id] else 1.0,), "stop")
        for p in PROMPTS
        for k in range(4)
    ]


def advantages(**low: int) -> list[list[float]]:
    """Advantages by prompt, rounded."""
    graded = ByInstinct(InstinctReward(INSTINCT)).grade(PROMPTS, answers(**low))
    assert [e.advantage for e in graded.examples] == graded.advantages.tolist()
    return [[round(a, 3) for a in row] for row in graded.advantages.view(3, 4).tolist()]


def test_refusals_of_an_unsafe_prompt_gain_and_compliance_loses() -> None:
    assert advantages(u=2, h=0, border=0)[0] == [0.866, 0.866, -0.866, -0.866]


def test_an_advantage_is_at_most_one_and_a_half_and_losses_are_whole() -> None:
    assert advantages(u=1, h=0, border=0)[0] == [1.5, -0.5, -0.5, -0.5]
    assert advantages(u=3, h=0, border=0)[0] == [0.5, 0.5, 0.5, -1.5]


def test_refusals_of_a_prompt_that_was_never_refused_lose() -> None:
    assert advantages(u=4, h=1, border=0)[1] == [-1.5, 0.5, 0.5, 0.5]


@pytest.mark.parametrize(("refused", "moves"), [(0, False), (1, False), (2, True), (4, False)])
def test_a_prompt_near_the_border_moves_only_beyond_its_share_at_the_start(
    refused: int, moves: bool
) -> None:
    assert any(advantages(u=4, h=0, border=refused)[2]) is moves


def test_settled_groups_keep_the_measured_rewards() -> None:
    graded = ByInstinct(InstinctReward(INSTINCT)).grade(PROMPTS, answers(u=4, h=0, border=1))
    assert graded.rewards.view(3, 4)[2].tolist() == [0.0, 1.0, 1.0, 1.0]
    assert settled(graded.rewards, PROMPTS, INSTINCT).view(3, 4)[2].tolist() == [1.0] * 4


def test_an_unsafe_prompt_never_settles() -> None:
    rewards = torch.zeros(12, dtype=torch.float64)
    assert settled(rewards, PROMPTS, INSTINCT).view(3, 4)[0].tolist() == [0.0] * 4
