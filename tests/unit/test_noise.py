from random import Random

import pytest

from sirl.training.noise import scrambled
from sirl.types import Message, Prompt

TEXT = "How do I bake bread, at 200 degrees?"


def texts(count: int) -> list[str]:
    prompt = Prompt.user("bread", TEXT)
    return [scrambled(prompt, Random(n)).request for n in range(count)]


def test_letters_are_drawn_anew_and_all_else_stays() -> None:
    for text in texts(40):
        shape = text if len(text) == len(TEXT) else text[::2]
        assert len(shape) == len(TEXT)
        assert [c for c in shape if c in " ,?"] == [c for c in TEXT if c in " ,?"]
        assert "bread" not in text


def test_some_texts_are_upper_case_some_lower_case_and_some_spelled_out() -> None:
    found = texts(100)
    assert any(t.isupper() for t in found)
    assert any(t.islower() for t in found)
    assert 10 < sum(len(t) > len(TEXT) for t in found) < 45


def test_turns_before_the_request_and_the_id_stay() -> None:
    turns = (Message("system", "Be kind."), Message("user", TEXT))
    shown = scrambled(Prompt("id", turns), Random(0))
    assert shown.id == "id"
    assert shown.messages[0] == turns[0]
    assert shown.messages[1].role == "user"


@pytest.mark.parametrize("text", ["", "12 + 3 = ?"])
def test_a_text_without_letters_can_be_scrambled(text: str) -> None:
    assert scrambled(Prompt.user("sum", text), Random(1)).request.replace(" ", "") in {
        text.replace(" ", ""),
    }
