from dataclasses import dataclass, field

import pytest

from sirl.errors import ModelError
from sirl.roles import Engine
from sirl.rollouts.best_of import LowestEntropy
from sirl.types import Completion, Prompt


@dataclass
class Dealer:
    """Hands out entropies in order, prompt after prompt."""

    entropies: list
    asked: list = field(default_factory=list)

    def sample(self, prompts, *, group=1, step=0):
        self.asked.append((group, step))
        left = iter(self.entropies)
        return [
            Completion(p.id, (), (), f"{p.id}{s}", (), next(left), "stop", s, 9)
            for p in prompts
            for s in range(group)
        ]


def chosen(entropies, n, group=1, names="a"):
    dealer = Dealer(entropies)
    prompts = [Prompt.user(name, name) for name in names]
    found = LowestEntropy(dealer, n).sample(prompts, group=group, step=5)
    assert dealer.asked == [(n * group, 5)]
    return [(c.text, c.sample) for c in found]


def test_the_surest_of_each_draw_is_kept_and_renumbered():
    entropies = [(2.0,), (1.0, 1.0), (0.0, 1.0), (0.4,), (3.0,), (2.0,), (0.1,), (0.2,)]
    assert chosen(entropies, n=2, group=2, names="ab") == [
        ("a1", 0), ("a3", 1), ("b1", 0), ("b2", 1),
    ]  # fmt: skip
    assert chosen(entropies, n=4, names="ab") == [("a3", 0), ("b2", 0)]


def test_one_of_one_is_the_engine_itself():
    dealer = Dealer([(1.0,), (2.0,), (3.0,)])
    prompts = [Prompt.user("a", "a")]
    assert isinstance(LowestEntropy(dealer, 1), Engine)
    assert LowestEntropy(dealer, 1).sample(prompts, group=3) == dealer.sample(prompts, group=3)


def test_ties_go_to_the_first_and_answers_without_tokens_come_last():
    assert chosen([(1.0,), (1.0,), (2.0,)], n=3) == [("a0", 0)]
    assert chosen([(), (), (9.0,)], n=3) == [("a2", 0)]
    assert chosen([(9.0,), (), ()], n=3) == [("a0", 0)]
    assert chosen([(), (), (9.0,), (1.0,)], n=2, group=2) == [("a0", 0), ("a3", 1)]


def test_an_engine_without_entropies_leaves_no_choice():
    with pytest.raises(ModelError) as caught:
        chosen([(), ()], n=2)
    assert str(caught.value) == (
        "Dealer returns no entropies, which best_of needs: use a local model"
    )


def test_nothing_is_chosen_of_nothing():
    assert chosen([], n=2, names="") == []
