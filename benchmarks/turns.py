"""Shared code of the benchmarks: alternating runs in separate processes, medians, tables, JSON.

A script reads a job as a JSON file and writes its answer to another file, so that output of
libraries does not interfere. The sides alternate (A B A B), so that a slowdown of the machine
affects all of them. Needs no torch, so that a peer's environment can import it.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PACKAGES = ("torch", "transformers", "peft", "numpy", "trl", "accelerate")
Found = dict[str, Any]


def parser(doc: str | None, name: str, *, rounds: int = 2) -> argparse.ArgumentParser:
    """A parser with the common flags."""
    made = argparse.ArgumentParser(description=(doc or "").split("\n")[0])
    made.add_argument("--rounds", type=int, default=rounds, help="runs of every side")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--threads", type=int, default=0, help="threads of torch; 0 for its default")
    made.add_argument("--out", type=Path, default=Path(f"runs/bench/{name}.json"))
    return made


def peak_resident() -> int:
    """Peak resident size of this process so far, in bytes (Linux).

    That of `getrusage` begins at the size of the process that started this one.
    """
    status = Path("/proc/self/status").read_text("utf-8")
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    if found is None:
        raise RuntimeError("/proc/self/status has no VmHWM")
    return int(found[1]) * 1024


def answer(python: str, script: str, job: Mapping[str, Any], threads: int = 0) -> Found:
    """The answer of a script in this folder to a job, in a new process of the given Python."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    if threads:
        environment["OMP_NUM_THREADS"] = str(threads)
    if python != sys.executable:
        environment.pop("PYTHONPATH", None)
    with tempfile.TemporaryDirectory() as folder:
        question, reply = Path(folder) / "job.json", Path(folder) / "answer.json"
        question.write_text(json.dumps(job))
        command = [python, str(HERE / script), str(question), str(reply)]
        done = subprocess.run(command, capture_output=True, check=False, env=environment)
        if done.returncode or not reply.exists():
            raise SystemExit(f"{script} failed:\n{done.stderr.decode(errors='replace')[-4000:]}")
        found: Found = json.loads(reply.read_text())
    return found


def is_asked() -> bool:
    """Whether this process was started to answer a job."""
    return len(sys.argv) == 3 and sys.argv[1].endswith("job.json")


def serve(work: Callable[[Found], Found]) -> None:
    """Read the job named on the command line, run it, write the answer."""
    job = json.loads(Path(sys.argv[1]).read_text())
    Path(sys.argv[2]).write_text(json.dumps({**work(job), "surroundings": surroundings()}))


def in_turn(arms: Mapping[str, Callable[[int], Found]], rounds: int) -> dict[str, list[Found]]:
    """Alternate between the sides; each is called with the number of the round."""
    runs: dict[str, list[Found]] = {name: [] for name in arms}
    for turn in range(rounds):
        for name, arm in arms.items():
            sys.stderr.write(f"round {turn + 1} of {rounds}: {name}\n")
            runs[name].append(arm(turn))
    return runs


def surroundings() -> Found:
    """Versions, machine and threads of this process."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    found: Found = {
        "python": platform.python_version(),
        "versions": versions,
        "machine": machine(),
        "load": os.getloadavg(),
    }
    if torch := sys.modules.get("torch"):
        found["threads"] = torch.get_num_threads()
        if torch.cuda.is_available():
            found["accelerator"] = torch.cuda.get_device_name()
    return found


def machine() -> str:
    """The machine in words."""
    model = platform.processor() or platform.machine()
    memory = ""
    cpus, meminfo = Path("/proc/cpuinfo"), Path("/proc/meminfo")
    if cpus.exists():
        named = [x for x in cpus.read_text().splitlines() if x.startswith("model name")]
        model = named[0].split(":", 1)[1].strip() if named else model
    if meminfo.exists():
        memory = f", {int(meminfo.read_text().split()[1]) / 2**20:.0f} GiB"
    return f"{os.cpu_count()} cores, {model}{memory}, {platform.system()}"


def write(asked: argparse.Namespace, found: Mapping[str, Any]) -> None:
    """Write the results as JSON, with command, settings and environment."""
    document = {
        "command": " ".join(["python", *sys.argv]),
        "date": datetime.date.today().isoformat(),
        "settings": {key: str(value) for key, value in vars(asked).items()},
        "surroundings": surroundings(),
        **found,
    }
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(document, indent=1) + "\n")
    print(f"\n{machine()}; all runs are in {asked.out}")


def median(runs: Iterable[Found], key: str) -> float:
    """The median over runs; over all values if runs have lists."""
    values: list[float] = []
    for run in runs:
        values += run[key] if isinstance(run[key], list) else [run[key]]
    return statistics.median(values)


def table(head: Sequence[str], rows: Iterable[Sequence[str | float]]) -> str:
    """A Markdown table; numbers get four significant digits."""
    lines = [list(head), ["---"] * len(head)]
    lines += [[x if isinstance(x, str) else f"{x:.4g}" for x in row] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def titled(title: str, shown: str) -> None:
    """Print a table under its title."""
    print(f"\n{title}\n\n{shown}")
