"""Mutual information of prompts and answers, on likelihoods that are known."""

import math

import pytest

from sirl.training.information import mutual_information
from sirl.types import Completion


def answers(count: int) -> list[Completion]:
    """One answer to each of so many prompts, which has the token of its prompt."""
    return [Completion(str(n), (n,), (n,), "", (), (), "stop") for n in range(count)]


def information(count: int, own: float, other: float) -> float | None:
    """The estimate where an answer is so likely after its own prompt and after others, in nats."""

    def likelihoods(completions):
        return [own if c.prompt_ids == c.token_ids else other for c in completions]

    return mutual_information(answers(count), likelihoods)


def test_answers_that_depend_on_their_prompts_have_the_most_and_a_template_has_none():
    assert information(6, -1.0, -1000.0) == pytest.approx(math.log(4))
    assert information(6, -700.0, -700.0) == pytest.approx(0.0)
    # One in four answers: log(1 / ((1 + 3 / e) / 4)).
    assert information(6, -2.0, -3.0) == pytest.approx(-math.log((1 + 3 / math.e) / 4))


def test_each_answer_is_scored_with_its_own_prompt_and_the_next_ones():
    asked = []

    def likelihoods(completions):
        asked.extend((c.token_ids[0], c.prompt_ids[0]) for c in completions)
        return [0.0] * len(completions)

    mutual_information(answers(5), likelihoods)
    assert asked[:4] == [(0, 0), (0, 1), (0, 2), (0, 3)]
    assert asked[-4:] == [(4, 4), (4, 0), (4, 1), (4, 2)]


def test_too_few_prompts_and_empty_answers_say_nothing():
    assert information(3, -1.0, -2.0) is None
    silent = Completion("s", (9,), (), "", (), (), "stop")
    assert mutual_information([*answers(3), silent], lambda _: []) is None
