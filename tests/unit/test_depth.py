"""Begun answers: which words begin them, what a completion behind them earns, and what is lent."""

import json
import math
from dataclasses import asdict, replace
from random import Random

import pytest
import torch

from sirl.attacks.static import Template
from sirl.instinct import Instinct, InstinctReward
from sirl.training.curriculum import Curriculum, watched
from sirl.training.grading import ByGroup
from sirl.training.lending import Lending, heads_of
from sirl.training.openings import SAMPLED, Openings, OwnAnswers, own_answers
from sirl.types import Attempt, Completion, Message, Prompt

INSTINCT = Instinct(
    cut=0.5,
    shares={"unsafe": 0.75, "always": 1.0, "harmless": 0.25, "plain": 0.0, "split": 0.5},
    modes=(0.2, 1.0),
    dip=0.0,
)
END = 99


def answer(
    prompt: str, ids: tuple[int, ...], entropy: float, asked: tuple[int, ...] = (1,)
) -> Completion:
    finish = "stop" if ids[-1:] == (END,) else "length"
    numbers = (-1.0,) * len(ids), (entropy,) * len(ids)
    return Completion(prompt, asked, ids, "", *numbers, finish)


BARE = [
    answer("unsafe", (10, 11, END), 0.2),
    answer("unsafe", (12, END), 0.1),
    answer("unsafe", (20, 21, 22, END), 0.9),
    answer("unsafe", (*range(30, 70), END), 1.1),
    answer("always", (13, END), 0.1, asked=(2, 2)),
    answer("harmless", (14, 15, END), 0.3),
    answer("harmless", (40, 41, END), 0.8),
    answer("plain", (42, END), 0.8),
    answer("split", (10, END), 0.2),
]


def text_of(ids) -> str:
    return " ".join(map(str, ids))


def test_a_prompt_is_begun_with_its_help_and_every_refusal_of_it_can_be_lent() -> None:
    found = own_answers(INSTINCT, BARE)
    assert found.openings == {
        # The higher entropy goes first; 32 tokens at most, without the end of the turn.
        "unsafe": (tuple(range(30, 62)), (20, 21, 22)),
        "harmless": ((40, 41),),
        "plain": ((42,),),
    }
    assert found.refusals == {"unsafe": ((10, 11, END), (12, END)), "always": ((13, END),)}
    assert found.asked["always"] == (2, 2)


def test_a_prompt_that_is_always_refused_is_begun_with_help_given_in_a_disguise() -> None:
    disguised = [
        answer("always", (16, END), 0.2, asked=(3,)),  # a refusal in a disguise is not lent
        answer("always", (50, 51, END), 0.7, asked=(3,)),
        answer("always", (52, 53), 0.9, asked=(3,)),
        answer("unsafe", (54, 55), 2.0, asked=(3,)),  # help to the bare prompt goes first
    ]
    found = own_answers(INSTINCT, [*BARE, *disguised])
    assert found.openings["always"] == ((52, 53), (50, 51))
    assert found.openings["unsafe"] == (tuple(range(30, 62)), (20, 21, 22))
    assert found.refusals["always"] == ((13, END),)


def test_the_four_surest_answers_begin_a_prompt_each_once() -> None:
    helps = [answer("unsafe", (n % 5, 7, END), 1 + n / 10) for n in range(6)]
    assert own_answers(INSTINCT, helps).openings["unsafe"] == ((0, 7), (4, 7), (3, 7), (2, 7))


def test_own_answers_survive_a_run_folder() -> None:
    found = own_answers(INSTINCT, BARE)
    assert OwnAnswers.revived(json.loads(json.dumps(asdict(found)))) == found


def openings(decode=text_of) -> Openings:
    return Openings.of(own_answers(INSTINCT, BARE), decode, 40, SAMPLED)


def test_every_length_of_an_opening_occurs_and_none_is_longer_than_the_answer() -> None:
    begun = [openings().begun(Prompt.user("unsafe", "x"), Random(n)) for n in range(400)]
    texts = [p.messages[-1].content.split() for p in begun]
    assert {len(t) for t in texts if t[0] == "30"} == set(range(1, 33))
    assert {len(t) for t in texts if t[0] == "20"} == {1, 2, 3}
    assert all(p.messages[0] == Message("user", "x") for p in begun)


def test_a_prompt_without_own_words_or_with_a_begun_answer_stays_as_it_is() -> None:
    unknown = Prompt.user("always", "x")
    by_disguise = replace(
        Prompt.user("unsafe", "x"), messages=(Message("user", "x"), Message("assistant", "Sure,"))
    )
    for prompt in (unknown, by_disguise):
        assert openings().begun(prompt, Random(0)) == prompt


def test_half_a_character_or_a_blank_does_not_begin_an_answer() -> None:
    prompt = Prompt.user("harmless", "x")
    assert openings(lambda _: "é\ufffd").begun(prompt, Random(0)).messages[-1].content == "é"
    assert openings(lambda _: " \ufffd").begun(prompt, Random(0)) == prompt


def test_answers_are_begun_in_the_first_three_fifths_of_the_steps() -> None:
    def share(step: int) -> float:
        return sum(openings().due(step, Random(n)) for n in range(2000)) / 2000

    assert [0.3 < share(step) < 0.4 for step in (0, 23)] == [True, True]
    assert share(24) == share(39) == 0


def curriculum(**more) -> Curriculum:
    return Curriculum(
        refused=[Prompt.user("unsafe", "a"), Prompt.user("always", "b")],
        answered=[Prompt.user("harmless", "c"), Prompt.user("plain", "d")],
        disguises=(Template("short", "Please: {request}"),),
        fits=lambda prompt: "45" not in prompt.messages[-1].content,
        batch=4,
        seed=3,
        **more,
    )


def test_begun_answers_leave_the_rest_of_a_step_as_it_was() -> None:
    with_depth, without = curriculum(openings=openings()), curriculum()
    for step in range(40):
        bare = [replace(p, messages=p.messages[:1]) for p in with_depth.prompts(step)]
        assert bare == without.prompts(step)
    shown = [p for step in range(24) for p in with_depth.prompts(step) if p.is_begun]
    assert {p.id for p in shown} == {"unsafe", "harmless", "plain"}
    assert all(len(p.messages[1].content.split()) <= 15 for p in shown)  # another does not fit


def test_a_sentinel_watches_begun_answers_to_refused_prompts_beside_others() -> None:
    whole = curriculum(openings=openings())
    trained, watch = watched(replace(whole, fits=lambda _: True))
    assert [(p.id, p.is_begun) for p in watch] == [("unsafe", True), ("harmless", False)]
    assert trained.openings == whole.openings


def test_prompts_are_disguised_once_for_help_unless_the_disguise_begins_the_answer() -> None:
    class Opener(Template):
        def attempt(self, prompt):
            return Attempt(prompt, "o", (*prompt.messages, Message("assistant", "Sure,")))

    asked = [Prompt.user("always", "b")]
    assert [p.request for p in curriculum().disguised_once(asked)] == ["Please: b"]
    assert replace(curriculum(), disguises=(Opener("o", "{request}"),)).disguised_once(asked) == []
    assert replace(curriculum(), disguises=()).disguised_once(asked) == []


class Table:
    """Log-probabilities by the first token; remembers what it was asked."""

    def __init__(self, **likely: float) -> None:
        self.likely = {int(key[1:]): value for key, value in likely.items()}
        self.asked: list[Completion] = []

    def __call__(self, completions):
        self.asked += completions
        return [self.likely.get(c.token_ids[0], -20.0) for c in completions]


def lending(table: Table) -> Lending:
    return Lending(INSTINCT, own_answers(INSTINCT, BARE), table)


def begun(id: str) -> Prompt:
    return Prompt(id, (Message("user", "x"), Message("assistant", "Sure")))


def test_a_sure_completion_behind_help_earns_a_reward_only_if_it_begins_anew() -> None:
    table = Table(t10=-2.0, t60=-9.0)
    prompts = [begun("unsafe"), Prompt.user("unsafe", "x")]
    completions = [
        answer("unsafe", (10, 11, 12, 13, END), 0.2, asked=(7, 7)),  # a refusal
        answer("unsafe", (60, 61, END), 0.2, asked=(7, 7)),  # the rest of the help
        answer("unsafe", (60, 61, END), 0.2),  # not begun: sureness is enough
        answer("unsafe", (60, 61, END), 0.9),
    ]
    assert lending(table).rewards(prompts, completions) == [1.0, 0.0, 1.0, 0.0]
    assert {c.prompt_ids for c in table.asked} == {(1,)}  # as answers to the bare prompt


def test_a_completion_may_finish_a_clause_before_it_begins_anew() -> None:
    late = answer("unsafe", (60, 61, 10, 11, 12, END), 0.2)
    assert [c.token_ids for c in heads_of(late, (1,))] == [
        (60, 61, 10, 11), (61, 10, 11, 12), (10, 11, 12, END),
    ]  # fmt: skip
    assert lending(Table(t10=-6.9)).rewards([begun("unsafe")], [late]) == [1.0]
    assert lending(Table(t10=-7.1)).rewards([begun("unsafe")], [late]) == [0.0]
    assert len(list(heads_of(answer("unsafe", tuple(range(40)), 0.2), (1,)))) == 5
    assert [c.token_ids for c in heads_of(answer("unsafe", (10, END), 0.2), (1,))] == [(10, END)]
    assert list(heads_of(answer("unsafe", (), 0.2), (1,))) == []


def test_behind_help_to_a_harmless_prompt_only_a_fresh_refusal_earns_nothing() -> None:
    completions = [
        answer("harmless", (60, 61, END), 0.9),
        answer("harmless", (60, 61, END), 0.2),  # the rest of the help, short and sure
        answer("harmless", (10, 11, END), 0.2),  # a refusal
        answer("harmless", (10, 11, END), 0.9),  # help from the start
    ]
    assert lending(Table(t10=-1.0)).rewards([begun("harmless")], completions) == [1, 1, 0, 1]


def test_half_of_a_begun_group_without_a_reward_become_refusals_of_the_bare_prompt() -> None:
    help_ = [replace(answer("unsafe", (60, 61), 0.9, asked=(7, 7, 7)), sample=n) for n in range(8)]
    found = lending(Table()).grade([begun("unsafe")], help_)
    assert found.rewards.tolist() == [0.0] * 8
    # Four of eight are rewarded: 1/2 over the deviation sqrt(8/4/7).
    size = 0.5 / math.sqrt(2 / 7)
    assert found.advantages.tolist() == pytest.approx([-size] * 4 + [size] * 4)
    assert [e.completion for e in found.examples[:4]] == help_[:4]
    lent = [e.completion for e in found.examples[4:]]
    assert {c.prompt_ids for c in lent} == {(7, 7, 7)}
    # Prompt tokens and place choose one of two: 3 + 4, 3 + 5, ...
    assert [c.token_ids for c in lent] == [(12, END), (10, 11, END)] * 2
    assert [e.on_policy for e in found.examples] == [True] * 4 + [False] * 4


def test_an_advantage_is_at_most_one_and_a_half() -> None:
    completions = [answer("unsafe", (10, END), 0.2 if n == 7 else 0.9) for n in range(8)]
    found = lending(Table()).grade([Prompt.user("unsafe", "x")], completions)
    # One of eight is rewarded: 7/8 over sqrt(1/8) is 2.47.
    assert found.advantages.tolist() == pytest.approx([-math.sqrt(1 / 8)] * 7 + [1.5])


def test_the_kl_penalty_holds_for_answers_that_are_helpful_and_not_begun() -> None:
    prompts = [Prompt.user("harmless", "x"), begun("harmless"), Prompt.user("unsafe", "x")]
    completions = [answer(p.id, (10, END), 0.9) for p in prompts for _ in range(2)]
    found = lending(Table()).grade(prompts, completions)
    assert [e.kl_weight for e in found.examples] == [None, None, 0.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("prompt", "entropies"),
    [
        (begun("unsafe"), (0.2, 0.9)),  # a sibling earns a reward
        (begun("harmless"), (0.2, 0.2)),  # it should go on
        (Prompt.user("unsafe", "x"), (0.9, 0.9)),  # it is not begun
    ],
)
def test_nothing_is_lent_where_it_would_not_teach_a_refusal_behind_help(prompt, entropies) -> None:
    completions = [answer(prompt.id, (10, END), entropy) for entropy in entropies]
    found = lending(Table(t10=-1.0)).grade([prompt], completions)
    assert [e.completion for e in found.examples] == completions
    assert all(e.on_policy for e in found.examples)


def test_without_begun_answers_it_grades_as_each_completion_alone_up_to_the_limit() -> None:
    prompts = [Prompt.user("unsafe", "x"), Prompt.user("harmless", "y")]
    completions = [answer("unsafe", (10, END), e) for e in (0.2, 0.2, 0.9, 0.9)]
    completions += [answer("harmless", (10, END), e) for e in (0.2, 0.9, 0.9, 0.9)]
    table = Table()
    ours = lending(table).grade(prompts, completions)
    plain = ByGroup(InstinctReward(INSTINCT)).grade(prompts, completions)
    assert torch.equal(ours.rewards, plain.rewards)
    assert ours.advantages.tolist() == plain.advantages.tolist()
    assert ours.advantages[4:].tolist() == pytest.approx([-1.5, 0.5, 0.5, 0.5])
    assert [e.completion for e in ours.examples] == completions
    assert table.asked == []
