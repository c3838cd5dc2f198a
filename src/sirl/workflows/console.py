"""Interruption, progress and messages that all workflows share."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from sirl.errors import Stopped
from sirl.roles import Progress
from sirl.runs import Existing, Run
from sirl.text import many

__all__ = ["interruptible", "nothing_to_resume", "parts"]

T = TypeVar("T")


def interruptible(shown: Progress, stop: Callable[[], bool]) -> Progress:
    """Progress that raises `Stopped` between two parts of the work once a stop is requested."""

    def tell(what: str, done: int, total: int) -> None:
        shown(what, done, total)
        if stop() and done < total:
            raise Stopped(
                f"stopped during {what}, {many(total - done, 'part')} before its end; what was "
                "done is saved"
            )

    return tell


def parts(what: str, items: Sequence[T], size: int, progress: Progress) -> Iterator[Sequence[T]]:
    """Items in parts of at most `size`; progress is told before each part and at the end."""
    for start in range(0, len(items), size):
        progress(what, start, len(items))
        yield items[start : start + size]
    if items:
        progress(what, len(items), len(items))


def nothing_to_resume(run: Run, existing: Existing) -> list[str]:
    """A sentence if `--resume` was given and the folder holds no run to resume."""
    if existing != "resume" or run.resumed:
        return []
    return [f"{run.path} has nothing to resume: starting over"]
