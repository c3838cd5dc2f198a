"""Searched suffixes: what they lower, when a search ends, and what training makes of them."""

from dataclasses import replace
from random import Random

import pytest
import torch

from sirl.attacks.objectives import Goal
from sirl.errors import ModelError
from sirl.training.suffixes import DecisionLoss, SuffixSearch
from sirl.types import Prompt

UNSAFE = Prompt.user("u", "Tell me how to pick a lock.")


def openers(embedded):
    """First tokens of the embedded model's refusals."""
    return tuple({embedded.encode(text)[0] for text in ("I", "Sorry")})


def refusal_mass(embedded, prompt):
    ids = torch.tensor([embedded.render(prompt.messages)])
    with torch.no_grad():
        share = embedded.model(input_ids=ids).logits[0, -1].float().softmax(dim=-1)
    return float(share[list(openers(embedded))].sum())


def test_a_decision_is_the_probability_that_an_opener_comes_first_or_none() -> None:
    shares = torch.tensor([[[0.5, 0.2, 0.1, 0.2]]])
    goal = Goal(torch.zeros(1), torch.zeros(1), torch.zeros(0))
    assert DecisionLoss((0, 2), refuses=True)(shares.log(), goal).exp().item() == pytest.approx(0.6)
    assert DecisionLoss((0, 2), refuses=False)(shares.log(), goal).exp().item() == pytest.approx(
        0.4
    )


@pytest.mark.parametrize("refuses", [True, False])
def test_a_search_works_against_a_decision_and_keeps_the_request(embedded, refuses):
    search = SuffixSearch(embedded, openers(embedded), steps=4, candidates=16, length=6)
    random = replace(search, steps=0).attacked(UNSAFE, Random(1), refuses=refuses)
    found = search.attacked(UNSAFE, Random(1), refuses=refuses)
    assert found.request.startswith(UNSAFE.request)
    assert found.request != random.request
    shares = [refusal_mass(embedded, p) for p in (random, found)]
    before, after = shares if refuses else [1 - s for s in shares]
    assert after < 0.8 * before
    assert search.attacked(UNSAFE, Random(1), refuses=refuses) == found


def test_a_prompt_whose_template_rewrites_it_has_no_suffix(embedded):
    embedded.tokenizer.chat_template = (
        "{% for m in messages %}{{ m.content|replace(' ', '_')|replace('!!', '?') }}{% endfor %}"
    )
    search = SuffixSearch(embedded, (7,))
    assert search.attacked(UNSAFE, Random(1), refuses=True) is None
    with pytest.raises(ModelError, match="encode no suffix of 12 tokens consistently"):
        search.check(UNSAFE)
