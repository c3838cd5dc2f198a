"""Each script of benchmarks/ runs to its end on a tiny input, in this process."""

import importlib
import json
import runpy
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SMALL = {
    "attack_throughput": ["--items", "2", "--new-tokens", "4", "--rounds", "1"],
    "startup": ["--rounds", "2"],
    "phases": ["--cases", "embedded", "--rounds", "1", "--steps", "1", "--warmup", "0",
               "--batch", "2", "--new-tokens", "4"],
    "step_time": ["--cases", "embedded", "--rounds", "1", "--steps", "1", "--warmup", "0",
                  "--batch", "2", "--new-tokens", "4"],
    "gpu_step": ["--dry-run", "--rounds", "1", "--steps", "1"],
    "growth": ["--sizes", "1", "--families", "llama", "--groups", "2", "--lengths", "4",
               "--rounds", "1", "--steps", "1"],
    "head_memory": ["--scale", "0.01", "--width", "64", "--rounds", "1"],
    "plan_against_peak": ["2M"],
}  # fmt: skip
STEP = {"batch": 1, "group": 2, "new_tokens": 4}
"""A step of `growth`, whose flags do not set all of it."""
NEEDS = {
    "gcg_against_nanogcg": "needs an environment with nanogcg",
    "parity_trl": "needs an environment with TRL; tests/parity/test_trl.py runs it there",
    "trl_side": "runs in an environment with TRL",
}
SHARED = {"sirl_side", "turns", "work"}
"""What the others import."""


def in_this_process(folder):
    """Answers a job as a fresh process would."""

    def answer(_python, script, job, _threads=0):
        asked, told = folder / "job.json", folder / "answer.json"
        asked.write_text(json.dumps(job))
        before, sys.argv = sys.argv, [script, str(asked), str(told)]
        try:
            runpy.run_path(str(BENCHMARKS / script), run_name="__main__")
        finally:
            sys.argv = before
        return json.loads(told.read_text())

    return answer


@pytest.fixture
def script(monkeypatch, tmp_path):
    """Imports a script by name and gives back what runs it; torch stays as it was."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    threads, known = torch.get_num_threads(), set(sys.modules)

    def run(name, words):
        module = importlib.import_module(name)
        if hasattr(module, "answer"):
            monkeypatch.setattr(module, "answer", in_this_process(tmp_path))
        if name == "growth":
            monkeypatch.setattr(module, "BASE", STEP)
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *words])
        module.main()

    yield run
    torch.set_num_threads(threads)
    for name in set(sys.modules) - known:
        if (
            getattr(sys.modules[name], "__file__", None)
            and BENCHMARKS in Path(sys.modules[name].__file__).parents
        ):
            del sys.modules[name]


def test_every_script_is_run_here_or_says_why_not():
    there = {path.stem for path in BENCHMARKS.glob("*.py")}
    assert there == set(SMALL) | {"interval_coverage"} | set(NEEDS) | SHARED


LONG = {"head_memory", "plan_against_peak"}
"""Two hundred optimizer steps, and a peak that small steps do not move."""


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if n in LONG else n for n in sorted(SMALL)],
)
def test_a_script_runs_to_its_end(script, tmp_path, name):
    out = tmp_path / "out.json"
    script(name, [*SMALL[name], "--out", str(out)])
    assert json.loads(out.read_text())


def test_coverage_is_printed_for_every_case(script, capsys):
    script("interval_coverage", ["--repeats", "1"])
    head, *rows, last = capsys.readouterr().out.splitlines()
    assert head.split() == ["correlation", "behaviours", "attacks", "truth", "coverage", "width"]
    assert len(rows) == 3 * 4 * 3 * 6
    assert {float(row.split()[4]) for row in rows} <= {0.0, 1.0}
    assert last.startswith("several attacks: lowest ")


@pytest.mark.parametrize("name", sorted(NEEDS))
def test_a_script_of_another_environment_is_valid(name):
    compile((BENCHMARKS / f"{name}.py").read_text(), name, "exec")
