import re
from dataclasses import replace

import pytest

from sirl.analysis.measured import (
    called,
    counted_prompts,
    cut_answers,
    file_in_words,
    in_words,
    measured,
)
from sirl.comparison.compare import compare
from sirl.comparison.evaluated_model import read_evaluated
from sirl.errors import InputError
from sirl.reports.figures import rate_rows
from sirl.reports.tables import change_rows
from tests.unit.test_compare import ABOUT as COMPARED
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
    words = in_words(measured(ABOUT, SETTINGS, MODELS, "1 row"))
    assert words == {
        "model": "my/model",
        "asked": "12 behaviours",
        "files": "deeds.csv (40 prompts used, sha256 abababababab); "
        "sheet.json (sha256 cdcdcdcdcdcd)",
        "attacks": "quick: direct, story",
        "judged by": "rules (was it refused?), my-judge (was it harmful help?)",
        "answers": "up to 64 new tokens, temperature 1",
        "set aside": "1 row, named in rejected.jsonl",
    }
    assert "set aside" not in in_words(measured(ABOUT, SETTINGS, MODELS, ""))


def test_training_settings_and_what_an_endpoint_does_not_take_are_named():
    trained = {**SETTINGS, "steps": 30, "kl": 0.01, "lora": True, "lora_rank": 8, "seed": 3}
    dialect = {"x": {"left_out": ["temperature"], "renamed": []}}
    about = {**ABOUT, "model": {"endpoint": "x"}, "endpoint_dialect": dialect}
    found = measured(about, trained, {"base": {}, "hardened": {}}, "")
    assert found["names"] == {"base": "base", "hardened": "hardened"}
    assert found["training"] == {"steps": 30, "kl": 0.01, "lora": True, "lora_rank": 8}
    words = in_words(found)
    assert words["training"] == "steps 30, kl 0.01, lora, lora rank 8"
    assert words["answers"] == "up to 64 new tokens, the endpoint's own temperature"


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
    pair = [
        read_evaluated(run_at(tmp_path / name, row("+-" * 9), config={**CONFIG, "model": model}))
        for name, model in (("a", "my/model"), ("b", "runs/t/checkpoints/step-000030"))
    ]
    found = compare(*pair)
    assert (found["before"]["model"], found["before"]["name"]) == ("target", "my/model")
    assert change_rows(found)[0] == (
        f"from my/model of {tmp_path / 'a'} to runs/t/checkpoints/step-000030 of {tmp_path / 'b'}"
    )


def test_the_temperature_is_that_of_the_model_that_was_measured_not_of_its_judges():
    dialect = {"the judge": {"left_out": ["temperature"], "renamed": []}}
    about = {**ABOUT, "model": {"endpoint": "the target"}, "endpoint_dialect": dialect}
    found = measured(about, SETTINGS, MODELS, "")
    assert (found["temperature"], found["sampled_by"]) == (1.0, "sirl")
    assert in_words(found)["answers"] == "up to 64 new tokens, temperature 1"


def test_of_a_function_no_temperature_is_claimed():
    found = measured({**ABOUT, "model": {"function": "gardener:chat"}}, SETTINGS, MODELS, "")
    assert found["temperature"] is None
    assert in_words(found)["answers"] == "up to 64 new tokens, the function's own temperature"


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        (
            {"endpoint_dialect": {"e": {"left_out": ["seed", "temperature"], "renamed": []}}},
            {"endpoint_dialect": {"e": {"left_out": [], "renamed": []}}},
            "the set of sampling parameters that the endpoint does not accept differs: "
            "['temperature'] for",
        ),
        (
            {"code_sandbox": "namespaces: no network"},
            {"code_sandbox": "limits alone"},
            "code_sandbox, within which the code of answers ran, differs",
        ),
    ],
)
def test_models_that_were_sampled_or_fenced_otherwise_are_not_compared(
    tmp_path, before, after, named
):
    pair = [
        read_evaluated(
            run_at(
                tmp_path / name, row("+-"), about={**COMPARED, "model": {"endpoint": "e"}, **more}
            )
        )
        for name, more in (("a", before), ("b", after))
    ]
    with pytest.raises(InputError, match=re.escape(named)):
        compare(*pair)


def test_an_endpoint_that_takes_no_seed_is_compared(tmp_path):
    dialects = {"e": {"left_out": ["seed", "logprobs"], "renamed": []}}
    pair = [
        read_evaluated(
            run_at(
                tmp_path / name,
                row("+-"),
                about={**COMPARED, "model": {"endpoint": "e"}, "endpoint_dialect": found},
            )
        )
        for name, found in (("a", dialects), ("b", {}))
    ]
    assert compare(*pair)["dsr"]["mean"]["before"]["value"] == 0.5


def test_one_prompt_is_one_prompt():
    file = {"file": "a.csv", "n": 1, "sha256": "0123456789abcdef"}
    assert file_in_words(file).startswith("a.csv (1 prompt used, sha256 ")
    assert file_in_words({**file, "n": 2}).startswith("a.csv (2 prompts used, sha256 ")
