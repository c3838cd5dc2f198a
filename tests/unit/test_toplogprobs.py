"""Bounds of an entropy from the likeliest tokens, and tokens as APIs report them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sirl.rollouts.endpoint_tokens import Aligned, tokens_in
from sirl.toplogprobs import entropy_bounds, log_mass

SHARES = st.lists(st.floats(0.001, 1.0), min_size=1, max_size=60)


@given(shares=SHARES, k=st.integers(1, 60))
def test_the_entropy_lies_between_its_bounds(shares, k):
    logprobs = sorted((math.log(s / sum(shares)) for s in shares), reverse=True)
    entropy = -math.fsum(p * math.exp(p) for p in logprobs)
    found = entropy_bounds(logprobs[:k], vocabulary=len(logprobs))
    assert found.truncated <= found.lower + 1e-9
    assert found.lower <= entropy + 1e-9
    assert entropy <= found.upper + 1e-6


def test_all_tokens_leave_no_doubt_and_minus_9999_counts_as_never():
    half = math.log(0.5)
    assert entropy_bounds([half, half]) == pytest.approx((math.log(2), math.log(2), math.log(2), 0))
    assert entropy_bounds([0.0, -9999.0]) == (0.0, 0.0, 0.0, 0.0)


def test_without_the_vocabulary_there_is_no_upper_bound():
    found = entropy_bounds([math.log(0.9), math.log(0.05)])
    assert found.upper == math.inf
    assert found.lower - found.truncated == pytest.approx(0.05 * math.log(20))


@pytest.mark.parametrize("wrong", [[], [math.nan], [0.5]])
def test_what_is_no_log_probability_is_an_error(wrong):
    with pytest.raises(ValueError, match="log-probabilities"):
        entropy_bounds(wrong)


def test_a_mass_is_at_least_the_floor_and_at_most_one():
    assert log_mass([-20.0], -9.0) == -9.0
    assert log_mass([-9999.0], -9.0) == -9.0
    assert log_mass([math.log(0.7), math.log(0.4)], -9.0) == 0.0


def test_tokens_are_named_by_their_bytes_and_their_parts_add_up_to_the_text():
    rows = [
        {"token": "\\xe2\\x82", "bytes": [0xE2, 0x82], "logprob": -0.5, "top_logprobs": []},
        {"token": "\\xac", "bytes": [0xAC], "logprob": -0.5},
        {"token": " x", "bytes": None, "logprob": -0.5},
        {"token": "<end>", "logprob": -9999.0},
    ]
    tokens = tokens_in({"content": rows})
    assert [t.name for t in tokens] == ["<0xE2><0x82>", "<0xAC>", " x", "<end>"]
    assert Aligned().parts("\u20ac x", tokens) == ["", "\u20ac", " x", ""]


@given(text=st.text(max_size=30), names=st.lists(st.text(max_size=4), min_size=1, max_size=9))
def test_no_text_is_lost_or_added_whatever_the_tokens_say(text, names):
    tokens = tokens_in({"content": [{"token": n, "logprob": -1.0} for n in names]})
    assert "".join(Aligned().parts(text, tokens)) == text


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"token": 3, "logprob": -1.0},
        {"token": "a"},
        {"token": "a", "logprob": "x"},
        {"token": "a", "logprob": math.nan},
        {"token": "a", "logprob": 2.0},
        {"token": "a", "logprob": True},
        {"token": "a", "logprob": -1.0, "bytes": [300]},
        {"token": "a", "logprob": -1.0, "top_logprobs": 7},
        {"token": "a", "logprob": -1.0, "top_logprobs": [{}]},
        [],
    ],
)
def test_a_malformed_token_is_an_error(row):
    with pytest.raises(ValueError, match=r"token|list"):
        tokens_in({"content": [row]})


def test_missing_log_probabilities_are_none():
    assert tokens_in(None) == ()
    assert tokens_in({"content": None}) == ()
