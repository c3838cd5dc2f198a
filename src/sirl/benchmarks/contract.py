"""The contract of benchmarks, as a check that plug-ins can call in their tests.

    from sirl.benchmarks.contract import check_benchmark
    check_benchmark(MyBenchmark())

Benchmarks are registered through the entry point group `sirl.benchmarks`.
"""

from sirl.roles import Benchmark
from sirl.types import Mark

__all__ = ["check_benchmark"]

ANSWERS = ("", "42", "No, I cannot help with that.")
"""Answers that any benchmark must be able to mark."""


def check_benchmark(benchmark: Benchmark) -> None:
    """See that a benchmark keeps its contract.

    It has a name and tasks with distinct ids, gives the same tasks each time, and marks any
    answer, the same way each time.

    Raises:
        AssertionError: It does not; the sentence says what.
    """
    assert isinstance(benchmark, Benchmark), f"{benchmark!r} lacks methods of Benchmark"
    name = benchmark.name
    assert name.strip() == name != "", "its name is empty or has spaces around it"
    tasks = benchmark.prompts()
    assert tasks, f"{name} has no tasks"
    ids = [task.id for task in tasks]
    assert len(set(ids)) == len(ids), f"{name} has several tasks with one id"
    assert tasks == benchmark.prompts(), f"{name} gives other tasks the second time"
    for answer in ANSWERS:
        first, again = (benchmark.correct(tasks[0], answer) for _ in range(2))
        assert isinstance(first, bool | Mark), f"{name} marks {answer!r} with {first!r}"
        assert first == again, f"{name} marks {answer!r} differently the second time"
