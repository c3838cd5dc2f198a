"""A plan's peak is that of the training it plans."""

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "plan_against_peak.py"
WITHIN = 0.20


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("plan_against_peak", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize("name", ["2M", "2M-lora", "12M", "12M-lora", "32M", "32M-small-budget"])
def test_the_peak_is_foreseen_within_a_fifth(benchmark, name):
    assert benchmark.compare(benchmark.CASES[name])["ratio"] == pytest.approx(1, abs=WITHIN)
