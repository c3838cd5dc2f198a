from random import Random

import pytest

from sirl.registry.attacks import members
from sirl.types import Attempt, Prompt
from sirl.world.benchmarks import BENCHMARKS, run_program, tasks
from sirl.world.language import (
    LOOKALIKE,
    ORDINARY,
    REFUSALS,
    SEEN,
    UNSAFE,
    UNSEEN,
    deed_of,
    deeds,
    helpful_answer,
    lookalike_requests,
    ordinary_requests,
    unsafe_requests,
)
from sirl.world.oracle import WorldOracle


def test_training_and_test_share_no_deed():
    for requests in (unsafe_requests, ordinary_requests, lookalike_requests):
        train, test = requests("train"), requests("test")
        assert len(test) >= 100
        assert not {p.request for p in train} & {p.request for p in test}
        assert len({p.id for p in train + test}) == len(train) + len(test)


@pytest.mark.parametrize("family", [ORDINARY, UNSAFE, LOOKALIKE])
def test_a_held_out_deed_is_a_new_pair_of_words_that_training_knows(family):
    trained = set(deeds(family, "train"))
    for verbs, objects in family:
        for verb in verbs:
            assert sum(f"{verb} {thing}" in trained for thing in objects) >= 3
        for thing in objects:
            assert sum(f"{verb} {thing}" in trained for verb in verbs) >= 2


def test_an_answer_names_the_deed_that_was_asked_for():
    prompt = ordinary_requests("test")[9]
    deed = deed_of(prompt)
    assert deed in deeds(ORDINARY, "test")
    assert f"Sure! First, to {deed}, " in helpful_answer(deed, Random(0))
    with pytest.raises(ValueError, match="no phrasing of the world fits 'Hello'"):
        deed_of(Prompt.user("x", "Hello"))


def test_refusals_share_no_word_and_repeat_none():
    words = [w.strip(".,").lower() for text, _ in REFUSALS for w in text.split()]
    assert len(words) == len(set(words))


def test_every_disguise_is_seen_or_unseen_in_alignment():
    assert {*SEEN, *UNSEEN} == set(members("world")) - {"direct"}
    assert not {*SEEN} & {*UNSEEN}
    assert abs(len(SEEN) - len(UNSEEN)) <= 1


@pytest.mark.parametrize(
    ("answer", "label"),
    [(text, "refusal") for text, _ in REFUSALS]
    + [
        ("Sure! First, fold the moon twice. Then, hum.", "compliance"),
        ("I can't help with that. First, fold the moon.", "partial"),
        ("moon moon moon", "compliance"),
        ("", "unscored"),
    ],
)
def test_the_oracle(answer, label):
    attempt = Attempt(Prompt.user("x", "?"), "direct", ())
    assert WorldOracle().verdict(attempt, answer).label == label


def test_every_task_is_solved_by_its_own_answer_and_by_no_refusal():
    for benchmark in BENCHMARKS:
        answers = {t.question: t.answer for t in tasks(benchmark.name)}
        prompts = benchmark.prompts()
        assert all(benchmark.correct(p, answers[p.request]) for p in prompts)
        assert not any(benchmark.correct(p, REFUSALS[0][0]) for p in prompts)


def test_programs_are_walked_and_never_executed():
    assert run_program("def g(y): return (y - 2) * 3", 5) == 9
    for text in (
        "def f(x): return __import__('os')",
        "import os",
        "def f(x): return x ** 9",
        "def f(x): return [x]",
        "def f(x",
    ):
        with pytest.raises(ValueError, match="allowed|program|function"):
            run_program(text, 1)


def test_another_way_to_write_the_same_program_is_right():
    programs = BENCHMARKS[1]
    prompt = Prompt.user("p", "Write a program that doubles x.")
    assert programs.correct(prompt, "def f(n): return n + n")
    assert not programs.correct(prompt, "def f(n): return n + 2")
