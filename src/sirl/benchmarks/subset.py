"""A part of a benchmark, for mini-evaluations and `limit`."""

from dataclasses import dataclass

from sirl.roles import Benchmark
from sirl.types import Mark, Prompt

__all__ = ["Subset"]


@dataclass(frozen=True)
class Subset:
    """A few tasks of a benchmark, evenly spread; satisfies `sirl.roles.Benchmark`."""

    benchmark: Benchmark
    count: int

    @property
    def name(self) -> str:
        """The name of the benchmark."""
        return self.benchmark.name

    def prompts(self) -> list[Prompt]:
        """The tasks."""
        tasks = self.benchmark.prompts()
        count = min(self.count, len(tasks))
        return [tasks[i * len(tasks) // count] for i in range(count)]

    def correct(self, prompt: Prompt, answer: str) -> bool | Mark:
        """Whether the answer solves the task, perhaps with the reason."""
        return self.benchmark.correct(prompt, answer)
