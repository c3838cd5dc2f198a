"""What a doctor says of an environment that is whole, bare, or broken."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from sirl.registry.environment import CORE, DISTRIBUTION, EXTRAS
from tests.command import sirl

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]


def doctor(without=(), cwd=None):
    script = (
        f"import sys; sys.modules.update(dict.fromkeys({list(without)!r}))\n"
        "sys.argv = ['sirl', 'doctor']\n"
        "from sirl.cli.main import main; main()"
    )
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=cwd
    )


def names(requirements):
    found = {re.match(r"[\w.-]+", text)[0].lower() for text in requirements}
    imports = {distribution: name for name, distribution in DISTRIBUTION.items()}
    return {imports.get(name, name) for name in found}


def test_the_lists_are_those_of_the_project():
    assert names(PROJECT["dependencies"]) == set(CORE)
    for extra, packages in EXTRAS.items():
        assert names(PROJECT["optional-dependencies"][extra]) == set(packages)


def test_a_whole_environment_can_train_and_says_so():
    done = sirl("doctor", "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["works"]["demo"]
    assert facts["works"]["train on CPU"]
    assert facts["works"]["train on GPU"] == bool(facts["torch"]["gpus"])
    assert facts["torch"]["distributed"]["gloo"] == facts["works"]["distributed"]
    assert facts["code_sandbox"].startswith(("namespaces", "bubblewrap", "limits"))
    last = sirl("doctor").stdout.splitlines()[-1]
    assert last.startswith("works here: demo, train on CPU")


def test_a_bare_install_says_what_it_lacks_and_how_to_add_it():
    bare = {name for packages in EXTRAS.values() for name in packages}
    done = doctor(without=sorted(bare))
    assert done.returncode == 0, done.stderr
    assert "torch: not installed" in done.stdout
    assert re.search(r"extra train: missing .*torch.*: pip install 'sirl\[train\]'", done.stdout)
    assert re.search(
        r"extra serve: missing fastapi, httpx, .*: pip install 'sirl\[serve\]'", done.stdout
    )
    assert done.stdout.splitlines()[-1].startswith("not: demo, train on CPU, train on GPU")


def test_a_broken_core_is_exit_status_1():
    done = doctor(without=["scipy"])
    assert done.returncode == 1
    last = done.stdout.splitlines()[-1]
    assert last == "the core is broken: scipy is missing: pip install --force-reinstall sirl"


def test_a_torch_that_does_not_load_is_told_with_its_reason(tmp_path):
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise OSError('libtorch.so: not found')\n")
    done = doctor(cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "torch: installed but fails to import: libtorch.so: not found (OSError)" in done.stdout
    assert "not: demo" in done.stdout


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    from sirl.cli.doctor import writable

    (tmp_path / "file").write_text("")
    assert writable(tmp_path / "not" / "yet")
    assert not writable(tmp_path / "file" / "below")


@pytest.mark.parametrize("words", [("--help",), ("doctor", "--help"), ("plan", "--help")])
def test_help_loads_no_torch(words):
    script = (
        f"import sys; sys.argv = ['sirl', *{list(words)!r}]\n"
        "from sirl.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "False"
