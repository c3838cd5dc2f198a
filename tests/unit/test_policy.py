import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sirl.policy import MIN_STD, group_advantages, kl_estimate, policy_loss, token_weights


def test_a_group_of_equal_rewards_teaches_nothing():
    rewards = torch.tensor([0.1 + 0.2, 0.3, 0.30000000000000004, 7.0, 8.0, 9.0], dtype=torch.double)
    assert group_advantages(rewards, 3).tolist() == [0, 0, 0, -1, 0, 1]


def test_spread_under_the_floor_is_no_signal_and_over_it_is():
    flat = torch.tensor([0.0, MIN_STD], dtype=torch.double)
    assert group_advantages(flat, 2).tolist() == [0, 0]
    assert group_advantages(flat * 2, 2)[1].item() == pytest.approx(math.sqrt(0.5))


def test_a_nan_reward_is_seen_in_its_own_group_only():
    found = group_advantages(torch.tensor([math.nan, 1.0, 1.0, 2.0]), 2)
    assert found[:2].isnan().all()
    assert found[2:].isfinite().all()


def test_groups_must_be_whole():
    with pytest.raises(ValueError, match="5 rewards do not split into groups of 2"):
        group_advantages(torch.zeros(5), 2)


@given(st.lists(st.floats(-5, 5), min_size=4, max_size=4), st.floats(0.1, 9), st.floats(-9, 9))
def test_advantages_ignore_scale_and_shift(rewards, scale, shift):
    x = torch.tensor(rewards, dtype=torch.double)
    if x.std() > 0.01:
        assert torch.allclose(
            group_advantages(x, 4), group_advantages(x * scale + shift, 4), atol=1e-6
        )


def test_kl_by_hand():
    here, there = torch.tensor([0.5]).log(), torch.tensor([0.25]).log()
    assert kl_estimate(here, there, "k1").item() == pytest.approx(math.log(2))
    assert kl_estimate(here, there, "k2").item() == pytest.approx(math.log(2) ** 2 / 2)
    assert kl_estimate(here, there, "k3").item() == pytest.approx(0.5 - 1 + math.log(2))


LENGTHS = [5, 4, 3, 2, 1, 5]


def example():
    """Log-probabilities, old, reference, advantages and weights of six completions' tokens."""
    torch.manual_seed(3)
    lengths = torch.tensor(LENGTHS)
    tokens = sum(LENGTHS)
    logprobs = (-torch.rand(tokens, dtype=torch.double)).requires_grad_()
    old = logprobs.detach() + 0.3 * torch.randn(tokens)
    reference = logprobs.detach() + 0.2 * torch.randn(tokens)
    advantages = torch.randn(6, dtype=torch.double).repeat_interleave(lengths)
    return logprobs, old, reference, advantages, token_weights(lengths, batch_rows=6)


def oracle(values, clip, beta) -> float:
    """The objective in plain Python."""
    logprobs, old, reference, advantages, _ = (v.tolist() for v in values)
    total, t = 0.0, 0
    for length in LENGTHS:
        terms = []
        for _ in range(length):
            c = math.exp(logprobs[t] - old[t])
            clipped = min(max(c, 1 - clip), 1 + clip)
            gap = reference[t] - logprobs[t]
            gain = min(c * advantages[t], clipped * advantages[t])
            terms.append(gain - beta * (math.exp(gap) - gap - 1))
            t += 1
        total += sum(terms) / length
    return -total / len(LENGTHS)


def test_the_loss_equals_a_naive_oracle():
    values = example()
    found = policy_loss(*values, clip=0.2, kl_weight=0.1).loss
    assert found.item() == pytest.approx(oracle(values, 0.2, 0.1), rel=1e-12)


@pytest.mark.parametrize("cut", [1, 5, 9, 19])
def test_loss_and_gradient_are_equal_for_any_split(cut):
    values = example()
    whole = policy_loss(*values, clip=0.2, kl_weight=0.1).loss
    (gradient,) = torch.autograd.grad(whole, values[0])
    parts = [
        policy_loss(*(v[part] for v in values), clip=0.2, kl_weight=0.1).loss
        for part in (slice(0, cut), slice(cut, None))
    ]
    (split,) = torch.autograd.grad(sum(parts), values[0])
    assert sum(parts).item() == pytest.approx(whole.item(), rel=1e-12)
    assert torch.allclose(gradient, split, atol=1e-15)


def test_on_policy_the_gradient_is_the_plain_policy_gradient():
    logprobs, _, _, advantages, weights = example()
    here = logprobs.detach()
    loss = policy_loss(logprobs, here, here, advantages, weights, clip=0.2, kl_weight=0.1)
    (gradient,) = torch.autograd.grad(loss.loss, logprobs)
    assert torch.allclose(gradient, -advantages * weights)
    assert (loss.kl.item(), loss.clipped.item()) == (0.0, 0.0)


def test_a_long_completion_counts_as_much_as_a_short_one():
    weights = token_weights(torch.tensor([1, 4]), batch_rows=2)
    assert weights[0].item() == weights[1:].sum().item() == 0.5
