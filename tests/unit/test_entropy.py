import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from sirl.entropy import (
    self_certainty,
    token_entropy,
    token_logprobs,
    token_numbers,
)

logits = npst.arrays(
    "float32", (2, 3, 5), elements=st.floats(-30, 30, width=32, allow_nan=False)
).map(torch.from_numpy)


def oracle(row: list[float]) -> float:
    """Entropy in float64, by the book."""
    top = max(row)
    weights = [math.exp(x - top) for x in row]
    probs = [w / sum(weights) for w in weights]
    return -sum(p * math.log(p) for p in probs if p > 0)


@given(logits)
def test_entropy_equals_a_naive_float64_oracle(x):
    found = token_entropy(x)
    for i in range(2):
        for j in range(3):
            assert found[i, j].item() == pytest.approx(oracle(x[i, j].tolist()), abs=2e-6)


@given(logits)
def test_entropy_lies_between_nothing_and_ln_v(x):
    found = token_entropy(x)
    assert (found >= 0).all()
    assert (found <= math.log(5) + 1e-6).all()


@given(logits, st.floats(-20, 20))
def test_a_shift_of_the_logits_changes_nothing(x, shift):
    assert torch.allclose(token_entropy(x.double()), token_entropy(x.double() + shift), atol=1e-9)


def test_worked_by_hand():
    x = torch.tensor([[[0.75, 0.25]]]).log()
    assert token_entropy(x).item() == pytest.approx(0.5623351446188083)
    assert token_logprobs(x, torch.tensor([[1]])).item() == pytest.approx(math.log(0.25))
    by_hand = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    assert self_certainty(x).item() == pytest.approx(by_hand)


def test_ruled_out_tokens_add_nothing():
    x = torch.tensor([[[0.0, 0.0, -math.inf]]])
    assert token_entropy(x).item() == pytest.approx(math.log(2))


def test_nan_stays_visible():
    assert token_entropy(torch.tensor([[[0.0, math.nan]]])).isnan().all()


def test_bfloat16_logits_are_reduced_in_float32():
    x = torch.tensor([[[8.0, 0.0, 0.0, 1.0]]], dtype=torch.bfloat16)
    assert token_entropy(x).dtype == torch.float32
    assert token_entropy(x).item() == pytest.approx(oracle([8.0, 0.0, 0.0, 1.0]), rel=1e-5)


def test_token_numbers_are_the_three_together():
    x, ids = torch.randn(2, 3, 7), torch.tensor([[0, 1, 2], [3, 4, 5]])
    numbers = token_numbers(x, ids)
    assert torch.allclose(numbers.logprobs, token_logprobs(x, ids), rtol=1e-6)
    assert torch.allclose(numbers.entropies, token_entropy(x), rtol=1e-6)
    assert torch.allclose(numbers.certainties, self_certainty(x), rtol=1e-5)
