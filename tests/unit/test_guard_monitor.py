"""The monitor of a stream: when it checks, when it alarms, and what leaves."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sirl.guard.monitor import GuardedStream, HoldBack, Monitor, Watch, check_positions

QUIET = Watch(every=4, soonest=2, averaged=1, entropy_span=2)


def streamed(entropies, scores, watch, threshold, window=4, chunks=None):
    """The text that leaves, the last decision, and the positions that were scored."""
    asked = []

    def score(position):
        asked.append(position)
        return scores(position)

    stream = GuardedStream(Monitor(watch, threshold), HoldBack(window), score)
    tokens = [(f"{n} ", entropy) for n, entropy in enumerate(entropies)]
    out = []
    for size in chunks or [1] * len(tokens):
        out.append(stream.feed(tokens[:size]))
        tokens = tokens[size:]
    out += [stream.feed(tokens), stream.end()]
    return "".join(out), stream.decision, asked


def test_the_prompt_every_fourth_token_and_the_end_are_checked():
    assert check_positions([0.1] * 10, QUIET) == [0, 4, 8, 10]
    assert check_positions([0.1] * 8, QUIET) == [0, 4, 8]
    assert check_positions([], QUIET) == [0]


def test_a_rise_of_the_entropy_above_the_cut_is_checked_at_once_and_only_once():
    watch = Watch(every=16, soonest=2, entropy_span=2, entropy_cut=1.0)
    # Means of two tokens: 0.1, 0.1, 1.05 (above), 2, 2, ...
    assert check_positions([0.1, 0.1, 0.1, 2.0, 2.0, 2.0, 2.0], watch) == [0, 4, 7]
    # Falls below and rises again: a second check.
    assert check_positions([0.1, 2.0, 0.1, 0.1, 2.0, 2.0], watch) == [0, 2, 5, 6]


def test_a_rise_right_after_a_check_waits_for_the_next_regular_one():
    watch = Watch(every=4, soonest=3, entropy_span=1, entropy_cut=1.0)
    assert check_positions([0.1, 0.1, 0.1, 0.1, 2.0, 2.0, 2.0, 2.0], watch) == [0, 4, 8]
    watch = Watch(entropy_cut=0.5)
    # Means of eight tokens exceed the cut from token 19 on, 3 after a check; or from 24, 8 after.
    assert check_positions([0.1] * 14 + [0.9] * 30, watch) == [0, 16, 32, 44]
    assert check_positions([0.1] * 19 + [0.9] * 25, watch) == [0, 16, 24, 40, 44]


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_an_entropy_that_is_not_finite_is_checked_and_hides_no_later_rise(broken):
    watch = Watch(every=16, soonest=2, entropy_span=2, entropy_cut=1.0)
    entropies = [0.1, 0.1, broken, 0.1, 0.1, 0.1, 0.1, 2.0, 2.0, 2.0]
    assert check_positions(entropies, watch) == [0, 3, 8, 10]
    twice = [0.1, 0.1, broken, -broken, 0.1, 0.1, 0.1, 2.0, 2.0, 2.0]
    assert check_positions(twice, watch) == [0, 3, 8, 10]
    never = Watch(every=4, soonest=2, entropy_span=2)
    assert check_positions(entropies, never) == [0, 4, 8, 10]


def test_the_score_is_the_mean_of_the_last_checks_and_its_maximum_counts():
    monitor = Monitor(Watch(every=1, soonest=1, averaged=2), threshold=10.0)
    monitor.begin()
    found = [monitor.checked(1.0).score]
    for score in (3.0, 7.0, 3.0, -9.0):
        assert monitor.token(0.0).action == "check"
        found.append(monitor.checked(score).score)
    assert found == [1.0, 3.0, 5.0, 5.0, 5.0]


def test_a_low_score_of_the_prompt_hides_no_high_one_of_the_answer():
    monitor = Monitor(Watch(every=1, soonest=1, averaged=2), threshold=2.0)
    monitor.begin()
    assert monitor.checked(-5.0).action == "continue"
    monitor.token(0.0)
    assert monitor.checked(3.0) == ("alarm", 3.0, 1)


def test_an_alarm_needs_its_number_of_high_scores_in_a_row():
    scores = {0: 1.0, 4: 0.0, 8: 1.0, 12: 1.0, 16: 0.0}
    watch = Watch(every=4, soonest=2, averaged=1, in_a_row=2)
    _, decision, asked = streamed([0.1] * 16, scores.__getitem__, watch, threshold=0.5)
    assert decision == ("alarm", 1.0, 12)
    assert asked == [0, 4, 8, 12]


def test_a_score_equal_to_the_threshold_is_no_alarm():
    _, decision, _ = streamed([0.1] * 4, lambda _: 0.5, QUIET, threshold=0.5)
    assert decision == ("continue", 0.5, 4)


def test_after_an_alarm_every_decision_is_that_alarm_and_nothing_leaves():
    stream = GuardedStream(Monitor(QUIET, 0.5), HoldBack(4), lambda k: float(k == 8))
    assert stream.feed([(str(n), 0.1) for n in range(20)]) == "012"  # 4 of 7 are held
    assert stream.stopped
    assert stream.decision.position == 8
    assert (stream.feed([("x", 0.1)]), stream.end()) == ("", "")
    assert stream.monitor.token(3.0).action == "alarm"
    assert stream.monitor.checked(-5.0).position == 8


def test_an_alarm_at_the_prompt_lets_nothing_out():
    text, decision, asked = streamed([0.1] * 30, lambda _: 1.0, QUIET, threshold=0.5)
    assert (text, decision.position, asked) == ("", 0, [0])


def test_a_score_that_is_no_number_is_an_error():
    monitor = Monitor(QUIET, 0.0)
    with pytest.raises(ValueError, match="has no score"):
        monitor.checked(math.nan)


@pytest.mark.parametrize(
    "wrong", [{"every": 0}, {"soonest": 17}, {"averaged": 0}, {"entropy_cut": math.nan}]
)
def test_a_watch_that_cannot_be_kept_is_an_error(wrong):
    with pytest.raises(ValueError, match="cannot be kept"):
        Watch(**wrong)


ANSWERS = st.lists(st.floats(0.0, 8.0), max_size=60)
SCORES = st.lists(st.floats(-3.0, 3.0), min_size=61, max_size=61)
WATCHES = st.builds(
    Watch,
    every=st.integers(4, 20),
    soonest=st.integers(1, 4),
    averaged=st.integers(1, 3),
    in_a_row=st.integers(1, 3),
    entropy_span=st.integers(1, 8),
    entropy_cut=st.floats(0.5, 6.0),
)


@given(ANSWERS, SCORES, WATCHES, st.integers(0, 32), st.lists(st.integers(0, 9), max_size=20))
def test_any_chunking_gives_the_same_decision_and_the_same_text(
    entropies, scores, watch, window, chunks
):
    one_by_one = streamed(entropies, scores.__getitem__, watch, 0.5, window)
    chunked = streamed(entropies, scores.__getitem__, watch, 0.5, window, chunks)
    assert chunked == one_by_one


@given(ANSWERS, SCORES, WATCHES, st.integers(0, 32))
def test_nothing_leaves_that_no_passed_check_has_judged(entropies, scores, watch, window):
    hold = HoldBack(window)
    passed = []

    def score(position):
        assert hold.left <= max(passed, default=0)
        passed.append(position)
        return scores[position]

    stream = GuardedStream(Monitor(watch, 0.5), hold, score)
    left = 0
    for n, entropy in enumerate(entropies, 1):
        left += len(stream.feed([("x", entropy)]))
        assert left == hold.left <= max(0, n - window)
    left += len(stream.end())
    assert left == (hold.left if stream.stopped else len(entropies))


@given(ANSWERS, SCORES, WATCHES)
def test_an_alarm_is_raised_exactly_if_the_highest_score_exceeds_the_threshold(
    entropies, scores, watch
):
    _, undisturbed, asked = streamed(entropies, scores.__getitem__, watch, math.inf)
    _, stopped, _ = streamed(entropies, scores.__getitem__, watch, 0.5)
    assert (stopped.action == "alarm") == (undisturbed.score > 0.5)
    assert asked == check_positions(entropies, watch)
