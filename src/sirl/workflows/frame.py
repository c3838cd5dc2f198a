"""The frame of every verb that writes a run folder: lock, `run.json`, summary."""

import time
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from sirl.config import Settings
from sirl.errors import PluginError, SirlError
from sirl.registry.plugins import plugin_fault
from sirl.roles import Console
from sirl.runs import Run, plain
from sirl.runs.kept import Kept
from sirl.runs.provenance import Provenance

__all__ = ["Frame"]

RESUMABLE = "; continue with --resume"
"""What a fault of a plug-in ends with where its run is kept."""


class Frame:
    """A verb from its start to the end state of its run folder.

        with Frame("evaluate") as frame:
            run = frame.hold(open_run(...))
            ...                                       # may fail: an overwritten run is still whole
            provenance = frame.begin(run, config)     # from here the folder is this run's
            ...
            return frame.finish(run, figures)

    Whichever way the block is left, `run.json` names the way, and the folder is released. A
    `SirlError` before the first result leaves no folder, so that a corrected command can use its
    name. An exception that a plug-in raises leaves the block as a `PluginError`, which says whether
    the run can be resumed.
    """

    def __init__(self, verb: str, *, resumable: bool = True) -> None:
        self.verb = verb
        self.resumable = resumable
        self.run: Run | None = None
        self.started = time.perf_counter()
        self.ends = ExitStack()

    def __enter__(self) -> "Frame":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        fault = None
        try:
            fault = error if isinstance(error, PluginError) else plugin_fault(error)
        finally:
            self.ends.__exit__(type(fault) if fault else kind, fault or error, traceback)
        if fault:
            kept = self.resumable and self.run is not None and self.run.read("run.json")
            # The frame of a sweep is around those of its evaluations, which may have said it.
            said = str(fault).removesuffix(RESUMABLE)
            raise PluginError(said + RESUMABLE if kept else str(fault)) from error

    def hold(self, run: Run) -> Run:
        """Keep a run folder locked until the verb ends."""

        def forget(
            kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
        ) -> None:
            if kind and issubclass(kind, SirlError):
                run.forget_if_empty()

        self.run = run
        self.ends.callback(run.close)
        self.ends.push(forget)
        return run

    def begin(self, run: Run, settings: Settings, keeps: Collection[str] = ()) -> Provenance:
        """Write configuration and `run.json`; what an overwritten run left is removed only now.

        `keeps` names files that stay until they are written anew.
        """
        run.begin(keeps)
        about = Provenance(run, self.verb, seed=settings.seed, template_date=settings.template_date)
        return self.ends.enter_context(about)

    def kept(self, run: Run, console: Console) -> Kept:
        """What this verb was given; an error or an interruption leaves it behind."""
        kept = Kept.of_run(run.path)
        console.warn(kept.notes())
        self.ends.enter_context(kept.until_done("give the command again with --overwrite"))
        return kept

    def finish(self, run: Run, figures: Mapping[str, Any]) -> dict[str, Any]:
        """Write `summary.json`: the figures, with the seconds since the verb started."""
        seconds = round(time.perf_counter() - self.started, 1)
        summary: dict[str, Any] = plain({"seconds": seconds, **figures})
        run.write("summary.json", summary)
        return summary
