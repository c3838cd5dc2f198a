"""The silent console, and messages shared by the workflows."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from sirl.errors import Stopped
from sirl.roles import Progress, Work, silent
from sirl.runs import Existing, Run

__all__ = ["Quiet", "interruptible", "nothing_to_resume"]


class Quiet:
    """Says nothing and never asks for a stop; satisfies `sirl.roles.Console`."""

    def warn(self, sentences: Iterable[str]) -> None:
        """Say nothing."""

    @contextmanager
    def bar(self) -> Iterator[Progress]:
        """Show nothing."""
        yield silent

    @contextmanager
    def working(
        self, agreed: Callable[[bool], bool] = bool, *, at_once: bool = False
    ) -> Iterator[Work]:
        """Show nothing; stop only where another process of the run asks for it."""
        del at_once
        yield Work(silent, lambda: agreed(False))


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
