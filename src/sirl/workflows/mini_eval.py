"""Mini-evaluations during training: defence, over-refusal and capability.

Their requests are not trained on; answers are counted, not stored. Each mini-evaluation saves a
checkpoint, so that its results can be used to choose a step.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sirl.analysis.summary import summarise
from sirl.evaluation.arena import Arena
from sirl.evaluation.costs import Meter
from sirl.evaluation.records import Log
from sirl.evaluation.suite import ModelResults, Suite, askable
from sirl.evaluation.target import Target
from sirl.roles import Control, Observer
from sirl.runs import Run, RunReader, rows_by_step
from sirl.runs.disk import checkpoint_name
from sirl.stats import mean
from sirl.text import many
from sirl.types import Record

__all__ = ["MINI_EVALS", "MiniEvaluations", "steps_to_choose_from"]

MINI_EVALS = "mini_evals.jsonl"
KEPT = ("judge", "question", "over_refusal", "capability", "doubts")
ENTROPIES = ("attack", "ordinary")


@dataclass(frozen=True)
class MiniEvaluations(Observer):
    """Runs a mini-evaluation every so many steps."""

    suite: Suite
    target: Callable[[int], Target]
    """The target with the weights after a step."""
    run: Run
    every: int
    """Steps between mini-evaluations; 0 for none."""
    last: int
    """The last step; it always has a mini-evaluation."""
    warn: Callable[[Sequence[str]], None]

    def on_start(self, taken: int, state: Mapping[str, Any]) -> None:
        """Drop results of later steps; evaluate at step 0 if there is no result yet.

        Also drops results for other requests, which cannot be compared with these, and warns.
        """
        del state
        seen = rows_by_step(self.run, MINI_EVALS)
        before = [row for step, row in seen.items() if step <= taken]
        kept = [row for row in before if row.get("asked") == self.asked]
        self.run.keep(MINI_EVALS, kept)
        if self.every and not before and not taken:
            self.ask(0)
        if lost := len(before) - len(kept):
            self.warn(
                [
                    f"{many(lost, 'mini-evaluation')} of {self.run.path} used other requests, as "
                    "older versions did: dropped"
                ]
            )

    def on_step(self, taken: int, metrics: dict[str, float], control: Control) -> None:
        """Evaluate if due, and request a checkpoint."""
        del metrics
        if self.every and (taken % self.every == 0 or taken == self.last):
            self.ask(taken)
            control.save = True

    @property
    def asked(self) -> str:
        """Identifier of the questions: a hash of all requests and attacks, 12 hex digits."""
        suite = self.suite
        prompts = [p for s in (suite.behaviours, suite.ordinary, suite.lookalikes) for p in s]
        named = [[p.id, p.request] for p in prompts], [a.name for a in suite.attacks]
        return hashlib.sha256(json.dumps(named).encode()).hexdigest()[:12]

    def ask(self, taken: int) -> None:
        """Run the mini-evaluation and append one line."""
        target = self.target(taken)
        asked, _ = askable(self.suite, target)
        judges = (self.suite.judges[0], self.suite.refusals)
        arena = Arena(target, *judges, Log(), self.suite.openers, None, Meter())
        records = arena.answers(asked)
        summary = summarise(ModelResults(records, (), {}))
        row: dict[str, Any] = {"step": taken, "asked": self.asked}
        if "dsr" in summary:
            row["dsr"] = summary["dsr"]["mean"]
            row["behaviours"] = len({r.behaviour_id for r in records if r.kind == "attack"})
            row["attacks"] = sorted({r.attack for r in records if r.kind == "attack"})
        row |= {part: summary[part] for part in KEPT if part in summary}
        self.run.append(MINI_EVALS, row | {"entropy": {k: entropy(records, k) for k in ENTROPIES}})


def steps_to_choose_from(run: RunReader, start: str) -> list[dict[str, Any]]:
    """The mini-evaluations of a run, each with the model it measured; None if not saved.

    `start` is the model before training.
    """

    def model(step: int) -> str | None:
        place: Path = run.path / "checkpoints" / checkpoint_name(step)
        return start if not step else str(place) if place.is_dir() else None

    return [{**row, "model": model(row["step"])} for row in rows_by_step(run, MINI_EVALS).values()]


def entropy(records: Sequence[Record], kind: str) -> float:
    """Mean entropy (nats) of the answers to prompts of a kind; NaN if none has entropies."""
    return mean([r.mean_entropy for r in records if r.kind == kind and r.entropies])
