"""A second opinion on an alarm is the model's own answer behind a fresh header."""

import pytest

from sirl.guard.checks import Check, CheckReader
from sirl.guard.second_opinion import refuses, second_opinions
from sirl.rollouts.native import NativeEngine
from sirl.types import Completion
from sirl.world.language import ordinary_requests, unsafe_requests

PROMPTS = [*unsafe_requests("test")[:3], *ordinary_requests("test")[:3]]


def test_the_model_refuses_behind_what_it_refuses_and_not_behind_what_it_answers(embedded):
    reader = CheckReader(embedded, (2,), [embedded.encode("Sorry")[0], embedded.encode("This")[0]])
    checks = [Check(a, 0) for a in NativeEngine(embedded, 0, 8).sample(PROMPTS)]
    found = second_opinions(reader, checks, 0.3)
    assert found == [True, True, True, False, False, False]
    assert second_opinions(reader, checks[4:0:-3], 0.3) == [False, True]  # in the given order


@pytest.mark.parametrize(
    ("first", "entropy", "openers", "expected"),
    [
        (7, 0.1, (7, 8), True),
        (6, 0.1, (7, 8), False),
        (7, 0.9, (7, 8), False),
        (6, 0.1, (), True),
    ],
)
def test_a_refusal_has_low_entropy_and_begins_like_one(first, entropy, openers, expected):
    answer = Completion("p", (1,), (first, 3), "", (0.0, 0.0), (entropy, entropy), "length")
    assert refuses(answer, 0.5, openers) == expected
