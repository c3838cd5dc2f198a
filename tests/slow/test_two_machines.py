"""Two machines, played by two network namespaces with addresses of their own.

They share a folder, as machines of a cluster do, and nothing else but the wire between them.
"""

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

pytestmark = pytest.mark.slow

SETTINGS = "train --model embedded --checkpoint-every 2 --batch 5 --group 3 --seed 5"
SETTINGS += " --set new_tokens=16 --set held_out=0 --set checkup_every=0 --set timeout=15"
ADDRESSES = ("10.77.0.1", "10.77.0.2")


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def machines():
    """Names of two namespaces, a wire between them."""
    names = [f"sirl{os.getpid()}{side}" for side in "ab"]
    ends = [f"w{os.getpid()}{side}" for side in "ab"]
    try:
        ip("netns", "add", names[0])
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"network namespaces cannot be made here: {error}")
    ip("netns", "add", names[1])
    ip("link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
    for name, end, address in zip(names, ends, ADDRESSES, strict=True):
        ip("link", "set", end, "netns", name)
        ip("-n", name, "addr", "add", f"{address}/24", "dev", end)
        ip("-n", name, "link", "set", end, "up")
        ip("-n", name, "link", "set", "lo", "up")
    yield list(zip(names, ends, ADDRESSES, strict=True))
    for name in names:
        pids = subprocess.run(
            ["ip", "netns", "pids", name], capture_output=True, text=True, check=False
        )
        for pid in pids.stdout.split():
            os.kill(int(pid), signal.SIGKILL)
        ip("netns", "delete", name)


def started(machine, steps, out, *more):
    name, end, address = machine
    launch = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2"]
    launch += ["--nproc-per-node", "1", "--rdzv-backend", "c10d", "--rdzv-id", "sirl"]
    launch += ["--rdzv-endpoint", f"{ADDRESSES[0]}:29400", "--local-addr", address]
    # Namespaces share a host name, so that neither knows the address for its own.
    launch += ["--rdzv-conf", f"is_host={int(address == ADDRESSES[0])}"]
    words = ["-m", "sirl", *SETTINGS.split(), "--steps", str(steps), "--out", str(out), *more]
    return subprocess.Popen(
        ["ip", "netns", "exec", name, *launch, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": end},
    )


def ended(processes, seconds=240):
    said = [process.communicate(timeout=seconds)[0] for process in processes]
    return [process.returncode for process in processes], said


def weights(run: Path, step: int) -> dict[str, torch.Tensor]:
    return load_file(run / "checkpoints" / f"step-{step:06d}" / "model.safetensors")


def test_two_machines_train_as_one_and_a_cut_wire_loses_nothing(machines, tmp_path):
    steps = 60
    alone = [sys.executable, "-m", "sirl", *SETTINGS.split(), "--steps", str(steps)]
    subprocess.run([*alone, "--out", str(tmp_path / "one")], check=True, capture_output=True)
    cut = tmp_path / "cut"
    processes = [started(machine, steps, cut) for machine in machines]
    log = cut / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (log.exists() and len(log.read_text().splitlines()) > 5):
        assert time.monotonic() < deadline
        assert all(p.poll() is None for p in processes), ended(processes)
        time.sleep(0.05)
    ip("-n", machines[1][0], "link", "set", machines[1][1], "down")
    codes, said = ended(processes)
    assert all(code != 0 for code in codes), said
    assert any("another process of this run has ended" in text for text in said), said
    kept = sorted(p.name for p in (cut / "checkpoints").glob("step-*"))
    assert kept
    assert kept[-1] < f"step-{steps:06d}"
    ip("-n", machines[1][0], "link", "set", machines[1][1], "up")
    codes, said = ended([started(machine, steps, cut, "--resume") for machine in machines])
    assert codes == [0, 0], said
    rows = [json.loads(line)["step"] for line in log.read_text().splitlines()]
    assert rows == list(range(steps))
    one, two = weights(tmp_path / "one", steps), weights(cut, steps)
    assert max((one[k] - two[k]).abs().max().item() for k in one) < 1e-4
