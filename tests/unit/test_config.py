import pytest

from sirl.config import (
    DemoConfig,
    EvaluateConfig,
    PlanConfig,
    ProbeConfig,
    TrainConfig,
    resolve,
)
from sirl.errors import ConfigError


def settings(overrides=(), flags=None, file=None):
    given = {"model": "embedded", "out": "r", **(flags or {})}
    return resolve(TrainConfig, file=file, overrides=list(overrides), flags=given)


def test_later_wins_defaults_file_set_flags(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("steps: 5\nseed: 5\ngroup: 5\n")
    found = settings(["seed=6"], {"group": 7}, file)
    assert (found.steps, found.seed, found.group, found.batch) == (5, 6, 7, 16)
    assert settings(["learning_rate=1e-6"]).learning_rate == 1e-6


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("stepz=3", "--set stepz=3: there is no setting 'stepz'. Did you mean 'steps'?"),
        ("steps=0", "--set steps=0: steps input should be greater than or equal to 1"),
        ("steps", "--set steps is not key=value"),
    ],
)
def test_wrong_settings_get_one_sentence(override, sentence):
    with pytest.raises(ConfigError) as caught:
        settings([override])
    assert str(caught.value) == sentence


def test_an_unknown_key_in_a_file_is_told_with_its_file(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("temprature: 1\n")
    with pytest.raises(
        ConfigError, match=r"c.yaml: there is no setting 'temprature'. Did you mean"
    ):
        settings(file=file)


def test_a_flag_and_an_override_that_contradict_each_other_are_refused():
    assert settings(["group=7"], {"group": 7}).group == 7
    with pytest.raises(ConfigError) as caught:
        settings(["group=6"], {"group": 7})
    assert str(caught.value) == "--group 7 and --set group=6 contradict each other: give one"


@pytest.mark.parametrize("verb", [TrainConfig, EvaluateConfig, ProbeConfig, PlanConfig])
def test_the_model_is_never_guessed(verb):
    with pytest.raises(ConfigError, match="--model is needed"):
        resolve(verb, file=None, overrides=[], flags={"out": "r"})
    assert resolve(DemoConfig, file=None, overrides=[], flags={}).model == "embedded"


def test_out_is_needed():
    with pytest.raises(ConfigError, match="--out is needed"):
        resolve(EvaluateConfig, file=None, overrides=[], flags={"model": "embedded"})


def test_the_paper_recipe_holds_the_papers_values():
    from pathlib import Path

    found = settings(file=Path(__file__).parents[2] / "recipes" / "paper.yaml")
    assert (found.group, found.batch, found.learning_rate, found.kl) == (4, 512, 1e-6, 0.001)
    assert (found.clip, found.temperature, found.new_tokens, found.steps) == (0.2, 1.0, 3072, 30)
    assert (found.reward, found.kl_estimator) == ("negative_entropy", "k3")


@pytest.mark.parametrize(
    ("verb", "given", "sentence"),
    [
        (TrainConfig, {"lora_rank": 4},
         "lora_rank needs --lora: give that, or leave lora_rank out"),
        (PlanConfig, {"lora_rank": 4},
         "lora_rank needs --lora: give that, or leave lora_rank out"),
        (TrainConfig, {"held_out": 0, "attacks": "full"},
         "attacks needs a table, which --held-out or --behaviours make: give that, or leave "
         "attacks out"),
        (EvaluateConfig, {"concurrency": 2},
         "concurrency needs an endpoint as --model, --judge or --attacker: give that, or leave "
         "concurrency out"),
        (EvaluateConfig, {"judge": "strongreject:https://h/v1#m", "supports_opener": True},
         "supports_opener needs an endpoint as --model: give that, or leave supports_opener out"),
        (EvaluateConfig, {"model": "https://h/v1#m", "judge_key_from_env": "K"},
         "judge_key_from_env needs an endpoint as --judge: give that, or leave judge_key_from_env "
         "out"),
        (EvaluateConfig, {"model": "https://h/v1#m", "dtype": "bfloat16"},
         "dtype needs a model in this process: give that, or leave dtype out"),
        (ProbeConfig, {"benchmarks": "numeric:f.jsonl"},
         "benchmarks needs sirl evaluate, as a probe asks no tasks: give that, or leave "
         "benchmarks out"),
        (EvaluateConfig, {"benchmarks": "numeric:f.jsonl", "run_code": True},
         "run_code needs humaneval:FILE or mbpp:FILE among --benchmarks: give that, or leave "
         "run_code out"),
        (EvaluateConfig, {"capability_tokens": 9},
         "capability_tokens needs --benchmarks: give that, or leave capability_tokens out"),
    ],
)  # fmt: skip
def test_what_would_change_nothing_is_refused(verb, given, sentence):
    with pytest.raises(ConfigError) as caught:
        resolve(verb, file=None, overrides=[], flags={"model": "embedded", "out": "r", **given})
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("verb", "given"),
    [
        (TrainConfig, {"lora_rank": 4, "lora": True}),
        (TrainConfig, {"lora_rank": 16}),
        (EvaluateConfig, {"judge": "strongreject:https://h/v1#m", "tries": 2, "dtype": "bfloat16"}),
        (EvaluateConfig, {"model": "http://h/v1#m", "key_from_env": "K", "timeout": 3}),
        (EvaluateConfig, {"model": "python:m:f", "judge": "strongreject:folder", "rows": 8}),
        (EvaluateConfig, {"max_queries": 4}),
    ],
)
def test_what_has_an_effect_or_is_the_default_passes(verb, given):
    found = resolve(verb, file=None, overrides=[], flags={"model": "embedded", "out": "r", **given})
    assert {name: getattr(found, name) for name in given} == given


@pytest.mark.parametrize("verb", [TrainConfig, EvaluateConfig, ProbeConfig, PlanConfig, DemoConfig])
def test_every_setting_has_one_help_panel(verb):
    from sirl.cli.grouped_help import PANELS

    panels = {
        name: [p for p, names in PANELS.items() if name in names] for name in verb.model_fields
    }
    assert {name: found for name, found in panels.items() if len(found) != 1} == {}


@pytest.mark.parametrize("width", [40, 80])
def test_help_never_cuts_a_name_and_says_what_is_required(width):
    from typer.testing import CliRunner

    from sirl.cli.main import app

    told = CliRunner().invoke(app, ["evaluate", "--help"], terminal_width=width).output
    for name in EvaluateConfig.model_fields:
        assert f"--{name.replace('_', '-')}" in told
    assert "\u2026" not in told
    assert told.count("[required]") == 2
    assert told.index("\nModel:") < told.index("\nSampling:") < told.index("\nOutput:")
