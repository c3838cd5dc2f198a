"""Killed at any instant and resumed, a run ends with the files of an unbroken one."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sirl.runs.disk import DISK
from sirl.training.checkpoints import fault, newest
from tests.command import ended, sirl, started

SETTINGS = [
    "train", "--method", "entropy",
    "--model", "embedded", "--steps", "4", "--checkpoint-every", "2", "--batch", "2",
    "--group", "2", "--set", "new_tokens=12", "--set", "held_out=3", "--limit", "3", "--set",
    "attacks=direct,few_shot", "--seed", "5",
]  # fmt: skip


NO_LOOKS = ("--eval-every", "0")


def run(out, *more, looks=NO_LOOKS):
    return sirl(*SETTINGS, *looks, "--out", out, *more)


def die_at(kind: str, count: int, words: list[str]) -> None:
    """Run a command in this process, which dies at its so many-th write or renaming."""
    seen = 0

    def dying(act):
        def counted(*given):
            nonlocal seen
            seen += 1
            if seen == count:
                os.kill(os.getpid(), signal.SIGKILL)
            return act(*given)

        return counted

    if kind == "fsync":
        DISK.fsync = dying(os.fsync)
    else:
        Path.replace, Path.rename = dying(Path.replace), dying(Path.rename)
    sirl(*words)


def killed(out, kind, count, *more, looks=NO_LOOKS):
    """The status of a process that dies at its so many-th write or renaming."""
    return ended(started(die_at, kind, count, [*SETTINGS, *looks, "--out", str(out), *more]))


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
    "deaths",
    [
        (("fsync", 3), ("rename", 7), ("fsync", 30)),
        pytest.param((("fsync", 9),), marks=pytest.mark.slow),
        pytest.param((("rename", 5),), marks=pytest.mark.slow),
        pytest.param((("fsync", 37),), marks=pytest.mark.slow),
    ],
)
def test_killed_at_a_write_and_resumed(unbroken, tmp_path, deaths):
    # Mini-evaluations change no sample, weight or figure; the slow cases have them.
    looks = ("--eval-every", "2") if len(deaths) == 1 else NO_LOOKS
    for n, (kind, count) in enumerate(deaths):
        status = killed(tmp_path / "r", kind, count, *["--resume"][:n], looks=looks)
        assert status == -signal.SIGKILL
    resumed = run(tmp_path / "r", "--resume", looks=looks)
    assert resumed.returncode == 0, resumed.stderr
    same(unbroken, tmp_path / "r")


def test_torn_logs_are_mended_and_a_damaged_newest_checkpoint_gives_way(unbroken, tmp_path):
    copy = tmp_path / "r"
    shutil.copytree(unbroken, copy)
    about = json.loads((copy / "run.json").read_text())
    settings = {"config.yaml": about["written"]["config.yaml"]}
    (copy / "run.json").write_text(json.dumps({**about, "exit": None, "written": settings}))
    for name in ("metrics.jsonl", "records.jsonl"):
        log = copy / name
        log.write_bytes(log.read_bytes()[:-7])
    victim = copy / "checkpoints" / "step-000004" / "model.safetensors"
    victim.write_bytes(victim.read_bytes()[:-100])
    assert fault(victim.parent) == "model.safetensors is not what was written"
    found, passed_over = newest(copy / "checkpoints")
    assert (found.step, len(passed_over)) == (2, 1)
    resumed = run(copy, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert "step-000004 is skipped: model.safetensors is not what was written" in resumed.stderr
    same(unbroken, copy)


FULL = """
set -e
mount -t tmpfs -o size={size}m none "$1/disk"
if [ -e "$1/r" ]; then mv "$1/r" "$1/disk/r"; fi
shift_to="$1"; shift
set +e
"$@" --out "$shift_to/disk/r" 2> "$shift_to/said"; echo $? > "$shift_to/status"
set -e
cp -r "$shift_to/disk/r" "$shift_to/r"
"""
"""A run fills a small disk; what it leaves there is taken to a larger one."""


def test_a_full_disk_ends_in_a_sentence_and_loses_nothing(unbroken, tmp_path):
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs user namespaces")
    (tmp_path / "disk").mkdir()
    command = [sys.executable, "-m", "sirl", *SETTINGS, *NO_LOOKS]
    for size, more in ((12, ()), (36, ("--resume",))):
        script = FULL.format(size=size)
        done = subprocess.run(
            ["unshare", "-rm", "sh", "-c", script, "sh", str(tmp_path), *command, *more],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        said = (tmp_path / "said").read_text()
        assert (tmp_path / "status").read_text() == "2\n", said
        assert "no space left" in said
        assert "Traceback" not in said
    resumed = run(tmp_path / "r", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    same(unbroken, tmp_path / "r")


def test_checkpoints_load_with_plain_transformers(unbroken):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = unbroken / "checkpoints" / "step-000004"
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert sum(p.numel() for p in model.parameters()) > 1_500_000
    assert AutoTokenizer.from_pretrained(folder).chat_template
