"""Many processes train as one would, and whatever ends one of them loses nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from sirl.training.checkpoints import fault
from tests.command import all_said, ended, ranks, sirl

SETTINGS = "train --method entropy --model embedded --checkpoint-every 2 --batch 5"
SETTINGS += " --group 3 --seed 5"
SETTINGS += " --set new_tokens=16 --set held_out=0 --set eval_every=0"
QUIET = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
DYING = """
import os, sys
import sirl.training.update as update
from sirl.cli.main import main
learned, seen = update.PolicyLearner.backward, 0
def dying(self, *rest):
    global seen
    seen += 1
    first = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"
    if first and self.ranks.rank == 1 and seen == 4:
        os.kill(os.getpid(), 9)
    return learned(self, *rest)
update.PolicyLearner.backward = dying
main()
"""
"""One process of two is killed between the forward passes of its fourth step."""


def torchrun(processes, *words, restarts=0, program=("-m", "sirl")):
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    command = [*launch, str(processes), "--max-restarts", str(restarts), *program, *words]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=QUIET, timeout=300
    )


def words(out, *more, steps=4):
    return [*SETTINGS.split(), "--steps", str(steps), "--out", str(out), *more]


@pytest.fixture(scope="module")
def one(tmp_path_factory) -> Path:
    """The run of one process."""
    out = tmp_path_factory.mktemp("runs") / "one"
    done = sirl(*words(out))
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def sharded(tmp_path_factory) -> Path:
    """The run of two processes, each with half of the weights."""
    folder = tmp_path_factory.mktemp("runs")
    out, said = folder / "sharded", folder / "said"
    processes = ranks(2, said, *words(out, "--set", "shard=true"))
    assert [ended(p) for p in processes] == [0, 0], all_said(said)
    return out


def metrics(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def weights(run: Path, step: int = 4) -> dict[str, torch.Tensor]:
    return load_file(run / "checkpoints" / f"step-{step:06d}" / "model.safetensors")


def alike(a: Path, b: Path) -> None:
    """The same samples, so the same metrics, and the same weights to 1e-5."""
    rows = zip(metrics(a), metrics(b), strict=True)
    for old, new in rows:
        for key in (k for k in old if not k.startswith("seconds/")):
            assert new[key] == pytest.approx(old[key], abs=1e-5, rel=1e-4), (old["step"], key)
    here, there = weights(a), weights(b)
    assert max((here[k] - there[k]).abs().max().item() for k in here) < 1e-5


def test_two_processes_are_one(one, tmp_path):
    processes = ranks(2, tmp_path / "said", *words(tmp_path / "r"))
    assert [ended(p) for p in processes] == [0, 0], all_said(tmp_path / "said")
    assert all_said(tmp_path / "said").count("hardened model:") == 1
    alike(one, tmp_path / "r")


@pytest.mark.slow
def test_torchrun_starts_processes_that_are_one(one, tmp_path):
    done = torchrun(2, *words(tmp_path / "r"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("hardened model:") == 1
    alike(one, tmp_path / "r")


def test_weights_in_shards_are_those_of_one_process(one, sharded):
    alike(one, sharded)
    moments = sharded / "checkpoints" / "step-000004" / "trainer" / "optimizer"
    assert len(list(moments.glob("*.safetensors"))) == 2


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "shard"), [(1, "false"), (3, "true"), (2, "false")])
def test_shards_of_two_processes_are_gone_on_with_by_others(
    one, sharded, tmp_path, processes, shard
):
    import shutil

    shutil.copytree(sharded, tmp_path / "r")
    shutil.rmtree(tmp_path / "r" / "checkpoints" / "step-000004")
    done = torchrun(processes, *words(tmp_path / "r", "--resume", "--set", f"shard={shard}"))
    assert done.returncode == 0, done.stderr
    alike(one, tmp_path / "r")


@pytest.mark.slow
def test_a_run_of_one_process_is_gone_on_with_in_shards(one, tmp_path):
    import shutil

    shutil.copytree(one, tmp_path / "r")
    shutil.rmtree(tmp_path / "r" / "checkpoints" / "step-000004")
    done = torchrun(2, *words(tmp_path / "r", "--resume", "--set", "shard=true"))
    assert done.returncode == 0, done.stderr
    alike(one, tmp_path / "r")


def test_a_process_killed_mid_step_ends_the_job_and_one_goes_on_from_its_shards(one, tmp_path):
    (tmp_path / "dying.py").write_text(DYING)
    sharded = words(tmp_path / "r", "--set", "shard=true")
    processes = ranks(2, tmp_path / "said", *sharded, program=tmp_path / "dying.py")
    assert [ended(p) for p in processes] == [1, -signal.SIGKILL]
    said = (tmp_path / "said" / "0").read_text()
    assert "another process of this run has ended or cannot be reached" in said
    (kept,) = (tmp_path / "r" / "checkpoints").glob("step-*")
    assert kept.name == "step-000002"
    assert not fault(kept)
    resumed = sirl(*words(tmp_path / "r", "--resume"))
    assert resumed.returncode == 0, resumed.stderr
    alike(one, tmp_path / "r")


@pytest.mark.slow
def test_an_elastic_restart_goes_on_by_itself(one, tmp_path):
    (tmp_path / "dying.py").write_text(DYING)
    done = torchrun(2, *words(tmp_path / "r"), restarts=1, program=[str(tmp_path / "dying.py")])
    assert done.returncode == 0, done.stderr
    alike(one, tmp_path / "r")
    about = json.loads((tmp_path / "r" / "run.json").read_text())
    assert len(about["starts"]) == 2


def test_wrong_input_is_said_once_and_ends_all(tmp_path):
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "thesis.txt").write_text("mine")
    processes = ranks(2, tmp_path / "said", *words(tmp_path / "r", "--overwrite"))
    assert [ended(p) for p in processes] == [2, 2]
    assert all_said(tmp_path / "said").count("is not a run folder: give another --out") == 1
    assert (tmp_path / "r" / "thesis.txt").read_text() == "mine"
    lonely = sirl(*words(tmp_path / "s", "--set", "shard=true"))
    assert lonely.returncode == 2
    assert "shard needs several processes: start them with torchrun" in lonely.stderr
    given = ["train", "--model", "embedded", "--shard", "--depth", "--suffixes"]
    searching = sirl(*given, "--out", tmp_path / "s")
    assert searching.returncode == 2
    assert "--suffixes cannot be used with --shard" in searching.stderr


def step_taken(out, process_ends):
    """Wait until a run has taken a step."""
    log = out / "metrics.jsonl"
    while not (log.exists() and log.read_text()) and not process_ends():
        time.sleep(0.01)


def stopped_and_saved(out, said):
    about = json.loads((out / "run.json").read_text())
    assert about["exit"]["how"] == "stopped", said
    assert "saved; continue with --resume" in said
    rows = [row["step"] for row in metrics(out)]
    newest = max((out / "checkpoints").glob("step-*"))
    assert newest.name == f"step-{rows[-1]:06d}"


def test_sigterm_finishes_the_step_saves_and_exits_well(tmp_path):
    (process,) = ranks(1, tmp_path / "said", *words(tmp_path / "r", steps=200))
    step_taken(tmp_path / "r", lambda: not process.is_alive())
    process.terminate()
    assert ended(process) == 0
    stopped_and_saved(tmp_path / "r", all_said(tmp_path / "said"))


def test_sigterm_to_torchrun_finishes_the_step_of_all_processes_and_saves(tmp_path):
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    launch += ["--nproc-per-node", "2", "-m", "sirl", *words(tmp_path / "r", steps=200)]
    with subprocess.Popen(launch, stderr=subprocess.PIPE, text=True, env=QUIET) as process:
        step_taken(tmp_path / "r", lambda: process.poll() is not None)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=120)
    assert process.returncode
    stopped_and_saved(tmp_path / "r", said)
