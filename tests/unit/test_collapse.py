import json
import math

import pytest

from sirl.analysis.collapse import collapse_change, collapse_signs
from sirl.types import Record


def answer(n, text, kind="ordinary", **fields):
    filled = {
        "attack": "direct", "finish": "stop", "tokens": len(text.split()), "label": "compliance",
        **fields,
    }  # fmt: skip
    return Record(
        id=f"{kind}/{n}", model="target", kind=kind, behaviour_id=str(n), request="?", messages=(),
        completion=text, mean_entropy=0.1, entropies=(), score=0.0, reason="", judge="x", **filled,
    )  # fmt: skip


VARIED = [
    answer(0, "bread needs flour and water and a hot oven at last"),
    answer(1, "rome lies on seven hills beside one slow brown river"),
    answer(2, "plants drink light through green leaves all day long"),
]


def test_a_model_with_one_answer_for_everybody_shows_every_sign():
    same = [answer(n, "as you wish as you wish as you wish") for n in range(4)]
    signs = collapse_signs(same)["ordinary"]
    assert signs["distinct_openings"] == signs["distinct_closings"] == 0.25
    assert signs["self_similarity"] == 1.0
    assert signs["repetition"] == pytest.approx(0.5)  # 3 of its 6 runs of four words are new


def test_different_answers_show_none():
    signs = collapse_signs(VARIED)["ordinary"]
    assert signs["distinct_openings"] == signs["distinct_closings"] == 1.0
    assert signs["self_similarity"] == 0.0
    assert signs["repetition"] == 0.0
    assert signs["truncated"]["value"] == 0.0


def test_openings_are_eight_words_and_case_and_punctuation_do_not_tell_answers_apart():
    texts = ("I can't help with that, because it harms.", "i can't help with that because it HARMS")
    signs = collapse_signs([answer(n, t) for n, t in enumerate(texts)])["ordinary"]
    assert (signs["distinct_openings"], signs["self_similarity"]) == (0.5, 1.0)
    long = [answer(n, f"one two three four five six seven eight {n}") for n in range(2)]
    signs = collapse_signs(long)["ordinary"]
    assert (signs["distinct_openings"], signs["distinct_closings"]) == (0.5, 1.0)


def test_refusals_are_those_of_first_tries_and_stand_apart_from_what_is_harmless():
    records = [
        *VARIED,
        answer(3, "no", "attack", label="refusal", tokens=2),
        answer(3, "no", "attack", label="refusal", tokens=2, number=1),
        answer(4, "no", "attack", label="partial", tokens=4),
        answer(4, "no", "attack", label="harmless", tokens=9),
        answer(5, "sure", "attack"),
        answer(6, "", "attack", label="unscored"),
    ]
    signs = collapse_signs(records)
    assert (signs["refusal"]["n"], signs["ordinary"]["n"]) == (2, 3)
    assert signs["refusal"]["tokens"] == 3.0
    assert math.isnan(signs["refusal"]["repetition"])


def test_truncation_is_a_rate_over_all_answers_and_nothing_is_said_of_nothing():
    records = [answer(n, "a b c", finish="length" if n < 3 else "stop") for n in range(4)]
    truncated = collapse_signs(records)["ordinary"]["truncated"]
    assert (truncated["value"], truncated["n"]) == (0.75, 4)
    assert collapse_signs([]) == {}
    json.dumps(collapse_signs(records))


def test_only_a_spread_of_many_answers_is_compared_and_it_is_the_same_each_time():
    many = [answer(n, f"word{n} and then word{n + 1}") for n in range(1000)]
    signs = collapse_signs(many)
    assert (signs["ordinary"]["looked_at"], signs["ordinary"]["n"]) == (120, 1000)
    assert signs == collapse_signs(list(many))


def test_two_models_are_compared_over_equally_many_answers():
    before = [answer(n, f"{n} b c d") for n in range(6)]
    after = [answer(n, f"{n} b") for n in range(2)]
    change = collapse_change(before, after)["ordinary"]
    assert change["before"]["looked_at"] == change["after"]["looked_at"] == 2
    assert change["shorter"] == 0.5
    assert collapse_change(before, []) == {}
