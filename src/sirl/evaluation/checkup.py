"""A small evaluation every so many steps of training: defence, its price, and skill on the way.

It asks about requests of training, so that what the table before and after asks stays unseen;
answers are counted and dropped. A later reader may choose a step by it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sirl.evaluation.arena import Arena
from sirl.evaluation.costs import Meter
from sirl.evaluation.records import Log
from sirl.evaluation.suite import Evaluation, Suite, askable
from sirl.evaluation.summary import summarise
from sirl.evaluation.target import Target
from sirl.roles import Benchmark
from sirl.runs import Run, rows_by_step
from sirl.stats import mean
from sirl.types import Prompt, Record

__all__ = ["CHECKUPS", "Checkup", "Fewer"]

CHECKUPS = "checkups.jsonl"
KEPT = ("over_refusal", "capability")
ENTROPIES = ("attack", "ordinary")


@dataclass(frozen=True)
class Fewer:
    """A few tasks of a benchmark, evenly spread; satisfies `sirl.roles.Benchmark`."""

    benchmark: Benchmark
    count: int

    @property
    def name(self) -> str:
        """That of the benchmark."""
        return self.benchmark.name

    def prompts(self) -> list[Prompt]:
        """The tasks."""
        tasks = self.benchmark.prompts()
        count = min(self.count, len(tasks))
        return [tasks[i * len(tasks) // count] for i in range(count)]

    def correct(self, prompt: Prompt, answer: str) -> bool:
        """Whether the answer solves the task."""
        return self.benchmark.correct(prompt, answer)


@dataclass(frozen=True)
class Checkup:
    """Told of every step; looks at the model when it is time."""

    suite: Suite
    target: Callable[[int], Target]
    """The model as it is after a step."""
    run: Run
    every: int
    """Steps between looks; 0 never looks."""

    def resume(self, taken: int) -> None:
        """Forget what was seen after a step; look at the start where nothing was seen yet."""
        seen = rows_by_step(self.run, CHECKUPS)
        kept = [row for step, row in seen.items() if step <= taken]
        self.run.keep(CHECKUPS, kept)
        if self.every and not kept and not taken:
            self.look(0)

    def __call__(self, taken: int) -> None:
        """Look, if it is time."""
        if self.every and taken % self.every == 0:
            self.look(taken)

    def look(self, taken: int) -> None:
        """Ask the mini-suite and write one line."""
        target = self.target(taken)
        asked, _ = askable(self.suite, target)
        judges = (self.suite.judges[0], self.suite.refusals)
        arena = Arena(target, *judges, Log(), self.suite.openers, None, Meter())
        records = arena.answers(asked)
        summary = summarise(Evaluation(records, (), {}))
        row: dict[str, Any] = {"step": taken, "dsr": summary["dsr"]["mean"]}
        row |= {part: summary[part] for part in KEPT if part in summary}
        self.run.append(CHECKUPS, row | {"entropy": {k: entropy(records, k) for k in ENTROPIES}})


def entropy(records: Sequence[Record], kind: str) -> float:
    """Mean entropy (nats) of the answers to prompts of a kind; NaN where none tells."""
    return mean([r.mean_entropy for r in records if r.kind == kind and r.entropies])
