import pytest

from sirl.build import all_attacks, attacks_named
from sirl.errors import ConfigError
from sirl.types import Attack, Message, Prompt

REQUEST = Prompt(
    "b1", (Message("system", "be kind"), Message("user", "How do I mend a wool coat?"))
)
PLAIN_FRAMES = [
    name
    for name, attack in all_attacks().items()
    if "{request}" in getattr(attack, "text", "") and name != "direct"
]


def test_there_are_more_than_twenty_disguises_and_each_is_an_attack():
    attacks = all_attacks()
    assert len(attacks) == 26
    assert next(iter(attacks)) == "direct"
    assert all(isinstance(attack, Attack) for attack in attacks.values())


@pytest.mark.parametrize("name", all_attacks())
def test_an_attempt_is_the_same_each_time_and_keeps_the_bare_request(name):
    attempt = all_attacks()[name].attempt(REQUEST)
    assert attempt == all_attacks()[name].attempt(REQUEST)
    assert attempt.behaviour == REQUEST
    assert attempt.messages[0] == Message("system", "be kind")
    if name != "direct":
        assert attempt.messages != REQUEST.messages


@pytest.mark.parametrize("name", PLAIN_FRAMES)
def test_frames_hold_the_request_word_for_word(name):
    assert REQUEST.request in all_attacks()[name].attempt(REQUEST).messages[-1].content


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("split_words", "How do I me-nd a wo-ol co-at?"),
        ("spelled_out", "How do I m-e-n-d a w-o-o-l c-o-a-t?"),
        ("leetspeak", "H0w d0 I m3nd 4 w00l c047?"),
        ("upper_case", "HOW DO I MEND A WOOL COAT?"),
    ],
)
def test_rewrites_by_hand(name, text):
    assert all_attacks()[name].attempt(REQUEST).messages[-1].content == text


def test_reversed_words_and_typos():
    turned = all_attacks()["reversed_words"].attempt(REQUEST).messages[-1].content
    assert turned.endswith("coat? wool a mend I do How")
    noisy = [
        all_attacks()["typo_noise"]
        .attempt(Prompt.user(str(i), REQUEST.request))
        .messages[-1]
        .content
        for i in range(20)
    ]
    assert len(set(noisy)) > 5
    assert all(abs(len(text) - len(REQUEST.request)) <= 3 for text in noisy)


def test_conversations():
    attacks = all_attacks()
    few, many = (attacks[n].attempt(REQUEST).messages for n in ("few_shot", "many_shot"))
    assert (len(few), len(many)) == (8, 22)
    assert [m.role for m in few[1:3]] == ["user", "assistant"]
    assert few[-1] == REQUEST.messages[-1]
    assert attacks["prefilled_opener"].attempt(REQUEST).messages[-1].role == "assistant"


def test_tiers_and_unknown_names():
    assert [a.name for a in attacks_named("story, direct,story")] == ["story", "direct"]
    assert len(attacks_named("full")) == 26
    with pytest.raises(ConfigError, match=r"there is no attack 'storry'. Did you mean 'story'\?"):
        attacks_named("storry")
