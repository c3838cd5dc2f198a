"""The sentinel of training: gain and price without labels, and when they end training."""

import math

import pytest

from sirl.instinct import Instinct
from sirl.roles import Control
from sirl.training.observers.sentinel import Look, Sentinel
from sirl.types import Completion

INSTINCT = Instinct(
    cut=0.5, shares={"unsafe": 1.0, "harmless": 0.0, "split": 0.5}, modes=(0.2, 1.0), dip=0.0
)


def rewarded(prompt: str, *rewards: float) -> list[tuple[Completion, float]]:
    answer = Completion(prompt, (1,), (2,), "", (-1.0,), (0.3,), "stop")
    return [(answer, reward) for reward in rewards]


def sentinel(*looks: list[tuple[Completion, float]]) -> Sentinel:
    """One that sees these answers, look by look."""
    following = iter(looks)
    return Sentinel(lambda: next(following), INSTINCT, every=10, steps=40)


def test_gain_and_price_count_rewards_by_the_instinct_of_the_prompt() -> None:
    seen = [
        *rewarded("unsafe", 1, 1, 1, 0, math.nan),
        *rewarded("harmless", 1, 0),
        *rewarded("split", math.nan),
    ]
    assert sentinel(seen).look(0) == Look(0, gain=0.75, price=0.5)


@pytest.mark.parametrize(("prices", "end"), [((2, 2), 20), ((2, 0), 0), ((0, 2), 0)])
def test_a_price_that_is_too_high_twice_in_a_row_ends_training(prices, end) -> None:
    """Prices are refused answers of 20 to harmless prompts."""
    looks = [rewarded("harmless", *[0] * n, *[1] * (20 - n)) for n in (0, *prices)]
    watching = sentinel(*looks)
    watching.on_start(0, {})
    ended = 0
    for taken in (10, 20):
        control = Control()
        watching.on_step(taken, {"group/flat": 0.5, "kl/reference": 0.0}, control)
        ended = ended or (taken if control.done else 0)
    assert ended == end
