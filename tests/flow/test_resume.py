"""Killed at any instant and resumed, a run ends with the files of an unbroken one."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sirl.training.checkpoints import fault, newest
from tests.command import sirl

SETTINGS = [
    "train",
    "--model",
    "embedded",
    "--steps",
    "4",
    "--checkpoint-every",
    "2",
    "--batch",
    "2",
    "--group",
    "2",
    "--set",
    "new_tokens=12",
    "--set",
    "held_out=3",
    "--set",
    "attacks=direct,few_shot",
    "--seed",
    "5",
]
KILL = """
import os, sys
import sirl.runs.disk, sirl.training.checkpoints as checkpoints
kind, count = sys.argv[1], int(sys.argv[2])
sys.argv = ["sirl", *sys.argv[3:]]
seen = 0
def die():
    global seen
    seen += 1
    if seen == count:
        os.kill(os.getpid(), 9)
if kind == "fsync":
    fsync = os.fsync
    def dying(handle):
        die()
        fsync(handle)
    sirl.runs.disk.DISK.fsync = dying
elif kind == "rename":
    rename = os.rename
    from pathlib import Path
    replace, move = Path.replace, Path.rename
    def replacing(self, target):
        die()
        return replace(self, target)
    def renaming(self, target):
        die()
        return move(self, target)
    Path.replace, Path.rename = replacing, renaming
from sirl.cli.main import main
main()
"""


def run(out, *more):
    return sirl(*SETTINGS, "--out", out, *more)


def killed(out, kind, count):
    """How a process ends that dies at its so many-th write or renaming."""
    return subprocess.run(
        [sys.executable, "-c", KILL, kind, str(count), *SETTINGS, "--out", str(out)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "unbroken"
    done = run(out)
    assert done.returncode == 0, done.stderr
    return out


def same(a: Path, b: Path) -> None:
    """The two runs hold the same weights, moments, metrics and records, wall-clock aside."""
    for step in ("step-000002", "step-000004"):
        for name in ("model.safetensors", "trainer/optimizer.safetensors", "trainer/state.json"):
            assert (a / "checkpoints" / step / name).read_bytes() == (
                b / "checkpoints" / step / name
            ).read_bytes(), (step, name)
    assert (a / "records.jsonl").read_bytes() == (b / "records.jsonl").read_bytes()
    assert metrics(a) == metrics(b)
    assert figures(a) == figures(b)


def metrics(run_folder: Path) -> list[dict]:
    rows = [json.loads(line) for line in (run_folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if not k.startswith("seconds/")} for row in rows]


def figures(run_folder: Path) -> dict:
    return json.loads((run_folder / "summary.json").read_text())["models"]


@pytest.mark.parametrize(
    ("kind", "count"),
    [
        ("fsync", 3),
        pytest.param("fsync", 9, marks=pytest.mark.slow),
        pytest.param("rename", 5, marks=pytest.mark.slow),
        ("rename", 7),
        ("fsync", 30),
        pytest.param("fsync", 38, marks=pytest.mark.slow),
    ],
)
def test_killed_at_a_write_and_resumed(unbroken, tmp_path, kind, count):
    broken = killed(tmp_path / "r", kind, count)
    assert broken.returncode == -signal.SIGKILL, broken.stderr
    resumed = run(tmp_path / "r", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    same(unbroken, tmp_path / "r")


def test_a_damaged_newest_checkpoint_gives_way_to_the_one_before(unbroken, tmp_path):
    copy = tmp_path / "r"
    shutil.copytree(unbroken, copy)
    victim = copy / "checkpoints" / "step-000004" / "model.safetensors"
    victim.write_bytes(victim.read_bytes()[:-100])
    assert fault(victim.parent) == "model.safetensors is not what was written"
    found, passed_over = newest(copy / "checkpoints")
    assert (found.step, len(passed_over)) == (2, 1)
    resumed = run(copy, "--resume")
    assert resumed.returncode == 0
    assert "step-000004 is skipped: model.safetensors is not what was written" in resumed.stderr
    same(unbroken, copy)


FULL = """
set -e
mount -t tmpfs -o size={size}m none "$1/disk"
shift_to="$1"; shift
set +e
"$@" --out "$shift_to/disk/r" 2> "$shift_to/said"; echo $? > "$shift_to/status"
set -e
cp -r "$shift_to/disk/r" "$shift_to/r"
"""
"""A run fills a small disk; what it leaves there is taken to a larger one."""


@pytest.mark.parametrize("size", [12, 36])
def test_a_full_disk_ends_in_a_sentence_and_loses_nothing(unbroken, tmp_path, size):
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs user namespaces")
    (tmp_path / "disk").mkdir()
    command = [sys.executable, "-m", "sirl", *SETTINGS]
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", FULL.format(size=size), "sh", str(tmp_path), *command],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    said = (tmp_path / "said").read_text()
    assert (tmp_path / "status").read_text() == "2\n", said
    assert "no space left" in said
    assert "Traceback" not in said
    resumed = run(tmp_path / "r", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    same(unbroken, tmp_path / "r")


def test_torn_logs_are_mended(unbroken, tmp_path):
    copy = tmp_path / "r"
    shutil.copytree(unbroken, copy)
    for name in ("metrics.jsonl", "records.jsonl"):
        log = copy / name
        log.write_bytes(log.read_bytes()[:-7])
    shutil.rmtree(copy / "checkpoints" / "step-000004")
    assert run(copy, "--resume").returncode == 0
    same(unbroken, copy)


def test_checkpoints_load_with_plain_transformers(unbroken):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = unbroken / "checkpoints" / "step-000004"
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert sum(p.numel() for p in model.parameters()) > 1_500_000
    assert AutoTokenizer.from_pretrained(folder).chat_template
