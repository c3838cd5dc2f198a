"""Building the training method: what is said of settings and prompts."""

import pytest

from sirl.config import TrainConfig
from sirl.errors import InputError
from sirl.training.curriculum import Curriculum
from sirl.types import Prompt
from sirl.workflows.method import graded_alike, without_penalty


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


def prompts(*ids):
    return [Prompt.user(id, id) for id in ids]


def test_prompts_that_training_and_grading_read_differently_are_not_watched():
    whole = Curriculum(prompts("a", "b"), prompts("c", "d"), (), lambda _: True, batch=2, seed=0)
    modes = {"a": "refuse", "b": "comply", "c": "comply", "d": "refuse"}
    watch = [*whole.refused, *whole.answered]
    assert [p.id for p in graded_alike(watch, whole, modes.get)] == ["a", "c"]
    with pytest.raises(InputError, match="agree on none"):
        graded_alike(prompts("a", "b", "d"), whole, modes.get)
