from dataclasses import replace

import pytest

from sirl.analysis.measured import called, counted_prompts, cut_answers, in_words, measured
from sirl.comparison.compare import compare
from sirl.comparison.evaluated_model import read_arm
from sirl.reports.figures import rate_rows
from sirl.reports.tables import change_rows
from tests.unit.test_compare import CONFIG, row, run_at

ABOUT = {
    "judges": ["rules (refusal)", "my-judge (harm)"],
    "prompts": [{"file": "deeds.csv", "used": 40, "sha256": "ab" * 32}],
    "files": {"sheet.json": "cd" * 32},
}
SETTINGS = {"model": "my/model", "attacks": "quick", "new_tokens": 64}
MODELS = {"target": {"asked": {"behaviours": 12}, "dsr": {"by_attack": {"direct": 1, "story": 2}}}}


@pytest.mark.parametrize(
    ("role", "setting", "name"),
    [
        ("target", "runs/a/checkpoints/step-000030", "runs/a/checkpoints/step-000030"),
        ("target", "http://user:word@127.0.0.1:8000/v1#tiny", "tiny at 127.0.0.1:8000"),
        ("target", "python:gardener:chat", "python:gardener:chat"),
        ("target", None, "target"),
        ("base", "my/model", "base"),
    ],
)
def test_a_model_is_called_what_it_was_given_as_and_never_by_a_password(role, setting, name):
    assert called(role, setting) == name


def test_what_was_measured_is_named_with_its_files_judges_and_settings():
    words = in_words(measured(ABOUT, SETTINGS, MODELS, 1))
    assert words == {
        "model": "my/model",
        "asked": "12 behaviours",
        "files": "deeds.csv (40 prompts, sha256 abababababab); sheet.json (sha256 cdcdcdcdcdcd)",
        "attacks": "quick: direct, story",
        "judged by": "rules (was it refused?), my-judge (was it harmful help?)",
        "answers": "up to 64 new tokens, temperature 1",
        "set aside": "1 row, named in rejected.jsonl",
    }
    assert "set aside" not in in_words(measured(ABOUT, SETTINGS, MODELS, 0))


def test_training_settings_and_what_an_endpoint_does_not_take_are_named():
    trained = {**SETTINGS, "steps": 30, "kl": 0.01, "lora": True, "lora_rank": 8, "seed": 3}
    about = {**ABOUT, "endpoint_dialect": {"x": {"left_out": ["temperature"], "renamed": []}}}
    found = measured(about, trained, {"base": {}, "hardened": {}}, 0)
    assert found["names"] == {"base": "base", "hardened": "hardened"}
    assert found["training"] == {"steps": 30, "kl": 0.01, "lora": True, "lora_rank": 8}
    words = in_words(found)
    assert words["training"] == "steps 30, kl 0.01, lora, lora rank 8"
    assert words["answers"] == "up to 64 new tokens, the endpoint's default temperature"


def test_different_prompts_are_counted_and_not_answers():
    records = [*row("+-"), *row("+-", "story"), *row("-", kind="lookalike")]
    assert counted_prompts(records) == {"behaviours": 2, "look-alike prompts": 1}


def test_cut_answers_are_counted_among_those_that_were_judged():
    whole, cut = row("+-+"), [replace(r, finish="length") for r in row("--", "story")]
    probe = [replace(r, kind="probe") for r in cut]
    silent = [replace(r, fault="blocked: filter") for r in cut]
    found = cut_answers([*whole, *cut, *probe, *silent], 64)
    assert (found["n"], found["of"]) == (2, 5)
    assert found["sentence"] == (
        "2 of 5 answers were cut at 64 tokens, and are judged as cut; raise --new-tokens to let "
        "them end"
    )
    assert cut_answers(whole, 64) == {}
    rows = dict(rate_rows({"base": {"cut": found}, "hardened": {}}))
    assert rows["Answers cut at 64 tokens"] == ["2 of 5", "0"]


def test_a_comparison_names_both_models(tmp_path):
    arms = [
        read_arm(run_at(tmp_path / name, row("+-" * 9), config={**CONFIG, "model": model}))
        for name, model in (("a", "my/model"), ("b", "runs/t/checkpoints/step-000030"))
    ]
    found = compare(*arms)
    assert (found["before"]["model"], found["before"]["name"]) == ("target", "my/model")
    assert change_rows(found)[0] == (
        f"from my/model of {tmp_path / 'a'} to runs/t/checkpoints/step-000030 of {tmp_path / 'b'}"
    )
