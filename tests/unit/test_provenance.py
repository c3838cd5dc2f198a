"""What `run.json` says of the program that made the run."""

import subprocess
import sys

import pytest

from sirl.runs import open_run
from sirl.runs.provenance import FROM_PYTHON, Provenance, tree_state


@pytest.mark.parametrize(
    "fault", [FileNotFoundError("git"), subprocess.CalledProcessError(128, "git")]
)
def test_a_tree_that_git_cannot_read_is_unknown(monkeypatch, fault):
    def fails(*_, **__):
        raise fault

    monkeypatch.setattr(subprocess, "check_output", fails)
    monkeypatch.setattr("pathlib.Path.exists", lambda _: True)
    assert tree_state() == "unknown"


@pytest.mark.parametrize(
    ("from_python", "command"),
    [(True, ["sirl.guard.evaluate()"]), (False, ["sirl", "guard", "evaluate", "--limit", "3"])],
)
def test_a_function_that_was_called_stands_for_the_command(
    tmp_path, monkeypatch, from_python, command
):
    monkeypatch.setattr(sys, "argv", ["mine.py", "guard", "evaluate", "--limit", "3"])
    token = FROM_PYTHON.set(from_python)
    try:
        run = open_run(tmp_path / "r", {}, "ask")
        run.begin()
        about = Provenance(run, "guard evaluate", seed=0, template_date=None)
        assert about.document["command"] == command
        run.close()
    finally:
        FROM_PYTHON.reset(token)
