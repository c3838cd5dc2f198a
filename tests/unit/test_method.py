"""Building the training method: what is said of settings and prompts."""

import pytest

from sirl.config import TrainConfig
from sirl.errors import InputError
from sirl.types import Prompt
from sirl.workflows.method import check_watched, unusual_temperature, without_penalty


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, []),
        ({"kl": 0.5}, ["--kl has no effect on decision points: "]),
        ({"kl": 0.5, "kl_estimator": "k1"}, ["--kl and --kl-estimator have no effect on decision"]),
        ({"kl": 0.5, "sources": "mine"}, []),
    ],
)
def test_settings_that_decision_points_do_not_use_are_named(given, said):
    config = TrainConfig(model="embedded", out="x", **given)
    assert [s[: len(start)] for s, start in zip(without_penalty(config), said, strict=True)] == said


def test_a_temperature_that_also_changes_the_reading_is_named():
    said = unusual_temperature(TrainConfig(model="embedded", out="x", temperature=2.0))
    assert said[0].startswith(
        "--temperature 2 also holds for the answers that the instinct is read"
    )
    assert unusual_temperature(TrainConfig(model="embedded", out="x")) == []


def test_a_sentinel_needs_prompts_of_both_modes():
    watch = [Prompt.user(id, id) for id in ("a", "b", "c")]
    check_watched(watch, {"a": "refuse", "b": "refuse", "c": "comply"}.get)
    with pytest.raises(InputError, match="finds no prompt that the model refuses, or none"):
        check_watched(watch[:2], {"a": "refuse", "b": "refuse"}.get)
