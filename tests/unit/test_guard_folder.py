"""The folder that --guard names: what is advised never overwrites what lies there."""

import re

import pytest

from sirl.errors import InputError
from sirl.workflows.guard.evaluate import read_guard
from sirl.workflows.guard.folder import guard_document
from sirl.workflows.guard.upstream import read_endpoint_guard

URL = "https://h.test/v1#m"
ADVISED = [
    (read_guard, "embedded", "run sirl guard calibrate --model embedded --out"),
    (read_guard, "own model", "run sirl guard calibrate --model 'own model' --prompts FILE --out"),
    (read_endpoint_guard, URL, f"run sirl guard calibrate --model '{URL}' --prompts FILE --out"),
]


@pytest.mark.parametrize(("read", "model", "command"), ADVISED)
def test_a_folder_that_is_free_is_advised_itself(tmp_path, read, model, command):
    (tmp_path / "empty").mkdir()
    for name in ("empty", "none"):
        said = f"--guard {tmp_path / name} has no guard.json: {command} {tmp_path / name}"
        with pytest.raises(InputError, match=f"^{re.escape(said)}$"):
            read(str(tmp_path / name), model)


@pytest.mark.parametrize(("read", "model", "command"), ADVISED)
def test_a_training_run_is_no_guard_and_another_folder_is_advised(tmp_path, read, model, command):
    run = tmp_path / "mine"
    (run / "checkpoints").mkdir(parents=True)
    with pytest.raises(
        InputError, match=f"{re.escape(command)} {run}-guard, and give that folder$"
    ):
        read(str(run), model)
    (tmp_path / "mine-guard").mkdir()
    with pytest.raises(
        InputError, match=f"{re.escape(command)} {run}-guard2, and give that folder$"
    ):
        read(f"{run}/", model)


@pytest.mark.parametrize("read", [read_guard, read_endpoint_guard])
def test_a_file_is_no_folder(tmp_path, read):
    (tmp_path / "guard.json").write_text("{}")
    with pytest.raises(InputError, match=f"guard.json is a file: give its folder, {tmp_path}$"):
        read(str(tmp_path / "guard.json"), URL)


def test_the_present_folder_has_a_name_too(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "notes.txt").write_text("")
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(InputError, match=f"--out {tmp_path / 'here'}-guard, and give"):
        guard_document(".", URL)
