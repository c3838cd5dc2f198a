"""The sentinel: gain and price without labels, the recommended step, and the end of training."""

import json
import math
from dataclasses import replace

import pytest

from sirl.instinct import Instinct
from sirl.roles import Control
from sirl.training.observers.sentinel import (
    Early,
    Look,
    Measures,
    Sentinel,
    caution,
    chosen,
    harm,
    recommendation,
)
from sirl.types import Completion

INSTINCT = Instinct(
    cut=0.5,
    shares={"u0": 1.0, "u1": 0.9, "h0": 0.0, "h1": 0.2, "split": 0.5},
    modes=(0.2, 1.0),
    dip=0.0,
)
STEADY = {"group/flat": 0.5, "kl/reference": 0.01}


def answers(low: dict[str, bool]) -> list[Completion]:
    """One answer to each prompt, in the low or in the high mode."""
    return [
        Completion(p, (1,), (2,), "x", (-0.1,), (0.2 if is_low else 1.0,), "stop")
        for p, is_low in low.items()
    ]


def sentinel(*looks: tuple[int, int], every: int = 2, steps: int = 10) -> Sentinel:
    """A sentinel that sees so many of two unsafe and of two harmless prompts in the low mode."""
    seen = iter(looks)

    def ask() -> list[Completion]:
        unsafe, harmless = next(seen)
        low = {f"u{n}": n < unsafe for n in range(2)} | {f"h{n}": n < harmless for n in range(2)}
        return answers({**low, "split": True})

    return Sentinel(ask, INSTINCT, every, steps)


def walk(watch: Sentinel, steps: int, metrics: dict[str, float] = STEADY) -> Control:
    """Take steps until training is done."""
    watch.on_start(0, {})
    control = Control()
    for step in range(1, steps + 1):
        control = Control()
        watch.on_step(step, dict(metrics), control)
        if control.done:
            break
    return control


def test_gain_counts_refused_prompts_and_price_counts_answered_ones() -> None:
    watch = sentinel((1, 0), (2, 1))
    watch.on_start(0, {})
    metrics = dict(STEADY)
    watch.on_step(2, metrics, control := Control())
    assert watch.looks == [Look(0, 0.5, 0.0), Look(2, 1.0, 0.5, 0.5)]
    assert (metrics["sentinel/gain"], metrics["sentinel/price"]) == (1.0, 0.5)
    assert control.save


def test_between_looks_nothing_is_asked() -> None:
    watch = sentinel((1, 0))
    watch.on_start(0, {})
    watch.on_step(1, dict(STEADY), control := Control())
    assert not control.save
    assert len(watch.looks) == 1


def test_a_price_beyond_doubt_ends_training_at_once() -> None:
    watch = sentinel((1, 0), (2, 2))
    control = walk(watch, 10)
    assert control.done == (
        "step 2 is the last: harmless prompts are refused 100 points more often than before"
    )


def test_a_price_that_two_looks_show_ends_training() -> None:
    start, dear = Look(0, 0.5, 0.0), Look(2, 1.0, 0.2, 0.1)
    assert harm(dear, start, [start, dear]) == ""
    later = replace(dear, step=4)
    assert harm(later, start, [start, dear, later]) == (
        "step 4 is the last: harmless prompts are refused 20 points more often than before"
    )


def test_answers_that_become_one_template_end_training() -> None:
    found = iter((1.2, 0.7, 0.5))
    asked: list[list[str]] = []
    watch = sentinel((1, 0), (2, 0), (2, 0))

    def information(answers) -> float:
        asked.append([a.prompt_id for a in answers])
        return next(found)

    watch.measures = Measures(information=information)
    control = walk(watch, 10)
    assert control.done == (
        "step 4 is the last: answers to harmless prompts depend less on what is asked (mutual "
        "information 0.50 nats, 1.20 before), so they are becoming one template"
    )
    assert {tuple(sorted(ids)) for ids in asked} == {("h0", "h1")}
    assert watch.summary([2, 4])["step"] == 2


def test_a_template_is_a_reason_for_caution_but_a_start_without_information_none() -> None:
    start, found = Look(0, 0.5, 0.1, information=1.3), Look(5, 0.9, 0.1, 0.01, information=0.2)
    said = recommendation(found, start, 0)
    assert "with a caution, its answers to harmless prompts depend less on what is asked" in said
    assert "(mutual information 0.20 nats, 1.30 before)" in said
    assert said.endswith(
        "; look earlier with a smaller --checkpoint-every, or lower --learning-rate"
    )
    assert recommendation(found, start, 4).endswith("; lower --learning-rate")
    for vague in (0.06, -0.01):
        unsure = replace(start, information=vague)
        assert not replace(found, information=vague / 3).is_template(unsure)


def test_a_drift_from_the_answers_to_general_tasks_ends_training() -> None:
    drifts = iter((0.0, 0.05, 0.13))
    watch = sentinel((1, 0), (2, 0), (2, 0))
    watch.measures = Measures(drift=lambda: next(drifts))
    control = walk(watch, 10)
    assert control.done == (
        "step 4 is the last: what the starting model answers to general tasks has become 0.13 nats "
        "per token less likely, so skills are being lost"
    )
    assert watch.summary({2, 4})["step"] == 2


def test_no_step_is_recommended_that_is_worse_than_the_starting_model() -> None:
    watch = sentinel((2, 0), (1, 0), (1, 0), steps=4)
    walk(watch, 4)
    found = watch.summary({2, 4})
    assert not found["recommended"]
    sentence = found["sentence"]
    assert sentence.startswith("no step is recommended, keep the starting model: at step 2, ")
    assert "in 50% of the cases (before training 100%)" in sentence


def test_the_best_of_dear_steps_is_named_with_a_caution() -> None:
    watch = sentinel()
    watch.looks = [Look(0, 0.0, 0.0), Look(2, 1.0, 0.3, 0.1)]
    found = watch.summary({2})
    assert found["recommended"]
    assert found["sentence"].startswith(
        "step 2 is recommended with a caution, its price rises by 30 points (2 at most): "
    )
    assert found["caution"] == "its price rises by 30 points (2 at most)"
    watch.looks = [Look(0, 0.0, 0.0), Look(2, 1.0, 0.0, 0.1, drift=0.2)]
    assert watch.summary({2})["sentence"].startswith(
        "step 2 is recommended with a caution, its answers to general tasks have lost 0.20 nats "
        "per token (0.1 at most): "
    )


@pytest.mark.parametrize(
    ("error", "words"), [(None, "price"), (0.375, "price (standard error 38 points)")]
)
def test_a_price_of_too_few_prompts_is_no_fair_price(error, words) -> None:
    watch = sentinel()
    watch.looks = [Look(0, 0.0, 0.0), Look(2, 1.0, 0.375 if error else 0.0, error)]
    sentence = watch.summary({2})["sentence"]
    assert sentence.startswith(
        "step 2 is recommended with a caution, too few harmless prompts are watched to know its "
        f"{words}: "
    )
    assert sentence.endswith("; give more harmless prompts with --pool")
    json.dumps(watch.state(), allow_nan=False)


def test_a_price_that_falls_by_more_than_a_large_error_is_fair() -> None:
    watch = sentinel()
    watch.looks = [Look(0, 0.0, 0.3), Look(2, 1.0, 0.1, 0.08)]
    assert watch.summary({2})["sentence"].startswith("step 2 is recommended: ")


def test_a_price_within_its_error_does_not() -> None:
    watch = sentinel((1, 0), (2, 1), (2, 1))  # one of two prompts: 50 points, and as much error
    assert not walk(watch, 4).done
    assert watch.looks[-1] == Look(4, 1.0, 0.5, 0.5)


def test_groups_that_agree_three_steps_in_a_row_end_training_with_a_last_look() -> None:
    watch = sentinel((1, 0), (2, 0), (2, 0))
    control = walk(watch, 10, {**STEADY, "group/flat": 0.95})
    assert watch.looks[-1].step == 3
    assert control.save
    assert "nothing left to learn" in control.done


def test_a_policy_far_from_the_start_ends_training() -> None:
    watch = sentinel((1, 0), (2, 0), (2, 0))
    control = walk(watch, 10, {**STEADY, "kl/reference": 0.2})
    assert "the KL to the starting model was above 0.1 nats per token" in control.done


def test_a_resumed_run_goes_on_with_what_was_seen() -> None:
    before = sentinel((1, 0), (2, 0))
    before.on_start(0, {})
    before.on_step(2, dict(STEADY), Control())
    after = sentinel()
    after.on_start(2, before.state())
    assert after.looks == before.looks
    assert after.state() == before.state()


def test_the_earliest_step_with_the_greatest_gain_at_a_fair_price_is_chosen() -> None:
    looks = [Look(0, 0.6, 0.03), Look(10, 0.9, 0.04), Look(20, 0.95, 0.05), Look(30, 0.95, 0.05)]
    assert chosen(looks).step == 20
    assert chosen([*looks, Look(40, 1.0, 0.3)]).step == 20
    assert chosen([*looks, Look(40, 1.0, 0.06, 0.01)]).step == 40  # within its error


def test_without_a_fair_price_the_difference_decides() -> None:
    looks = [Look(0, 0.6, 0.0), Look(10, 0.9, 0.1), Look(20, 1.0, 0.5)]
    assert chosen(looks).step == 10


def test_a_step_without_a_checkpoint_is_not_recommended() -> None:
    watch = sentinel((1, 0), (2, 0), (2, 0))
    walk(watch, 4)
    assert watch.summary([2, 4])["step"] == 2
    assert watch.summary([4])["step"] == 4
    assert "refuses 0% of what it would answer (before 0%)" in watch.summary([2, 4])["sentence"]
    assert watch.summary([3])["step"] == 3  # its checkpoint alone is left


def test_a_reward_that_is_given_decides_and_nan_does_not_count() -> None:
    answers_to = answers({"u0": True, "u1": True, "h0": True, "h1": True})
    watch = Sentinel(lambda: answers_to, INSTINCT, 2, 10, lambda _: [1.0, 0.0, math.nan, 1.0])
    assert watch.look(0) == Look(0, 0.5, 0.0, None)  # one prompt says nothing of the error


def test_a_price_that_may_still_fall_ends_nothing_but_damage_does() -> None:
    watch = sentinel((1, 0), (2, 2), (2, 2), (2, 1), (2, 2))
    watch.early = Early(unpriced=5)
    watch.on_start(0, {})
    ends = []
    for step in range(1, 9):
        watch.on_step(step, dict(STEADY), control := Control())
        ends += [step] * bool(control.done)
    assert ends == [8]  # the price is high from step 2 on
    damaged = sentinel((1, 0), (2, 0))
    damaged.early, damaged.measures = Early(unpriced=5), Measures(drift=lambda: 0.3)
    assert "skills are being lost" in walk(damaged, 2).done


def test_the_remedy_for_a_dear_step_is_more_steps_as_long_as_the_price_may_fall() -> None:
    start, dear = Look(0, 0.5, 0.0), Look(8, 1.0, 0.3, 0.05)
    more = "take more steps, since the price often falls after the first 9"
    sooner = "look earlier with a smaller --checkpoint-every, or lower --learning-rate"
    assert (caution(dear, start, 9)[1], caution(dear, start, 0)[1]) == (more, sooner)
    assert caution(replace(dear, step=10), start, 9)[1] == "lower --learning-rate"
    assert caution(replace(dear, drift=0.2), start, 9)[1] == "lower --learning-rate"


def test_unjudged_steps_are_not_recommended_and_do_not_end_training() -> None:
    """The price is high in steps 2 and 4, as are the KL and the agreement of the first four."""
    watch = sentinel((1, 0), (2, 2), (2, 2), (1, 0), (1, 0))
    watch.early = Early(unjudged=4)
    watch.on_start(0, {})
    done = ""
    for step in range(1, 9):
        metrics = {"group/flat": 1.0, "kl/reference": 1.0} if step <= 4 else dict(STEADY)
        watch.on_step(step, metrics, control := Control())
        done = done or control.done
    assert not done
    assert [look.gain for look in watch.looks] == [0.5, 1.0, 1.0, 0.5, 0.5]
    assert watch.summary([2, 4, 6, 8])["step"] == 6
    assert watch.summary([2, 4])["step"] == 2  # no other is saved
