import re

import pytest

from sirl.cli.flags import option
from sirl.cli.main import main
from sirl.config import (
    ALIASES,
    DemoConfig,
    EvaluateConfig,
    GuardServeConfig,
    JudgeConfig,
    PlanConfig,
    ProbeConfig,
    TrainConfig,
    resolve,
    sampled_rate,
)
from sirl.config.groups import Group
from sirl.errors import ConfigError
from sirl.renamed import ELSEWHERE, SETTINGS
from sirl.workflows.demo import paper_settings

FORMER = [("--rows", "--sampling-batch-size"), ("--checkup-every", "--eval-every")]


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
        ("steps=0", "--set steps=0: steps must be at least 1"),
        (
            "rows=8",
            "--set rows=8: there is no setting 'rows'. Did you mean 'sampling_batch_size'?",
        ),
        (
            "checkup_every=0",
            "--set checkup_every=0: there is no setting 'checkup_every'. "
            "Did you mean 'eval_every'?",
        ),
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


def test_a_former_name_in_a_file_suggests_the_present_one(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("rows: 8\n")
    with pytest.raises(ConfigError, match="Did you mean 'sampling_batch_size'"):
        settings(file=file)


@pytest.mark.parametrize(("former", "present"), FORMER)
def test_a_former_flag_suggests_the_present_one(monkeypatch, capsys, former, present):
    monkeypatch.setattr("sys.argv", ["sirl", "train", former, "8"])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert capsys.readouterr().err == (
        f"sirl: no such option: {former}, which is now called {present}; see sirl train --help\n"
    )


@pytest.mark.parametrize(
    ("verb", "flag", "own"),
    [
        ("train", "--lr", "--learning-rate"),
        ("train", "--max_steps", "--steps"),
        ("train", "--num-train-epochs", "--steps"),
        ("train", "--per_device_train_batch_size", "--batch"),
        ("train", "--batch_size", "--batch"),
        ("train", "--output_dir", "--out"),
        ("train", "--resume-from-checkpoint", "--resume"),
        ("train", "--dataset_name", "--prompts"),
        ("evaluate", "--tasks", "--benchmarks"),
        ("evaluate", "--model_args", "--model"),
        ("evaluate", "--output_path", "--out"),
    ],
)
def test_a_flag_of_another_tool_suggests_the_one_here(monkeypatch, capsys, verb, flag, own):
    monkeypatch.setattr("sys.argv", ["sirl", verb, flag, "8"])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert capsys.readouterr().err == (
        f"sirl: no such option: {flag}: sirl has {own}; see sirl {verb} --help\n"
    )


def test_a_setting_of_another_tool_in_a_file_suggests_the_one_here(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("max_grad_norm: 1.0\n")
    with pytest.raises(ConfigError, match=r"'max_grad_norm'. Did you mean 'max_gradient_norm'\?"):
        settings(file=file)


def test_what_is_suggested_for_other_tools_is_a_setting_or_flag_here():
    known = {*TrainConfig.model_fields, *EvaluateConfig.model_fields, "resume", "overwrite"}
    assert {own for names in ELSEWHERE.values() for own in names.split()} <= known
    assert known.isdisjoint(ELSEWHERE)
    assert ELSEWHERE.keys().isdisjoint({*ALIASES, *SETTINGS})


VERBS = [TrainConfig, PlanConfig, DemoConfig, EvaluateConfig, ProbeConfig, JudgeConfig]


def test_no_verb_inherits_the_settings_of_another():
    assert [(a, b) for a in VERBS for b in VERBS if a is not b and issubclass(a, b)] == []


def test_each_setting_belongs_to_one_group():
    names = [name for group in Group.__subclasses__() for name in group.model_fields]
    again = {name for name in names if names.count(name) > 1}
    assert again == {"timeout"}  # of the processes that train, and of a request to an endpoint
    assert {"model", "steps", "ordinary", "judge", "gpus"} <= set(names)


def test_a_file_of_training_settings_is_one_for_a_plan():
    assert set(TrainConfig.model_fields) < set(PlanConfig.model_fields)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_former_name_is_no_setting_and_its_present_one_is(name):
    assert name not in TrainConfig.model_fields
    assert SETTINGS[name] in TrainConfig.model_fields


def test_a_flag_and_an_override_that_contradict_each_other_are_refused():
    assert settings(["group=7"], {"group": 7}).group == 7
    with pytest.raises(ConfigError) as caught:
        settings(["group=6"], {"group": 7})
    assert str(caught.value) == "--group 7 and --set group=6 contradict each other: give one"


def test_two_overrides_of_one_setting_that_contradict_each_other_are_refused():
    assert settings(["group=7", " group = 7"]).group == 7
    with pytest.raises(ConfigError) as caught:
        settings(["group=6", "group=7"])
    assert str(caught.value) == "--set group=7 and --set group=6 contradict each other: give one"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            "train --model m --prompts a.txt --prompts b.txt --out o",
            "--prompts is given twice and takes one value: write --prompts A,B",
        ),
        (
            "evaluate --attacks direct --out o --attacks=pair --attacks dan",
            "--attacks is given 3 times and takes one value: write --attacks A,B",
        ),
        (
            "train --beta 0.1 --kl 0.1 --out o",
            "--kl is given twice and takes one value: give it once",
        ),
        (
            "train --model m --strict --no-strict --out o",
            "--strict/--no-strict is given twice and takes one value: give it once",
        ),
        ("gate runs/a --min-dsr 0.9 --min-dsr 0.8", "--min-dsr is given twice and takes one"),
        ("judge again r --judge rules --judge llm", "--judge is given twice and takes one value"),
        ("guard serve --port 1 --port 2", "--port is given twice and takes one value"),
        ("world build --out a --out b", "--out is given twice and takes one value"),
        ("compare a b --after-model x --after-model y", "--after-model is given twice and takes"),
    ],
)
def test_an_option_that_takes_one_value_is_given_once(monkeypatch, capsys, words, sentence):
    monkeypatch.setattr("sys.argv", ["sirl", *words.split()])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert capsys.readouterr().err.startswith(f"sirl: {sentence}")


def test_a_switch_and_an_option_for_several_values_may_be_given_twice(monkeypatch, capsys):
    for words, said in {
        "settings train --json --json": "",
        "train --set steps=3 --set group=2": "sirl: --model is required\n",
    }.items():
        monkeypatch.setattr("sys.argv", ["sirl", *words.split()])
        with pytest.raises(SystemExit):
            main()
        assert capsys.readouterr().err == said


@pytest.mark.parametrize("verb", [TrainConfig, EvaluateConfig, ProbeConfig, PlanConfig])
def test_the_model_is_never_guessed(verb):
    with pytest.raises(ConfigError, match="--model is required"):
        resolve(verb, file=None, overrides=[], flags={"out": "r"})
    assert resolve(DemoConfig, file=None, overrides=[], flags={}).model == "embedded"


def test_out_is_needed():
    with pytest.raises(ConfigError, match="--out is required"):
        resolve(EvaluateConfig, file=None, overrides=[], flags={"model": "embedded"})


def test_the_paper_recipe_holds_the_papers_values():
    from pathlib import Path

    found = settings(file=Path(__file__).parents[2] / "recipes" / "paper.yaml")
    assert (found.group, found.batch, found.learning_rate, found.kl) == (4, 512, 1e-6, 0.001)
    assert (found.clip, found.temperature, found.new_tokens, found.steps) == (0.2, 1.0, 3072, 30)
    assert (found.reward, found.kl_estimator) == ("negative_entropy", "k3")


def test_a_resumed_run_keeps_what_is_not_given_again():
    def of_the_run(folder):
        assert str(folder) == "runs/r"
        return {"model": "m", "out": "moved/r", "group": 5, "seed": 3, "of_another_version": 1}

    found = resolve(
        TrainConfig,
        file=None,
        overrides=["seed=4"],
        flags={"out": "runs/r", "model": None},
        resumed=of_the_run,
    )
    assert (found.model, found.out, found.group, found.seed, found.batch) == (
        "m", "runs/r", 5, 4, 16,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("steps=-1", "--set steps=-1: steps must be at least 1"),
        ("steps=abc", "--set steps=abc: steps must be a whole number"),
        ("steps=1.5", "--set steps=1.5: steps must be a whole number"),
        ("learning_rate=0", "--set learning_rate=0: learning_rate must be greater than 0"),
        ("clip=1", "--set clip=1: clip must be less than 1"),
        ("lora=perhaps", "--set lora=perhaps: lora must be true or false"),
        ("dtype=half", "--set dtype=half: dtype must be one of 'float32' or 'bfloat16'"),
        ("prompts=3", "--set prompts=3: prompts must be text: put it in quotes"),
        ("prompts=", "--set prompts=: prompts is empty: give a value, or null for none"),
        ('track=" "', '--set track=" ": track is empty: give a value, or leave it out'),
        ("prompts=[a", "--set prompts=[a is not YAML: put the value in quotes"),
        ("template_arguments=3",
         "--set template_arguments=3: template_arguments must be a mapping, such as {name: value}"),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_is_told_what_would(override, sentence):
    with pytest.raises(ConfigError) as caught:
        settings([override])
    assert str(caught.value) == sentence


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


def test_a_file_that_is_not_yaml_is_named_by_line(tmp_path):
    file = tmp_path / "c.yaml"
    for text, said in {
        "steps: 3\ngroup: [2\nbatch: 4\n": r"c.yaml:3 is not YAML \(.*\): fix it there$",
        "steps: 3\n\tgroup: 2\n": r"c.yaml:2 is not YAML \(.*\): fix it there$",
        "steps: 3\ngroup: 2\nsteps: 4\n": r"c.yaml:3 is not YAML \(the key steps appears twice\)",
        "- steps\n": "c.yaml is not a mapping of settings: write key: value lines$",
    }.items():
        file.write_text(text)
        with pytest.raises(ConfigError, match=said):
            settings(file=file)
    with pytest.raises(ConfigError, match=r"cannot be read: No such file .*; check the path"):
        settings(file=tmp_path / "none.yaml")


def test_the_papers_method_keeps_its_own_learning_rate_beside_the_instinct() -> None:
    config = DemoConfig(out="x")
    paper = paper_settings(config)
    assert (paper.method, paper.steps, paper.learning_rate) == ("entropy", 30, 1e-4)
    assert config.learning_rate == 2e-4
    assert TrainConfig(model="embedded", out="x", depth=True).learning_rate == 1e-4


def test_an_adapter_learns_at_five_times_the_rate_of_all_weights_but_for_the_papers_method() -> (
    None
):
    def rate(**more) -> float:
        return TrainConfig(model="embedded", out="x", lora=True, **more).learning_rate

    assert (rate(), rate(depth=True)) == pytest.approx((1e-3, 5e-4))
    assert (rate(method="entropy"), rate(learning_rate=3e-5)) == (1e-4, 3e-5)


@pytest.mark.parametrize(
    ("given", "rate"),
    [
        ({}, 1e-4),
        ({"lora": True}, 5e-4),
        ({"depth": True}, 1e-4),
        ({"learning_rate": 3e-5}, 3e-5),
        ({"learning_rate": 1e-3}, 1e-3),
        ({"learning_rate": 2e-4}, 1e-4),
    ],
)
def test_sampled_answers_have_a_lower_learning_rate_in_place_of_the_default(given, rate) -> None:
    assert sampled_rate(vars(TrainConfig(model="embedded", out="x", **given))) == rate


def test_help_says_required_or_the_default_and_names_the_user_s_code_in_one_way():
    assert option(GuardServeConfig, "model").help.endswith("[required without --upstream]")
    assert option(GuardServeConfig, "host").help.endswith("[default: 127.0.0.1]")
    for config in (TrainConfig, EvaluateConfig):
        for name, setting in config.model_fields.items():
            code = re.findall(r"python:\w+:\w+", str(setting.description))
            assert set(code) <= {"python:MODULE:NAME"}, name


def test_help_shows_settings_where_readers_look_and_no_empty_default():
    from typer.testing import CliRunner

    from sirl.cli.main import app

    def told(*words):
        return CliRunner().invoke(app, [*words, "--help"], terminal_width=100).output

    train, guard = told("train"), told("guard", "evaluate")
    panels = {part.split(":")[0]: part for part in train.split("\n\n")}
    for flag, panel in {
        "--seed": "Sampling",
        "--sentinel": "Checks and checkpoints during training",
        "--checkpoint-every": "Checks and checkpoints during training",
        "--timeout": "Hardware",
    }.items():
        assert f"  {flag} " in panels[panel]
    assert "Endpoint" not in panels
    assert "[default: none]" in guard
    assert "[default: ]" not in train + guard + told("guard", "serve")


def test_a_setting_by_two_names_in_a_file_is_refused_and_an_error_names_the_one_given(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("kl: 0.2\nbeta: 0.7\n")
    with pytest.raises(ConfigError, match="kl is given twice, under two names: give it once"):
        settings(file=file)
    file.write_text("beta: -1\n")
    with pytest.raises(ConfigError, match=r"c.yaml, beta: kl must be at least 0"):
        settings(file=file)
