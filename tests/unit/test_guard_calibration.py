"""The guard's threshold, its false-alarm rate, and what a calibration is bound to."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sirl.config import GuardEvaluateConfig, GuardServeConfig
from sirl.errors import ConfigError, InputError
from sirl.guard.calibration import (
    GIVEN,
    Binding,
    Calibration,
    false_alarm_range,
    rank_of,
    threshold_of,
)

BINDING = Binding("w", "t", {"every": 16, "new_tokens": 64})
CALIBRATION = Calibration(
    BINDING,
    0.25,
    {
        "ordinary": {"probe": (0.1, 0.2, 0.3), "perplexity": (5.0, 6.0, 7.0)},
        "look-alike": {"probe": (0.0, 0.1, 0.2, 0.9), "perplexity": (1.0, 1.0, 1.0, 2.0)},
    },
)


@pytest.mark.parametrize(
    ("n", "alpha", "rank"),
    [(3, 0.25, 3), (99, 0.01, 99), (100, 0.01, 100), (199, 0.01, 198), (1000, 0.01, 991)],
)
def test_the_rank_is_the_ceiling_of_n_plus_1_times_1_minus_alpha(n, alpha, rank):
    assert rank_of(n, alpha) == rank


def test_an_alpha_that_n_cannot_support_is_refused_with_the_n_that_could():
    with pytest.raises(
        InputError, match=r"98 answers to ordinary .* needs at least 99 .* least 0\.0102"
    ):
        rank_of(98, 0.01)
    with pytest.raises(InputError, match=r"needs at least 999 .* at least 0\.01$"):
        rank_of(100, 0.001)
    with pytest.raises(InputError, match="is not a false-alarm rate"):
        rank_of(100, 1.0)


@given(st.integers(1, 3000))
def test_the_alpha_that_the_refusal_names_is_accepted(n):
    with pytest.raises(InputError) as refused:
        rank_of(n, 1 / (n + 2))
    assert rank_of(n, float(str(refused.value).rsplit(" ", 1)[1])) <= n


@given(st.lists(st.floats(-50, 50), min_size=20, max_size=300, unique=True))
def test_at_most_alpha_of_the_calibration_answers_themselves_exceed_the_threshold(scores):
    threshold = threshold_of(scores, 0.05)
    assert threshold in scores
    assert sum(s > threshold for s in scores) <= 0.05 * len(scores)


@pytest.mark.parametrize(
    ("n", "low", "high"), [(100, 0.0003, 0.0362), (300, 0.0021, 0.0239), (1000, 0.0048, 0.0170)]
)
def test_the_range_of_the_realised_rate_is_that_of_its_beta_distribution(n, low, high):
    assert false_alarm_range(n, 0.01) == pytest.approx((low, high), abs=5e-5)


def test_a_score_that_is_not_finite_is_refused():
    with pytest.raises(InputError, match="not finite"):
        threshold_of([0.1, float("nan"), 0.3], 0.25)


def test_the_threshold_is_that_of_the_group_with_the_highest():
    assert CALIBRATION.sizes == {"ordinary": 3, "look-alike": 4}
    assert CALIBRATION.threshold("probe") == 0.9  # rank 4 of 4
    assert CALIBRATION.threshold("perplexity") == 7.0  # rank 3 of 3
    assert CALIBRATION.threshold("probe", 0.5) == 0.2  # ranks 2 of 3 and 3 of 4


def test_the_sentence_names_rate_groups_and_numbers():
    said = CALIBRATION.sentence()
    assert "at most 25.00% of the answers" in said
    assert "of ordinary answers (n 3)" in said
    assert "of look-alike answers (n 4)" in said


def test_a_calibration_is_the_same_after_it_was_saved():
    assert Calibration.revived(CALIBRATION.document(), "here") == CALIBRATION


@pytest.mark.parametrize(
    "damage",
    [
        {"thresholds": {"probe": 3.0, "perplexity": 7.0}},
        {"scores": {}},
        {"scores": {"ordinary": {"probe": [0.1, None, 0.3]}}},
        {"mode": None},
        {"alpha": "much"},
    ],
)
def test_a_damaged_calibration_is_refused(damage):
    with pytest.raises(InputError, match="calibrate again"):
        Calibration.revived(CALIBRATION.document() | damage, "here")


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (replace(BINDING, weights="v"), "other weights than this model has: calibrate this model"),
        (replace(BINDING, template="s"), "another chat template"),
        (
            Binding("w", "t", {"every": 16, "new_tokens": 128}),
            r"new_tokens 64, not 128: give the same new_tokens \(--new-tokens 64\), or run sirl "
            "guard calibrate again$",
        ),
        (
            Binding("w", "t", {"every": 8, "new_tokens": 64}),
            "every 16, not 8: run sirl guard calibrate again$",
        ),
        (
            Binding("w", "t", {"every": 16, "new_tokens": 9, "soonest": 4}),
            "soonest None, not 4: run sirl guard calibrate again$",
        ),
        (
            Binding("w", "t", {"every": 16, "new_tokens": 64, "dtype": "bfloat16"}),
            "dtype None, not bfloat16: run sirl guard calibrate again$",
        ),
        (Binding("w", "t", {"every": 16}), "new_tokens 64, not None"),
    ],
)
def test_a_mismatch_is_refused_in_a_sentence_that_names_it(other, said):
    BINDING.refuse_other(BINDING, "runs/guard")
    with pytest.raises(ConfigError, match=f"the calibration in runs/guard is for {said}"):
        BINDING.refuse_other(other, "runs/guard")


def test_a_dtype_other_than_the_calibrations_is_named_whatever_the_weights_hash_to():
    own, other = (Binding(w, "t", {"dtype": d}) for w, d in (("w", "float32"), ("v", "bfloat16")))
    said = (
        r"is for dtype float32, not bfloat16: give the same dtype \(--dtype float32\), or run "
        "sirl guard calibrate again$"
    )
    with pytest.raises(ConfigError, match=said):
        own.refuse_other(other, "runs/guard")
    with pytest.raises(ConfigError, match="is for other weights than this model has"):
        own.refuse_other(replace(other, mode=own.mode), "runs/guard")


def test_a_flag_that_the_sentence_names_is_one_of_the_verbs():
    every = {w for flag in GIVEN.values() for w in flag.split() if w.startswith("--")}
    fields = {*GuardServeConfig.model_fields, *GuardEvaluateConfig.model_fields}
    assert {w.removeprefix("--").replace("-", "_") for w in every} < fields
