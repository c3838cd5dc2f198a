import itertools

import numpy as np
import pytest

from sirl.analysis.contamination import Overlap, candidates, contamination, overlaps
from sirl.prompts import read_prompts
from sirl.types import Prompt
from tests.conftest import shared


def prompts(stem, *texts):
    return [Prompt.user(f"{stem}{n}", text) for n, text in enumerate(texts)]


def test_case_and_spacing_do_not_hide_a_prompt_that_is_asked_again():
    found = overlaps(prompts("t", "Bake  a LOAF of bread\n"), prompts("b", "bake a loaf of bread"))
    assert found == [Overlap("t0", "b0", 1.0, exact=True)]


def test_the_same_words_in_another_order_are_near_and_not_exact():
    found = overlaps(prompts("t", "of bread a loaf: bake"), prompts("b", "bake a loaf of bread"))
    assert found == [Overlap("t0", "b0", 1.0, exact=False)]


def test_near_begins_at_three_words_in_five():
    behaviours = prompts("b", "one two three four")
    found = overlaps(prompts("t", "one two three five", "one two five six"), behaviours)
    assert [(o.prompt_id, o.similarity) for o in found] == [("t0", 0.6)]


def test_two_words_must_be_the_same_text():
    behaviours = prompts("b", "pick locks")
    found = overlaps(prompts("t", "locks pick", "Pick locks"), behaviours)
    assert [o.prompt_id for o in found] == ["t1"]


def test_counts_are_of_behaviours_and_pairs_go_from_the_likest_down():
    trained = prompts("t", "one two three five", "ONE two three four", "six seven eight")
    document = contamination(trained, prompts("b", "one two three four", "nine ten eleven"))
    counts = {key: document[key] for key in ("prompts", "behaviours", "exact", "near_or_exact")}
    assert counts == {"prompts": 3, "behaviours": 2, "exact": 1, "near_or_exact": 1}
    assert [pair["prompt_id"] for pair in document["pairs"]] == ["t1", "t0"]


def test_the_filter_loses_no_near_pair():
    random = np.random.default_rng(0)
    sets = [
        frozenset(str(w) for w in random.integers(12, size=random.integers(3, 11)))
        for _ in range(120)
    ]
    asked, known = sets[:60], sets[60:]
    looked_at = list(candidates(asked, known))
    assert len(looked_at) == len(set(looked_at))
    near = {
        (b, p)
        for (b, x), (p, y) in itertools.product(enumerate(asked), enumerate(known))
        if min(len(x), len(y)) >= 3 and len(x & y) >= 0.6 * len(x | y)
    }
    assert len(near) > 50
    assert near <= set(looked_at)


def test_few_of_six_million_pairs_are_compared():
    random = np.random.default_rng(0)
    rare = random.zipf(1.2, size=(15_400, 12)) % 20_000  # words as a language spreads them
    sets = [frozenset(map(str, row)) for row in rare]
    looked_at = sum(1 for _ in candidates(sets[:400], sets[400:]))
    assert looked_at < 400 * 15_000 / 50


@pytest.mark.parametrize(
    ("trained", "exact", "near"), [("advbench_goals.csv", 11, 18), ("harmbench_val.csv", 2, 3)]
)
def test_the_overlaps_of_public_sets_are_found(trained, exact, near):
    behaviours = read_prompts(shared("data/jbb_harmful.csv")).prompts
    document = contamination(read_prompts(shared(f"data/{trained}")).prompts, behaviours)
    assert (document["exact"], document["near_or_exact"]) == (exact, near)
