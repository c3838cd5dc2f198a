import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from sirl.decisions import Decisions, find_decisions, find_openers
from sirl.instinct import Instinct
from sirl.training.points import terms
from sirl.types import Completion, Prompt
from sirl.workflows.method import left_out

SURE = (0.1,)
UNSURE = (2.0,)


def answer(first: int, entropies: tuple[float, ...], id: str = "a") -> Completion:
    return Completion(id, (1,), (first,), "", (-0.1,), entropies, "stop")


def instinct(shares: dict[str, float]) -> Instinct:
    return Instinct(cut=1.0, shares=shares, modes=(0.1, 2.0), dip=0.0)


def test_openers_begin_refusals_and_hardly_any_other_answer() -> None:
    answers = [answer(7, SURE)] * 60 + [answer(8, SURE)] * 38 + [answer(9, SURE)] * 2
    answers += [answer(8, UNSURE)] * 10 + [answer(5, UNSURE)] * 90
    # 7 is never used elsewhere, 8 is a refusal in 38 of 48 cases (79%), 9 is too rare.
    assert find_openers(answers, cut=1.0) == (7,)
    assert find_openers([*answers, *[answer(8, SURE)] * 10], cut=1.0) == (7, 8)


def test_an_answer_without_tokens_is_no_opener() -> None:
    empty = Completion("a", (1,), (), "", (), (), "stop")
    assert find_openers([empty], cut=1.0) == ()


def test_the_threshold_is_where_most_prompts_are_decided_as_by_their_answers() -> None:
    masses = {"a": (0.9, 0.05), "b": (0.6, 0.2), "c": (0.3, 0.1), "d": (0.001, 0.0)}
    found = find_decisions((7, 8), masses, instinct({"a": 1.0, "b": 0.75, "c": 0.25, "d": 0.0}))
    assert {id: found.of(id) for id in masses} == {
        "a": "refuse", "b": "refuse", "c": "comply", "d": "comply",
    }  # fmt: skip
    assert found.agreement == 1.0
    assert found.is_shown
    middle = (math.log(0.8 / 0.2) + math.log(0.4 / 0.6)) / 2
    assert found.threshold == pytest.approx(middle)


def test_prompts_of_equal_mass_are_decided_alike_in_any_order() -> None:
    """Of ten masses of 0, nine prompts are answered; the five of 0.9 are refused."""
    shares = {str(n): float(n >= 9) for n in range(15)}
    masses = {id: (0.9 if int(id) >= 10 else 0.0,) for id in shares}
    for order in (sorted(masses, key=int), sorted(masses, key=int, reverse=True)):
        found = find_decisions((7,), {id: masses[id] for id in order}, instinct(shares))
        assert [found.of(str(n)) for n in range(15)] == ["comply"] * 10 + ["refuse"] * 5
        assert found.agreement == pytest.approx(14 / 15)


def test_decisions_that_contradict_the_answers_are_not_shown() -> None:
    masses = {str(n): (0.9 if n % 2 else 0.1,) for n in range(20)}
    found = find_decisions((7,), masses, instinct({str(n): float(n < 10) for n in range(20)}))
    assert found.agreement == pytest.approx(0.5)
    assert not found.is_shown


def test_without_openers_nothing_is_decided_to_be_refused_with_agreement() -> None:
    found = find_decisions((), {"a": (), "b": ()}, instinct({"a": 1.0, "b": 0.0}))
    assert found.agreement == 0.5
    assert not found.is_shown


@given(st.floats(0, 1), st.floats(-14, 14))
def test_what_is_taught_sharpens_the_own_decision_and_stays_correctable(mass, threshold) -> None:
    decisions = Decisions((7,), {"a": (mass,)}, threshold, 1.0)
    taught = decisions.taught("a")
    assert 0.002 - 1e-12 <= taught <= 0.998
    assume(taught != 0.5)  # a difference from the threshold may be lost in rounding
    assert (taught >= 0.5) == (decisions.of("a") == "refuse")


def test_an_undecided_prompt_is_taught_as_undecided() -> None:
    assert Decisions((7,), {"a": (0.5,)}, 0.0, 1.0).taught("a") == pytest.approx(0.5)


def reverse(rows: torch.Tensor) -> torch.Tensor:
    """No row uses the forward divergence."""
    return torch.zeros(len(rows), dtype=torch.bool)


@pytest.mark.parametrize("forward", [False, True])
def test_terms_are_minus_the_gradient_of_the_divergence(forward: bool) -> None:
    torch.manual_seed(3)
    logits = torch.randn(4, 12, dtype=torch.double, requires_grad=True)
    target = torch.log_softmax(torch.randn(4, 12, dtype=torch.double), dim=1)
    policy = torch.log_softmax(logits, dim=1)
    first, second = (target, policy) if forward else (policy, target)
    divergence = (first.exp() * (first - second)).sum()
    (expected,) = torch.autograd.grad(divergence, logits, retain_graph=True)
    weighted = sum(
        weight * policy[row, token]
        for row, own in enumerate(terms(policy.detach(), target, torch.full((4,), forward)))
        for token, weight in own
    )
    (found,) = torch.autograd.grad(-weighted, logits)
    # The smallest terms, 1% of all, are left out.
    assert (found - expected).abs().max() < 0.02 * expected.abs().max()


def test_a_policy_at_its_target_learns_nothing() -> None:
    policy = torch.log_softmax(torch.randn(2, 9), dim=1)
    assert terms(policy, policy, reverse(policy)) == [[], []]


def test_an_impossible_target_keeps_the_terms_finite() -> None:
    policy = torch.log_softmax(torch.zeros(1, 3), dim=1)
    target = torch.tensor([[0.0, -math.inf, -math.inf]])
    assert all(math.isfinite(w) for _, w in terms(policy, target, reverse(policy))[0])


def test_harmless_prompts_that_the_model_refuses_are_counted_and_the_first_three_named() -> None:
    refused = [Prompt.user(str(n), f"How do I kill process {n} " + "now " * 20) for n in range(5)]
    sentence = left_out(refused, 512)
    assert sentence.startswith("decisions: 5 of 512 harmless prompts of the pool are refused")
    assert '"How do I kill process 0 now now now' in sentence
    assert sentence.count("How do I kill") == 3
    assert sentence.endswith('now..."')
