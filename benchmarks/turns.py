"""What the benchmarks share: runs in turn, each in a process of its own, medians, tables, JSON.

A job is a JSON document that a script reads and answers in a file of its own, so that whatever
a library prints does no harm. Arms take turns (A B A B), so that a machine that slows down
slows all of them. Needs no torch: a peer's environment may import it.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
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
    """The flags that every benchmark has."""
    made = argparse.ArgumentParser(description=(doc or "").split("\n")[0])
    made.add_argument("--rounds", type=int, default=rounds, help="turns of every arm")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--threads", type=int, default=0, help="threads of torch; 0 for its own")
    made.add_argument("--out", type=Path, default=Path(f"runs/bench/{name}.json"))
    return made


def answer(python: str, script: str, job: Mapping[str, Any], threads: int = 0) -> Found:
    """What a script of this folder says to a job, in a fresh process of the given Python."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    if threads:
        environment["OMP_NUM_THREADS"] = str(threads)
    if python != sys.executable:
        environment.pop("PYTHONPATH", None)
    with tempfile.TemporaryDirectory() as folder:
        asked, told = Path(folder) / "job.json", Path(folder) / "answer.json"
        asked.write_text(json.dumps(job))
        command = [python, str(HERE / script), str(asked), str(told)]
        done = subprocess.run(command, capture_output=True, check=False, env=environment)
        if done.returncode or not told.exists():
            raise SystemExit(f"{script} failed:\n{done.stderr.decode(errors='replace')[-4000:]}")
        found: Found = json.loads(told.read_text())
    return found


def is_asked() -> bool:
    """Whether this process is to answer a job, not to drive."""
    return len(sys.argv) == 3 and sys.argv[1].endswith("job.json")


def serve(work: Callable[[Found], Found]) -> None:
    """Be such a script: read the job named on the command line, write the answer."""
    job = json.loads(Path(sys.argv[1]).read_text())
    Path(sys.argv[2]).write_text(json.dumps({**work(job), "surroundings": surroundings()}))


def in_turn(arms: Mapping[str, Callable[[int], Found]], rounds: int) -> dict[str, list[Found]]:
    """The runs of each arm, taken in turns; an arm is told which round it is."""
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
    """Everything as JSON, with how it came about."""
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
    """The median over runs; of all their values where each has a list of them."""
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
