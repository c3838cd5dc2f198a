"""Values of Python as settings: what a notebook may give, and what is refused with the way out."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import sirl
from sirl import registry
from sirl.errors import ConfigError, MissingExtraError
from sirl.types import Prompt
from sirl.workflows.arguments import as_flag, json_lines
from sirl.workflows.guard import verbs
from sirl.workflows.guard.notebook import CalibratedGuard
from sirl.workflows.results import Home, Model
from tests.unit.fake_endpoint import served


@pytest.mark.parametrize(
    ("given", "value"),
    [
        (np.int64(3), 3),
        (np.float32(0.5), 0.5),
        (np.float64(0.5), 0.5),
        (np.bool_(True), True),
        (np.str_("direct"), "direct"),
        (np.array(7), 7),
        (torch.tensor(7), 7),
        (np.array(["direct", "story"]), "direct,story"),
        ([np.str_("direct"), "story"], "direct,story"),
        ({"deep": np.bool_(False)}, {"deep": False}),
    ],
)
def test_scalars_and_arrays_of_other_libraries_are_values_of_python(given, value):
    found = as_flag("a", given)
    assert found == value
    assert type(found) is type(value)
    if isinstance(found, dict):
        assert type(found["deep"]) is bool


@pytest.mark.parametrize("given", [{"direct"}, (n for n in ["direct"]), {"a": 1}.keys(), range(3)])
def test_what_is_neither_a_value_nor_a_list_is_told_to_be_one(given):
    sentence = f"^attacks is of type {type(given).__name__}: give one value, or a list of names$"
    with pytest.raises(ConfigError, match=sentence):
        as_flag("attacks", given)


def test_a_setting_may_be_a_number_of_numpy(tmp_path):
    for seed in np.arange(2):
        found = sirl.probe(
            "embedded", behaviours=["How?"], new_tokens=np.int32(4), seed=seed, out=tmp_path / "r",
            existing="overwrite",
        )  # fmt: skip
        assert f"seed: {seed}\n" in (found.home.path / "config.yaml").read_text()


def test_rows_hold_numbers_of_numpy():
    rows = [{"prompt": np.str_("Wash a hat"), "id": np.int64(7), "score": np.float32(0.5)}]
    rows += [{"messages": np.array([{"role": "user", "content": "Mend it"}], dtype=object)}]
    assert list(map(json.loads, json_lines("prompts", rows).splitlines())) == [
        {"prompt": "Wash a hat", "id": 7, "score": 0.5},
        {"messages": [{"role": "user", "content": "Mend it"}]},
    ]


FILES = [
    "a.csv", "data/a.JSONL", "prompts/*.txt", "notes.md", "a.parquet", "a.xlsx", "a.csv,b.csv",
    "alarms:runs/guard", Path("a.csv"), Path("anything"),
]  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_file_in_a_list_of_requests_is_refused_with_the_way_to_give_files(name):
    for setting, way in (
        ("prompts", "files as one string, separated by commas"),
        ("behaviours", "one file, as a string"),
    ):
        with pytest.raises(ConfigError) as error:
            json_lines(setting, iter(["Mend a hat", name]))
        assert str(error.value) == (
            f"{setting}[1] is '{name}', the name of a file: give {way}, or such a request as "
            f"{{'prompt': '{name}'}}"
        )


def test_a_file_that_is_there_is_no_request_whatever_it_is_called(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("my requests").write_text("Mend a hat\n")
    with pytest.raises(ConfigError, match=r"pool\[0\] is 'my requests', the name of a file: give "):
        json_lines("pool", ["my requests"])
    Path("folder").mkdir()
    assert json_lines("pool", ["folder"])


@pytest.mark.parametrize(
    "request_",
    ["Hello!", "Sum up notes.txt", "a\0b", "x" * 5000, "e.g.", "", {"prompt": "a.csv"},
     Prompt.user("1", "a.csv"), "What is a .csv"],
)  # fmt: skip
def test_other_texts_are_requests(request_):
    assert json_lines("prompts", [request_]).count("\n") == 1


@pytest.mark.parametrize("name", ["new_tokens", "max_new_tokens"])
@pytest.mark.parametrize(("given", "used"), [(32, 32), (None, 24)])
def test_a_guard_is_evaluated_at_its_own_length_unless_another_is_given_by_either_name(
    tmp_path, monkeypatch, name, given, used
):
    seen = []
    monkeypatch.setattr(verbs, "evaluate", lambda config, *_: seen.append(config) or {})
    guard = CalibratedGuard(Home(tmp_path / "g"), {}, 24)
    sirl.guard.evaluate("embedded", guard, **{name: given})
    sirl.guard.evaluate("embedded", guard)
    assert [config.new_tokens for config in seen] == [used, 24]
    assert {config.guard for config in seen} == {str(tmp_path / "g")}
    with pytest.raises(ConfigError, match="new_tokens is given twice, under two names"):
        sirl.guard.evaluate("embedded", guard, new_tokens=8, max_new_tokens=8)


def test_a_model_behind_an_address_answers_without_the_packages_of_local_ones(monkeypatch):
    monkeypatch.setattr(registry, "EXTRAS", {"train": ("package_that_is_missing",)})
    with served() as played:
        answers = sirl.load(f"{played.url}#m").ask("Hello!", "Mend a hat", new_tokens=8)
        assert [answer.text for answer in answers] == ["Hello!", "Mend a hat"]
    with pytest.raises(MissingExtraError, match=r"^Model.ask needs the extra 'train'"):
        Model("embedded").ask("Hello!")
