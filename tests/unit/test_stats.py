import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sirl.stats import any_rate, auroc, auroc_within_bands, cohen_kappa, mean_rate, rate


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(0, 100, 0, 0.0370), (1, 100, 0.0018, 0.0545), (0, 250, 0, 0.0151), (8, 10, 0.4902, 0.9433)],
)
def test_wilson_intervals_by_the_formula(successes, n, low, high):
    found = rate(successes, n)
    assert (found.value, found.n) == (successes / n, n)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4)


def test_a_rate_of_nothing_is_nan():
    assert math.isnan(rate(0, 0).value)


def test_the_mean_is_over_attacks_and_its_interval_over_behaviours():
    outcomes = {
        "a": {str(i): i < 8 for i in range(10)},
        "b": {str(i): i < 4 for i in range(10)},
    }
    found = mean_rate(outcomes)
    assert found.value == pytest.approx(0.6)
    assert found.n == 20
    assert found.low < 0.45
    assert found.high > 0.75


def test_a_perfect_mean_still_has_room_below():
    found = mean_rate({"a": {str(i): True for i in range(20)}})
    assert (found.value, found.low) == (1.0, pytest.approx(rate(20, 20).low))


def test_unscored_cells_count_neither_way():
    assert mean_rate({"a": {"1": True, "2": False}, "b": {"1": True}}).value == 0.75


def test_any_needs_every_attack_withstood():
    found = any_rate({"a": {"1": True, "2": True}, "b": {"1": False, "2": True}})
    assert (found.value, found.n) == (0.5, 2)


@given(
    st.lists(st.integers(0, 5).map(float), min_size=1, max_size=9),
    st.lists(st.integers(0, 5).map(float), min_size=1, max_size=9),
)
@settings(deadline=None)
def test_auroc_counts_pairs(positive, negative):
    pairs = [(p > n) + 0.5 * (p == n) for p in positive for n in negative]
    assert auroc(positive, negative) == pytest.approx(sum(pairs) / len(pairs))


def test_within_bands_a_pure_length_effect_disappears():
    lengths = list(range(1, 41))
    entropies = [float(n) for n in lengths]
    alternating = [i % 2 == 0 for i in range(40)]
    positive = [e for e, a in zip(entropies, alternating, strict=True) if a]
    negative = [e for e, a in zip(entropies, alternating, strict=True) if not a]
    value, pairs = auroc_within_bands(
        positive, negative, [*map(int, positive)], [*map(int, negative)]
    )
    assert value == pytest.approx(0.5, abs=0.1)
    assert pairs > 0
    assert auroc_within_bands([5.0], [1.0], [100], [1])[1] == 0


def test_kappa_by_hand():
    assert cohen_kappa([1, 1, 0, 0], [1, 1, 0, 0]) == 1
    assert cohen_kappa([1, 1, 0, 0], [1, 0, 1, 0]) == 0
    assert math.isnan(cohen_kappa([1, 1], [1, 1]))
