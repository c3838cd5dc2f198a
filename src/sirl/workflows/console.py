"""How the workflows are interrupted, and what all of them say alike."""

from collections.abc import Callable

from sirl.errors import Stopped
from sirl.roles import Progress
from sirl.runs import Existing, Run

__all__ = ["interruptible", "nothing_to_resume"]


def interruptible(shown: Progress, stop: Callable[[], bool]) -> Progress:
    """Progress of work that may be left between any two parts; training saves its step first."""

    def tell(what: str, done: int, total: int) -> None:
        shown(what, done, total)
        if stop() and done < total:
            raise Stopped(f"stopped while {what}, {done} of {total} parts kept")

    return tell


def nothing_to_resume(run: Run, existing: Existing) -> list[str]:
    """A sentence where a run was to be gone on with and there is none."""
    if existing != "resume" or run.resumed:
        return []
    return [f"{run.path} holds nothing to resume: it starts over"]
