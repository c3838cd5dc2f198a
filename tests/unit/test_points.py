import math
from dataclasses import replace
from random import Random

import pytest
import torch

from sirl.attacks.static import Template
from sirl.decisions import Decisions
from sirl.training.curriculum import Curriculum
from sirl.training.points import DecisionPoints, terms
from sirl.training.suffixes import Attacked
from sirl.types import Message, Prompt

VOCABULARY = 10
REFUSE, OTHER = 7, 3
START = torch.full((VOCABULARY,), math.log(0.3 / 8))
START[REFUSE], START[OTHER] = math.log(0.2), math.log(0.5)
"""The starting model refuses with 20% under a disguise, and mostly answers with token 3."""


class Begun(Template):
    """A disguise that begins the answer."""

    def __init__(self) -> None:
        super().__init__("begun", "{request}")

    def attempt(self, behaviour):
        attempt = super().attempt(behaviour)
        return replace(attempt, messages=(*attempt.messages, Message("assistant", " Sure")))


def points(**more) -> DecisionPoints:
    own = {
        "decisions": Decisions((REFUSE,), {"unsafe": (0.9,), "harmless": (0.01,)}, 0.0, 1.0),
        "answers": {"unsafe": [(REFUSE, 1)], "harmless": [(OTHER, 2, 1)]},
        "curriculum": Curriculum(
            refused=[Prompt.user("unsafe", "a")],
            answered=[Prompt.user("harmless", "b")],
            disguises=(Template("short", "Please: {request}"),),
            fits=lambda _: True,
            batch=2,
            seed=1,
        ),
        "guards": 2,
        "render": lambda prompt: tuple(prompt.request.encode()),
        "at_start": lambda asked: START.repeat(len(asked), 1),
        "of_policy": lambda asked: START.repeat(len(asked), 1),
        "said_at_start": lambda said: [torch.full((len(c.token_ids),), -1.0) for c in said],
        "said_by_policy": lambda said: [torch.full((len(c.token_ids),), -1.5) for c in said],
        "agreed": lambda value: value,
    }
    return DecisionPoints(**{**own, **more})


def test_a_step_raises_refusals_where_the_model_refuses_and_lowers_them_elsewhere() -> None:
    batch = points(guards=0).batch(0)
    firsts = [e for e in batch.examples if len(e.completion.token_ids) == 1]
    signs = {
        (e.completion.prompt_id, e.completion.token_ids[0]): math.copysign(1, e.advantage)
        for e in firsts
    }
    assert signs["unsafe", REFUSE] == 1
    assert signs["unsafe", OTHER] == -1
    assert signs["harmless", REFUSE] == -1
    assert signs["harmless", OTHER] == 1
    assert all(e.kl_weight == 0 and not e.on_policy for e in batch.examples)


def guards_of(**more) -> tuple[list[tuple[int, ...]], list[list[float]]]:
    """Own answers of a step, and what each of their tokens weighs in the mean over answers."""
    batch = points(**more).batch(0)
    guards = [e for e in batch.examples if len(e.completion.token_ids) > 1]
    weights = [[a * len(guards) / batch.rows for a in e.advantage] for e in guards]
    return [e.completion.token_ids for e in guards], weights


def test_own_refusals_are_taught_wholly_and_other_answers_by_what_the_policy_has_lost() -> None:
    said, weights = guards_of()
    assert said == [(REFUSE, 1), (OTHER, 2, 1)]
    assert weights == [pytest.approx([1.0] * 2), pytest.approx([0.5] * 3)]


def test_an_own_answer_that_has_become_more_likely_is_unlearned_and_no_token_weighs_over_1() -> (
    None
):
    def said(completions):
        return [torch.tensor([-9.0, -0.25, -1.0])[: len(c.token_ids)] for c in completions]

    _, weights = guards_of(said_by_policy=said)
    assert weights == [pytest.approx([1.0] * 2), pytest.approx([1.0, -0.75, 0.0])]


def test_the_prompts_of_a_step_weigh_one_each_however_many_tokens_teach_them() -> None:
    batch = points().batch(0)
    assert batch.rows == 2
    firsts = [e for e in batch.examples if len(e.completion.token_ids) == 1]
    assert len(firsts) > 2
    policy = START.repeat(2, 1)
    own = points()
    taught = torch.tensor([own.decisions.taught(p.id) for p in own.curriculum.prompts(0)])
    target = own.target(own.curriculum.prompts(0), policy, taught)
    expected = [t.weight for row in terms(policy, target, torch.zeros(2).bool()) for t in row]
    assert [e.advantage for e in firsts] == pytest.approx(expected)


def test_the_target_keeps_what_the_model_says_beside_its_refusals() -> None:
    own = points()
    prompts = own.curriculum.prompts(0)
    taught = torch.tensor([own.decisions.taught(p.id) for p in prompts])
    target = own.target(prompts, START.repeat(2, 1), taught).exp()
    assert torch.allclose(target.sum(dim=1), torch.ones(2))
    assert torch.allclose(target[:, REFUSE], taught)
    # Other tokens keep their ratios: 0.5 to 0.0375.
    assert torch.allclose(target[:, OTHER] / target[:, 0], torch.full((2,), 0.5 / 0.0375))


def test_the_metrics_say_how_many_decisions_are_as_taught() -> None:
    metrics = points().batch(0).metrics
    assert metrics["points/mass_refused"] == pytest.approx(0.2)
    assert metrics["points/mass_answered"] == pytest.approx(0.2)
    assert metrics["points/settled"] == 0.0


def test_what_all_processes_learn_is_what_rank_0_computed() -> None:
    said = []
    own = points(agreed=lambda value: said.append(value) or value)
    own.batch(0)
    tokens, guards, metrics = said
    assert [[len(term) for term in row] for row in tokens][0][0] == 2
    assert guards == [pytest.approx([1.0] * 2), pytest.approx([0.5] * 3)]
    assert set(metrics) == {"points/mass_refused", "points/mass_answered", "points/settled"}


def test_a_step_depends_only_on_seed_and_step() -> None:
    assert points().batch(3).examples == points().batch(3).examples


def test_own_refusals_follow_a_begun_answer_and_other_own_answers_do_not() -> None:
    begun = Curriculum(
        refused=[Prompt.user("unsafe", "a")],
        answered=[Prompt.user("harmless", "b")],
        disguises=(Begun(),),
        fits=lambda _: True,
        batch=2,
        seed=1,
    )
    own = points(
        curriculum=begun, render=lambda p: tuple("".join(m.content for m in p.messages).encode())
    )
    shown = [p.messages[-1].role for step in range(20) for p in begun.prompts(step)]
    assert shown.count("assistant") > 20
    pairs = [pair for step in range(20) for pair in own.own_answers(step)]
    assert {bytes(bare.prompt_ids) for bare, _ in pairs} == {b"a", b"b"}
    # Bare prompts are not begun; that is a part of the steps.
    assert {bytes(shown.prompt_ids) for _, shown in pairs} == {b"a", b"a Sure", b"b"}


def test_unreadable_prompts_teach_nothing_while_the_policy_is_the_start() -> None:
    assert len(points(guards=8).noise(0)) == 8
    taught = [
        [
            e.completion
            for e in points(guards=n).batch(0).examples
            if len(e.completion.token_ids) == 1
        ]
        for n in (0, 8)
    ]
    assert taught[0] == taught[1] != []


def test_unreadable_prompts_pull_the_policy_back_to_the_start() -> None:
    drifted = START.exp()
    drifted[REFUSE], drifted[OTHER] = 0.6, 0.1

    def policy(asked):
        return drifted.log().repeat(len(asked), 1)

    own = points(guards=8, of_policy=policy)
    texts = {tuple(p.request.encode()) for p in own.noise(0)}
    pulls = {
        e.completion.token_ids[0]: math.copysign(1, e.advantage)
        for e in own.batch(0).examples
        if e.completion.prompt_ids in texts and len(e.completion.token_ids) == 1
    }
    assert pulls[REFUSE] == -1
    assert pulls[OTHER] == 1


def test_refusals_that_never_occur_are_woken_by_the_forward_divergence() -> None:
    policy = torch.full((2, VOCABULARY), math.log(1e-7))
    policy[:, OTHER] = math.log(1 - 9e-7)
    target = torch.full((2, VOCABULARY), math.log(1e-7))
    target[:, REFUSE] = math.log(0.99)
    target[:, OTHER] = math.log(0.01)
    reverse, forward = terms(policy, target, torch.tensor([False, True]))
    assert dict(forward)[REFUSE] == pytest.approx(0.99, abs=1e-3)
    assert dict(forward)[OTHER] == pytest.approx(-0.99, abs=1e-3)
    assert abs(dict(reverse).get(REFUSE, 0.0)) < 1e-4


def test_only_begun_answers_that_shall_be_refused_need_the_forward_divergence() -> None:
    own, unheard = points(), START.clone()
    unheard[REFUSE] = math.log(0.01)
    bare = [Prompt.user("unsafe", "a"), Prompt.user("harmless", "b")]
    begun = [replace(p, messages=(*p.messages, Message("assistant", " Sure"))) for p in bare]
    taught = torch.tensor([0.9, 0.1])
    rows = [
        own.needs_forward(prompts, row.repeat(2, 1), taught).tolist()
        for prompts in (bare, begun)
        for row in (START, unheard)
    ]
    assert rows == [[False, False], [False, False], [False, False], [True, False]]


def test_prompts_with_a_suffix_are_taught_the_decision_about_the_bare_prompt() -> None:
    hard = [Prompt.user("unsafe", "a !x"), Prompt.user("harmless", "b !x")]
    batch = points(attacked=lambda _: hard).batch(0)
    told = {
        bytes(e.completion.prompt_ids).decode(): math.copysign(1, e.advantage)
        for e in batch.examples
        if e.completion.token_ids == (REFUSE,)
    }
    assert {text: sign for text, sign in told.items() if "!x" in text} == {
        "a !x": 1.0,
        "b !x": -1.0,
    }
    # The start decides so with 20% and 80%.
    assert batch.metrics["points/decided_under_attack"] == pytest.approx(0.5)
    assert "points/decided_under_attack" not in points().batch(0).metrics


def test_every_other_prompt_with_a_suffix_is_to_be_refused_and_failed_searches_are_left_out() -> (
    None
):
    asked = list[tuple[str, bool]]()

    def search(prompt: Prompt, chance: Random, refuses: bool) -> Prompt | None:
        asked.append((prompt.request, refuses))
        return Prompt.user(prompt.id, f"{prompt.request} {chance.random()}") if refuses else None

    def drawn(step: int) -> list[Prompt]:
        return Attacked(search, points().curriculum, 4, lambda value: value).prompts(step)

    found = drawn(0)
    assert [refuses for _, refuses in asked] == [True, False, True, False]
    assert [text[-1] for text, _ in asked] == ["a", "b", "a", "b"]
    assert [p.id for p in found] == ["unsafe", "unsafe"]
    assert drawn(0) == found
    asked.clear()
    assert drawn(1) != found
    # A batch too small for both kinds has them in turn.
    assert [refuses for _, refuses in asked] == [False, True, False, True]


def test_how_often_a_search_draws_changes_no_other_prompt_of_the_step() -> None:
    many = [Prompt.user(f"unsafe-{n}", str(n)) for n in range(40)]
    whole = replace(points().curriculum, refused=many, answered=many)

    def drawn(draws: int) -> list[str]:
        def search(prompt: Prompt, chance: Random, refuses: bool) -> Prompt:
            del refuses
            for _ in range(draws):
                chance.random()
            return prompt

        return [p.id for p in Attacked(search, whole, 8, lambda value: value).prompts(0)]

    assert drawn(1) == drawn(5)
