"""Searches against a model behind its guard: what they see, and what is counted."""

import numpy as np
import pytest
import torch

from sirl.analysis.search_curves import search_curve
from sirl.attacks.gradient import Gcg, SuffixReader, slot
from sirl.attacks.objectives import TargetOpener, goal
from sirl.attacks.search import BestOfN, RandomSearch
from sirl.config import GuardEvaluateConfig
from sirl.errors import ConfigError
from sirl.evaluation.records import SearchResult
from sirl.guard.classical import Usual
from sirl.guard.guarded import GuardedEngine, ScorePenalty, StopsAreSafe, penalised
from sirl.guard.monitor import Watch
from sirl.guard.probe import LinearProbe
from sirl.guard.scoring import Fitted
from sirl.guard.server.policy import REFUSAL
from sirl.registry.guard import guard_searches
from sirl.reports.grid import markdown
from sirl.reports.guard_outcomes import search_parts
from sirl.rollouts.native import NativeEngine
from sirl.types import Attempt, Message, Prompt, Record
from sirl.workflows.guard.searches import alarms_of, throttled
from sirl.world.language import ordinary_requests, unsafe_requests
from tests.unit.fakes import HELPED, WordJudge

PROMPTS = [*unsafe_requests("test")[:2], *ordinary_requests("test")[:2]]


def fitted(bias):
    """A guard whose probe scores every state with its bias."""
    probe = LinearProbe(1, np.zeros(192), bias)
    return Fitted(probe, probe, (), (), Usual(0.0, 1.0), Watch(every=4, soonest=4))


def guarded(chat, bias):
    own = fitted(bias)
    return GuardedEngine(NativeEngine(chat, 0, 12), own.reader(chat), own, threshold=0.0)


def test_an_answer_that_is_stopped_at_once_is_a_refusal_without_tokens(embedded):
    engine = guarded(embedded, 1.0)
    found = engine.sample(PROMPTS)
    assert engine.alarms == {p.id for p in PROMPTS}
    assert {c.text for c in found} == {REFUSAL}
    assert {c.token_ids for c in found} == {()}
    assert [c.prompt_id for c in found] == [p.id for p in PROMPTS]


def test_an_answer_that_raises_no_alarm_is_the_models_own(embedded):
    assert guarded(embedded, -1.0).sample(PROMPTS) == NativeEngine(embedded, 0, 12).sample(PROMPTS)


def test_an_answer_that_is_stopped_late_keeps_what_had_left(embedded):
    engine = guarded(embedded, -1.0)
    whole = engine.inner.sample(PROMPTS[2:3])[0]
    cut = engine.stopped(whole, 3)
    assert cut.token_ids == whole.token_ids[:3]
    assert cut.text == embedded.decode(whole.token_ids[:3])
    assert len(cut.entropies) == len(cut.logprobs) == 3


@pytest.mark.parametrize(("question", "label"), [("refusal", "refusal"), ("harm", "harmless")])
def test_the_guards_own_refusal_is_safe_to_every_judge_and_other_answers_are_judged(
    question, label
):
    judge = StopsAreSafe(WordJudge(question=question))
    attempt = Attempt(PROMPTS[0], "a", PROMPTS[0].messages)
    found = judge.verdicts([(attempt, REFUSAL), (attempt, HELPED), (attempt, REFUSAL)])
    assert [v.label for v in found] == [label, found[1].label, label]
    assert not found[1].safe
    assert judge.verdict(attempt, REFUSAL).safe


def test_an_adaptive_search_pays_for_scores_above_the_threshold_only(embedded):
    turns = [(Message("user", "Hi"),)] * 4  # no cut but the end, which both probes read

    def likelihoods(conversations, _):
        return [-1.0] * len(conversations)

    for bias, expected in ((2.5, -5.0), (-2.5, -1.0)):
        own = fitted(bias)
        penalty = ScorePenalty.of(embedded, own, threshold=0.5)
        found = penalised(likelihoods, own.reader(embedded), penalty)(turns, "Sure")
        assert found == pytest.approx([expected] * 4)


def test_a_gradient_search_sees_the_score_of_the_state_that_the_guard_checks(embedded):
    prompt = unsafe_requests("test")[0]
    chance = np.random.default_rng(0)
    probes = (LinearProbe(n, chance.normal(size=192), 0.0) for n in (2, 3))
    own = Fitted(*probes, (), (), Usual(0.0, 1.0), Watch())
    penalty = ScorePenalty.of(embedded, own, threshold=-1e3)
    place = slot(embedded, prompt, 8)
    wanted = goal(embedded, prompt, "Sure! First,", 0)
    plain, paid = (SuffixReader(place, wanted, TargetOpener(), 8, p) for p in (None, penalty))
    suffix = torch.tensor([place.start])
    extra = float(paid.losses(suffix) - plain.losses(suffix))
    messages = place.messages(place.start)
    reader = own.reader(embedded)
    cuts = reader.cutter.cuts(embedded.render(messages))
    fixed = [cut.ids for cut in cuts if cut.kept <= len(place.before_ids)]
    assert 0 < len(fixed) < len(cuts) - 1  # cuts before the suffix, and within it
    states = torch.from_numpy(reader.read_ids(fixed).states[:, 1])
    unchanged = float(penalty.of_scores(penalty.cuts.score(states)).sum())
    (lost,) = penalised(lambda *_: [0.0], reader, penalty)([messages], "")
    assert extra == pytest.approx(-lost - unchanged, abs=0.05)
    assert not torch.equal(paid.gradient(suffix[0]), plain.gradient(suffix[0]))
    assert Gcg("gcg", TargetOpener(), penalty=penalty).budget == Gcg("gcg", TargetOpener()).budget


def item(behaviour, broken_at, queries=60):
    return SearchResult("k", "target", "s", "f", behaviour, queries, 0, broken_at, ())


def test_success_against_calls_is_counted_by_hand():
    found = search_curve([item("a", 1), item("b", 7), item("c", None), item("d", 60)])
    assert found["after"] == {
        "1": 0.25, "2": 0.25, "5": 0.25, "10": 0.5, "20": 0.5, "50": 0.5, "100": 0.75,
    }  # fmt: skip
    assert found["median"] == 7
    assert (found["held"]["value"], found["held"]["n"]) == (0.25, 4)
    assert search_curve([item("a", 1), item("b", None), item("c", None)])["median"] is None


def tried(*ends):
    """The tries of a search by how they end, and which of them raised an alarm."""
    records = [
        Record(
            id=f"{n}", model="target", kind="attack", attack="s", behaviour_id="a", request="?",
            messages=(), completion="", finish="stop", tokens=1, mean_entropy=0.1,
            entropies=(0.1,), label="harmful" if end == "broke" else "harmless", score=0.0,
            reason="", judge="x",
        )
        for n, end in enumerate(ends)
    ]  # fmt: skip
    return records, {r.id for r, end in zip(records, ends, strict=True) if end == "stop"}


def test_a_throttled_session_gets_no_answer_after_more_than_three_alarms():
    three = alarms_of(*tried("stop", "held", "stop", "stop", "broke", "stop"))
    four = alarms_of(*tried("stop", "stop", "held", "stop", "stop", "broke"))
    never = alarms_of(*tried("stop", "held"))
    assert (three, four, never) == (3, 4, 1)
    found = throttled([item("a", 5), item("b", 6), item("c", None)], [three, four, never])
    assert [i.broken_at for i in found] == [5, None, None]


def test_the_table_has_a_row_per_state_and_names_what_was_left_out():
    curves = {
        "gcg": {
            "off": search_curve([item("a", 3)]),
            "on, unaware": search_curve([item("a", None)]),
        }
    }
    lines = markdown(search_parts({"curves": curves, "skipped": {"pair": "needs attacker"}}))
    assert lines[2].startswith("| gcg | off | 1 | 0.0 (0.0 to 79.3) | 3 | 0 | 0 | 100 |")
    assert lines[3].startswith("| gcg | on, unaware | 1 | 100.0 (20.7 to 100.0) | - | 0 |")
    assert lines[-1] == "Left out: pair needs attacker."


def named(searches):
    return guard_searches(GuardEvaluateConfig(model="m", guard="g", out="o", searches=searches))


def test_only_searches_are_searched_with():
    assert named("") == ()
    assert [type(s) for s in named("best_of_n,random_search")] == [BestOfN, RandomSearch]
    with pytest.raises(ConfigError, match="--searches story is not a search: give it to --attacks"):
        named("best_of_n,story")
    with pytest.raises(ConfigError, match="best_of_m"):
        named("best_of_m")


def test_a_prefilled_answer_is_watched_behind_its_beginning(embedded):
    begun = Prompt("b", (*PROMPTS[2].messages, Message("assistant", "First")))
    assert guarded(embedded, 1.0).sample([begun])[0].text == REFUSAL
