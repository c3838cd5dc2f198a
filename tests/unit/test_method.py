"""Building the training method: what is said of settings and prompts."""

import pytest

from sirl.config import TrainConfig
from sirl.workflows.method import without_penalty


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
