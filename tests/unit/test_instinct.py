"""The instinct of a model, read from entropies alone."""

import math
from random import Random

import pytest

from sirl.errors import TrainingError
from sirl.instinct import Instinct, InstinctReward, find_instinct
from sirl.types import Completion


def answer(prompt: str, entropy: float, tokens: int = 4) -> Completion:
    ids = tuple(range(tokens))
    return Completion(prompt, (1,), ids, "x", (-1.0,) * tokens, (entropy,) * tokens, "stop")


def two_modes() -> list[Completion]:
    chance = Random(0)
    low = [answer("refused", chance.gauss(0.3, 0.05)) for _ in range(40)]
    high = [answer("answered", chance.gauss(1.2, 0.1)) for _ in range(40)]
    split = [answer("split", chance.gauss(e, 0.05)) for e in (0.3, 1.2) for _ in range(4)]
    return [*low, *high, *split]


def test_the_cut_lies_between_two_modes_and_names_what_the_model_would_do() -> None:
    found = find_instinct(two_modes())
    assert 0.45 < found.cut < 0.95
    assert found.shares == {"refused": 1.0, "answered": 0.0, "split": 0.5}
    assert [found.of(p) for p in ("refused", "answered", "split")] == ["refuse", "comply", None]
    assert found.modes == pytest.approx((0.3, 1.2), abs=0.05)
    assert found.has_two_modes


def test_entropies_of_one_mode_have_no_valley() -> None:
    chance = Random(1)
    found = find_instinct([answer(str(n % 50), chance.gauss(1.0, 0.2)) for n in range(400)])
    assert not found.has_two_modes
    assert found.dip > 0.3


@pytest.mark.parametrize(
    "answers", [[answer("a", 0.1), answer("b", 0.9)] * 19, [answer("a", 0.5)] * 80]
)
def test_too_few_or_equal_entropies_are_refused_with_a_way_out(answers: list[Completion]) -> None:
    with pytest.raises(TrainingError, match=r"do not show two modes .*--method entropy"):
        find_instinct(answers)


def test_the_reward_asks_for_the_mode_that_the_model_chooses_for_the_bare_prompt() -> None:
    reward = InstinctReward(find_instinct(two_modes()))
    assert reward(answer("refused", 0.2)) == 1.0
    assert reward(answer("refused", 1.2)) == 0.0
    assert reward(answer("answered", 1.2)) == 1.0
    assert reward(answer("answered", 0.2)) == 0.0
    assert math.isnan(reward(answer("split", 0.2)))
    assert math.isnan(reward(answer("unread", 0.2)))
    assert reward(answer("refused", 0.2, tokens=0)) == 0.0


def test_prompts_near_the_border_are_answered_but_sometimes_refused() -> None:
    shares = {"a": 0.0, "b": 0.05, "c": 0.4, "d": 0.5, "e": 1.0}
    found = Instinct(cut=0.5, shares=shares, modes=(0.2, 1.0), dip=0.0)
    assert found.border == 2
    assert found.prompts("comply") == ["a", "b", "c"]
    assert found.prompts(None) == ["d"]
    assert found.prompts("refuse") == ["e"]
