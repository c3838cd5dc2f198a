"""Ray Train's workers train as one process would; a wrong word ends the job with its sentence."""

import os
import subprocess
import sys

import pytest

from tests.command import sirl
from tests.flow.test_distributed import QUIET, alike, words

LOCAL = {**QUIET, "RAY_ADDRESS": "local"}  # no cluster that somebody runs here
LAUNCH = [sys.executable, "-m", "sirl.integrations.ray_train"]


def ray(*words, workers=2, folder=None, environment=LOCAL):
    command = [*LAUNCH, "--workers", str(workers), "--", *words]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, timeout=300,
        cwd=folder,
    )  # fmt: skip


@pytest.mark.slow
def test_two_workers_of_ray_are_one_process(tmp_path):
    pytest.importorskip("ray")
    assert sirl(*words(tmp_path / "one")).returncode == 0
    # A path that is relative means what it means where the command is given.
    done = ray(*words("two"), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("hardened model: two/checkpoints/step-000004\n")
    assert "training, entropy" in done.stderr
    alike(tmp_path / "one", tmp_path / "two")


@pytest.mark.slow
def test_a_wrong_setting_ends_the_job_with_its_sentence_sirl(tmp_path):
    pytest.importorskip("ray")
    done = ray(*words(tmp_path / "r", "--set", "bogus=1"))
    assert done.returncode == 2
    (said,) = done.stderr.splitlines()
    assert "--set bogus=1: there is no setting 'bogus'" in said
    assert not (tmp_path / "r").exists()


def test_without_ray_the_launcher_says_how_to_add_it(tmp_path):
    (tmp_path / "ray.py").write_text("raise ImportError")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = ray("train", environment={**LOCAL, "PYTHONPATH": path})
    assert done.returncode == 2
    assert done.stderr == "sirl: ray_train needs Ray Train: pip install 'ray[train]>=2.60'\n"
