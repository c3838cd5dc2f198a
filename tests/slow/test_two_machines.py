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

SETTINGS = (
    "train --method entropy --model embedded --checkpoint-every 2 --batch 5 --group 3 --seed 5"
)
SETTINGS += " --set new_tokens=16 --set held_out=0 --set eval_every=0 --set timeout=15"
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
    """One machine's launcher; what it says goes to a file named after the machine."""
    name, end, address = machine
    launch = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2"]
    launch += ["--nproc-per-node", "1", "--rdzv-backend", "c10d", "--rdzv-id", "sirl"]
    launch += ["--rdzv-endpoint", f"{ADDRESSES[0]}:29400", "--local-addr", address]
    # Namespaces share a host name, so that neither knows the address for its own.
    launch += ["--rdzv-conf", f"is_host={int(address == ADDRESSES[0])}"]
    words = ["-m", "sirl", *SETTINGS.split(), "--steps", str(steps), "--out", str(out), *more]
    with (out.parent / f"{name}.log").open("w") as said:
        return subprocess.Popen(
            ["ip", "netns", "exec", name, *launch, *words],
            stdout=said,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": end},
        )


def until(true, seconds=150):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)


def weights(run: Path, step: int) -> dict[str, torch.Tensor]:
    return load_file(run / "checkpoints" / f"step-{step:06d}" / "model.safetensors")


def test_two_machines_train_as_one_and_a_cut_wire_loses_nothing(machines, tmp_path):
    steps = 60
    alone = [sys.executable, "-m", "sirl", *SETTINGS.split(), "--steps", str(steps)]
    subprocess.run([*alone, "--out", str(tmp_path / "one")], check=True, capture_output=True)
    cut = tmp_path / "cut"
    processes = [started(machine, steps, cut) for machine in machines]
    said = [tmp_path / f"{machine[0]}.log" for machine in machines]
    log = cut / "metrics.jsonl"
    until(lambda: log.exists() and len(log.read_text().splitlines()) > 5)
    ip("-n", machines[1][0], "link", "set", machines[1][1], "down")
    # The worker of the machine that is cut off ends by itself; its launcher waits for a line that
    # is dead, as long as the system lets it, and is ended as whoever looks after it would.
    for text in said:
        until(lambda text=text: "another process of this run has ended" in text.read_text())
    assert processes[0].wait(timeout=120) != 0
    processes[1].kill()
    processes[1].wait()
    kept = sorted(p.name for p in (cut / "checkpoints").glob("step-*"))
    assert kept
    assert kept[-1] < f"step-{steps:06d}"
    ip("-n", machines[1][0], "link", "set", machines[1][1], "up")
    again = [started(machine, steps, cut, "--resume") for machine in machines]
    assert [process.wait(timeout=240) for process in again] == [0, 0], said[0].read_text()
    rows = [json.loads(line)["step"] for line in log.read_text().splitlines()]
    assert rows == list(range(1, steps + 1))
    one, two = weights(tmp_path / "one", steps), weights(cut, steps)
    assert max((one[k] - two[k]).abs().max().item() for k in one) < 1e-4
