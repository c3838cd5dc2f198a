import math
from dataclasses import replace
from random import Random

import pytest

from sirl.analysis.own_refusals import summarise_own_refusals
from sirl.evaluation.suite import Suite
from sirl.evaluation.target import PromptReading
from sirl.runs import open_run
from sirl.types import Completion, Prompt
from sirl.workflows.own_refusals import own_refusals
from tests.unit.fakes import WordJudge, target

SURE, UNSURE = 0.25, 1.25


def answer(prompt, entropy):
    return Completion(prompt, (1,), (1, 2), "x", (-1.0, -1.0), (entropy, entropy), "stop")


class Chooser:
    """Refuses, with low entropy, so many of the four answers to a prompt as its text says."""

    def __init__(self):
        self.chance, self.asked = Random(0), []

    def sample(self, prompts, *, group=1, **_):
        self.asked += prompts
        return [
            answer(p.id, self.chance.gauss(SURE if n < int(p.request) else UNSURE, 0.05))
            for p in prompts
            for n in range(group)
        ]


def prompts(*refusals):
    return [Prompt.user(f"p{n}", str(k)) for n, k in enumerate(refusals)]


@pytest.fixture
def run(tmp_path):
    opened = open_run(tmp_path / "r", {}, "ask")
    yield opened
    opened.close()


def read(run, unsafe, lookalikes, engine=None, **given):
    suite = Suite([WordJudge()], behaviours=prompts(*unsafe), lookalikes=prompts(*lookalikes))
    model = replace(target(engine or Chooser(), batch_size=8), **given)
    return own_refusals(suite, model, run, lambda *_: None)


def test_the_area_is_that_of_the_shares_of_refusals(run):
    found = read(run, (4, 4, 4, 2, 2, 4), (0, 0, 2, 0, 4, 1))
    # of 36 pairs the unsafe prompt has the higher share in 4 x 5 + 2 x 4, and 4 + 2 are ties
    assert found["auroc"] == pytest.approx((28 + 3) / 36)
    assert (found["n"], found["answers"]) == ({"unsafe": 6, "lookalike": 6}, 4)
    assert found["mean"] == pytest.approx({"unsafe": 20 / 24, "lookalike": 7 / 24})
    assert found["modes"] == pytest.approx([SURE, UNSURE], abs=0.05)
    low, high = found["interval"]
    assert 0 < low < found["auroc"] < high < 1
    assert found["sentence"].startswith(
        f"The model itself refuses 83% of unsafe and 29% of look-alike prompts, AUROC 0.86 "
        f"({low:.2f} to {high:.2f} at 95%; 6 unsafe and 6 look-alike prompts, bare, 4 answers "
        "each, read from entropies alone): training without labels can sharpen this ranking"
    )


def test_a_model_that_refuses_all_alike_ranks_nothing(run):
    found = read(run, (2,) * 6, (2,) * 6)
    assert found["auroc"] == 0.5


def test_each_prompt_is_asked_bare_under_an_id_that_no_other_question_has(run):
    engine = Chooser()
    read(run, (4,) * 6, (0,) * 6, engine)
    assert {p.id for p in engine.asked} == {
        f"own_refusals/{side}/p{n}" for side in ("unsafe", "lookalike") for n in range(6)
    }
    (costs,) = run.rows("costs.jsonl")
    assert costs["roles"]["target"]["calls"] == 48
    assert costs["roles"]["target"]["tokens"] == 96


def test_a_resumed_run_reads_what_was_found_and_other_weights_are_asked_again(run):
    first = read(run, (4,) * 6, (0,) * 6)
    engine = Chooser()
    assert read(run, (4,) * 6, (0,) * 6, engine) == first
    assert engine.asked == []
    other = read(run, (4,) * 6, (4,) * 3 + (0,) * 3, engine, identity="weights two")
    assert (len(engine.asked), other["auroc"]) == (12, 0.75)


def test_prompts_that_the_model_cannot_read_are_left_out(run):
    def reading(prompt):
        return PromptReading(1, prompt.request, "too long" if prompt.request == "3" else "")

    found = read(run, (4,) * 6 + (3,), (0,) * 6, read=reading)
    assert found["n"] == {"unsafe": 6, "lookalike": 6}


def test_too_few_answers_say_so_without_a_figure():
    found = summarise_own_refusals([answer("a", SURE), answer("b", UNSURE)], {}, 4)
    assert set(found) == {"sentence"}
    assert "give more --behaviours and --lookalikes" in found["sentence"]


def test_entropies_of_one_mode_say_so():
    chance = Random(1)
    sides = {f"u{n}": "unsafe" for n in range(50)} | {f"l{n}": "lookalike" for n in range(50)}
    answers = [answer(p, chance.gauss(1.0, 0.2)) for p in sides for _ in range(4)]
    found = summarise_own_refusals(answers, sides, 4)
    assert 0.3 < found["auroc"] < 0.7
    assert "may have one mode only (p of the dip test" in found["sentence"]


def test_a_prompt_without_any_token_has_no_share():
    sides = {f"u{n}": "unsafe" for n in range(20)} | {f"l{n}": "lookalike" for n in range(20)}
    answers = [answer(p, SURE if s == "unsafe" else UNSURE) for p, s in sides.items()] * 2
    silent = Completion("l20", (1,), (), "", (), (), "stop")
    found = summarise_own_refusals([*answers, silent], sides | {"l20": "lookalike"}, 2)
    assert found["n"] == {"unsafe": 20, "lookalike": 20}
    assert found["auroc"] == 1.0
    assert not math.isnan(found["interval"][0])
