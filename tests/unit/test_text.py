import pytest
from hypothesis import given
from hypothesis import strategies as st

from sirl.text import jaccard, normalised, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I **cannot** help.", ["i", "cannot", "help"]),
        ("I can\u2019t\u00a0\u00a0he\u200blp", ["i", "can", "t", "help"]),
        ("- _No_\n- NO", ["no", "no"]),
        ("\u79c1\u306f help", ["\u79c1", "\u306f", "help"]),
        ("", []),
    ],
)
def test_words_are_what_is_said_without_its_form(text, expected):
    assert words(text) == expected


def test_the_same_text_differs_in_case_and_spacing_alone():
    assert normalised("Bend  the\nMOON.") == normalised("bend the moon.") != "bend the moon"


def test_two_sets_overlap_by_what_they_share_of_what_either_has():
    assert jaccard({"a", "b"}, {"b", "c"}) == pytest.approx(1 / 3)
    assert jaccard(frozenset(), frozenset()) == 1.0


@given(st.text())
def test_any_text_has_words_without_blanks(text):
    assert all(word and not word.isspace() for word in words(text))
