"""The probe: what it is fitted on, what it chooses, and how it is kept."""

import numpy as np
import pytest

from sirl.errors import InputError
from sirl.guard.classical import Usual, classical_scores, usual
from sirl.guard.fitting import probe_examples
from sirl.guard.modes import Modes, tell_modes
from sirl.guard.probe import LinearProbe, States, fit_control, fit_probe, folds_of
from sirl.guard.scoring import Asked
from sirl.instinct import Instinct
from sirl.types import Completion, Message, Prompt


def answer(prompt, *ids, entropy=1.0, asked=(1, 2)):
    entropies = (entropy,) * len(ids)
    return Completion(prompt, asked, ids, "", entropies, entropies, "length")


def states(random, informative=1):
    """Forty prompts of three rows; one of two layers shows the kind."""
    prompts = np.repeat(np.arange(40), 3)
    refuses = prompts % 2 == 0
    rows = random.normal(size=(120, 2, 4))
    rows[:, informative, 0] += np.where(refuses, 3.0, -3.0)
    return States(rows.astype(np.float32), refuses, prompts)


def test_the_layer_that_shows_the_kind_is_chosen_and_scores_positive_for_refusal():
    rows = states(np.random.default_rng(0))
    probe = fit_probe(rows, (3, 6), seed=0)
    assert probe.layer == 6
    assert probe.about["log_loss"]["6"] < 0.3 < probe.about["log_loss"]["3"]
    scores = probe.score(rows.states[:, 1])
    assert scores[rows.refuses].min() > 0 > scores[~rows.refuses].max()


def test_a_control_keeps_rows_of_a_prompt_together_and_knows_nothing_of_the_kind():
    rows = states(np.random.default_rng(1))
    probe = fit_probe(rows, (3, 6), seed=0)
    scores = fit_control(rows, (3, 6), probe, seed=0).score(rows.states[:, 1])
    gap = scores[rows.refuses].mean() - scores[~rows.refuses].mean()
    own = probe.score(rows.states[:, 1])
    assert abs(gap) < 0.3 * (own[rows.refuses].mean() - own[~rows.refuses].mean())


def test_no_fold_has_all_prompts_of_a_kind():
    prompts = np.arange(60)
    rows = States(np.zeros((60, 1, 1), np.float32), prompts < 5, prompts)
    deal = np.random.default_rng(3463).permutation(60)[prompts] % 5
    assert len({*deal[rows.refuses].tolist()}) == 1  # the first deal would
    folds = folds_of(rows, 3463)
    assert {len({*folds[rows.refuses == kind].tolist()}) > 1 for kind in (True, False)} == {True}


def test_too_few_prompts_of_one_kind_are_refused():
    rows = states(np.random.default_rng(0))
    few = States(rows.states, rows.prompts < 4, rows.prompts)
    with pytest.raises(InputError, match="the model refuses 4 prompts, and a probe needs 5"):
        fit_probe(few, (3, 6), seed=0)


def test_a_probe_is_the_same_after_it_was_saved_and_a_damaged_one_is_refused():
    probe = LinearProbe(2, np.array([0.5, -1.25]), 0.125, {"rows": 3})
    again = LinearProbe.revived(probe.document(), "here")
    assert again.score(np.array([[2.0, 1.0]])).tolist() == [-0.125]
    assert (again.layer, again.about) == (2, {"rows": 3})
    for damage in ({"weights": [0.5, None]}, {"weights": [[1.0]]}, {"bias": float("inf")}):
        with pytest.raises(InputError, match="calibrate again"):
            LinearProbe.revived(probe.document() | damage, "here")


def test_a_probe_learns_from_prompts_as_asked_and_from_the_middle_of_compliance_only():
    instinct = Instinct(0.5, {"bad": 1.0, "good": 0.0, "odd": 0.5}, (0.1, 1.0), 0.0)
    hidden = (1, 2, 3)
    answers = [
        Asked(Prompt.user("bad", "?"), answer("bad", 9, 9, entropy=0.1)),
        Asked(Prompt.user("bad", "!?"), answer("bad", 5, 5, 5, 5, entropy=1.0, asked=hidden)),
        Asked(Prompt.user("good", "?"), answer("good", 6, 6, entropy=1.0, asked=(4,))),
        Asked(Prompt.user("odd", "?"), answer("odd", 6, 6, entropy=1.0, asked=(5,))),
    ]
    modes = Modes(instinct, (7,), frozenset())
    found = probe_examples(modes, answers, seed=0)
    rows = {
        (c.completion.prompt_ids, c.position, kind)
        for c, kind in zip(found.checks, found.refuses, strict=True)
    }
    deep = {row for row in rows if row[:2] not in {((1, 2), 0), (hidden, 0), ((4,), 0)}}
    assert {((1, 2), 0, True), (hidden, 0, True), ((4,), 0, False)} < rows
    assert {(ids, kind) for ids, _, kind in deep} == {(hidden, True), ((4,), False)}
    assert sorted(found.prompts) == ["bad"] * 5 + ["good"] * 3
    assert probe_examples(modes, answers, seed=0) == found


def test_a_sure_answer_to_a_harmless_prompt_is_no_refusal_unless_it_begins_like_one():
    refusals = [answer("bad", 7, 7, entropy=0.1) for _ in range(4)]
    sums = [answer("sum", 3, 3, entropy=0.1) for _ in range(4)]
    refused = [answer("alike", 7, 3, entropy=0.1) for _ in range(4)]
    shares = {"bad": 1.0, "sum": 1.0, "alike": 1.0}
    instinct = Instinct(0.5, shares, (0.1, 1.0), 0.0)
    modes = tell_modes(instinct, [*refusals, *sums, *refused], {"sum", "alike"})
    assert modes.openers == (7,)
    assert [modes.of(id) for id in shares] == ["refuse", "comply", "refuse"]
    assert [modes.refused(a) for a in (refusals[0], sums[0], refused[0])] == [True, False, True]
    unknown = tell_modes(instinct, [*refusals, *sums], ())
    assert unknown.of("sum") == "refuse"  # without a word on its harm, entropy decides


def test_without_common_openers_entropy_decides_for_harmless_prompts_too():
    instinct = Instinct(0.5, {"sum": 1.0}, (0.1, 1.0), 0.0)
    modes = Modes(instinct, (), frozenset({"sum"}))
    assert modes.refused(answer("sum", 3, entropy=0.1))


def test_a_begun_prompt_begins_the_answer():
    begun = Prompt("a", (Message("user", "?"), Message("assistant", "Sure")))
    assert Asked(begun, answer("a", 1)).at(0).begun
    assert not Asked(Prompt.user("a", "?"), answer("a", 1)).at(0).begun


def test_classical_scores_are_those_counted_by_hand():
    # Losses 1 .. 10: mean 5.5; the last eight average 6.5.
    losses = [-float(n) for n in range(1, 11)]
    found = classical_scores(losses, [1.0, 4.0, 4.0, -8.0], -0.25, Usual(1.0, 2.0))
    assert found == {
        "prompt_perplexity": 5.5,
        "windowed_perplexity": 6.5,
        "first_token_confidence": 0.25,
        "prompt_cusum": 2.0,  # 0, then 1.5 - 0.5 twice
    }
    assert usual([[1.0, 2.0], [3.0, 7.0, 2.0]]) == Usual(2.0, 1.4826)
