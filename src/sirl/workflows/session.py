"""A training run in progress."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sirl import registry
from sirl.config import TrainingSettings
from sirl.roles import Console, Engine, Observer, Work
from sirl.runs import Run
from sirl.runs.provenance import Provenance

if TYPE_CHECKING:
    from sirl.evaluation.target import Target
    from sirl.training.parallel import Parallelism, Ranks

__all__ = ["Session", "among", "shared"]


@dataclass(frozen=True)
class Session:
    """A training run in progress: what its parts share."""

    config: TrainingSettings
    setup: registry.TrainingSetup
    run: Run
    provenance: Provenance
    console: Console
    working: Work
    ranks: "Ranks"
    observers: Mapping[str, Observer]
    """Those that the user adds."""

    def warn(self, sentences: Iterable[str]) -> None:
        """Say what a user should know, once for all processes."""
        if self.ranks.main:
            self.console.warn(sentences)


def among(target: "Target", ranks: "Ranks", parallel: "Parallelism | None" = None) -> "Target":
    """A target whose answers are sampled by all processes."""
    return replace(target, engine=lambda s: shared(target.engine(s), ranks, parallel))


def shared(engine: Engine, ranks: "Ranks", parallel: "Parallelism | None" = None) -> Engine:
    """An engine that samples in all processes; a single process has its own."""
    if ranks.size == 1:
        return engine
    from sirl.training.parallel import SharedEngine

    return SharedEngine(engine, ranks, parallel)
