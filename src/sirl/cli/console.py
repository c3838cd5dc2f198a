"""Terminal output of the verbs; progress and warnings go to stderr."""

import json
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from textwrap import fill
from types import FrameType
from typing import Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from sirl.analysis.measured import in_words
from sirl.cli.wide_tables import fitting_grids
from sirl.errors import Stopped
from sirl.reports.figures import figure, rate_rows
from sirl.reports.grid import Grid
from sirl.reports.text import visible
from sirl.roles import Progress as Tell
from sirl.roles import Work
from sirl.text import many
from sirl.types import HARMLESS

__all__ = [
    "StopSwitch",
    "Terminal",
    "check_trusted",
    "closing",
    "faults_of",
    "finish",
    "finish_measured",
    "page",
    "progress_bar",
    "table",
    "warn",
]

NAME_WIDTH = 24
LOG_WIDTH = 120
"""Width of a table when stdout is not a terminal."""
ESTIMATE_WINDOW = 600.0
"""Window in seconds for the estimate of the remaining time: a step may take a minute."""
LINE_INTERVAL = 5.0
"""Seconds between progress lines when stderr is not a terminal."""


class StopSwitch:
    """Turns the first Ctrl-C or SIGTERM into a request to stop; a second Ctrl-C interrupts.

    Schedulers preempt with SIGTERM: a run that saves its work then exits with status 0.
    """

    def __init__(self, agreed: Callable[[bool], bool] = bool, *, at_once: bool = False) -> None:
        self.asked = False
        self.at_once = at_once
        """Whether the first request already interrupts, for work that saves every answer."""
        self.by_scheduler = False
        self.agreed = agreed
        """Whether any rank was asked to stop, given whether this one was (a collective)."""

    def __call__(self) -> bool:
        """Whether a stop was requested."""
        if stopping := self.agreed(self.asked):
            self.by_scheduler = self.agreed(self.by_scheduler)
        return stopping

    def hear(self, number: int, _frame: FrameType | None) -> None:
        """The signal handler."""
        if self.asked and number == signal.SIGINT:
            self.by_scheduler = False
            raise Stopped("stopped at once: what was saved is whole, later work is lost")
        self.asked, self.by_scheduler = True, number == signal.SIGTERM
        if self.at_once:
            raise Stopped("stopped; every finished answer is saved")
        again = "" if self.by_scheduler else "; Ctrl-C again stops at once"
        typer.echo(f"sirl: stopping after this step{again}", err=True)

    @contextmanager
    def listening(self) -> Iterator["StopSwitch"]:
        """Handle both signals inside a block.

        Raises:
            Exit: The scheduler asked, and the work stopped with everything saved.
        """
        before = {n: signal.signal(n, self.hear) for n in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield self
        except Stopped as stopped:
            if not self.by_scheduler:
                raise
            typer.echo(f"sirl: {stopped}; continue with --resume", err=True)
            raise typer.Exit(0) from stopped
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class Terminal:
    """Progress and warnings on stderr; satisfies `sirl.roles.Console`."""

    def warn(self, sentences: Iterable[str]) -> None:
        """Print warnings."""
        warn(sentences)

    def bar(self) -> AbstractContextManager[Tell]:
        """A progress bar."""
        return progress_bar()

    @contextmanager
    def working(
        self, agreed: Callable[[bool], bool] = bool, *, at_once: bool = False
    ) -> Iterator[Work]:
        """A progress bar, with Ctrl-C and SIGTERM turned into requests to stop."""
        stop = StopSwitch(agreed, at_once=at_once)
        with stop.listening(), progress_bar() as progress:
            yield Work(progress, stop)


@contextmanager
def progress_bar() -> Iterator[Tell]:
    """A progress bar on a terminal, plain lines elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield plain_lines()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, speed_estimate_period=ESTIMATE_WINDOW) as progress:
        tasks: dict[str, Any] = {}

        def tell(what: str, done: int, total: int) -> None:
            stage = what.split(",", maxsplit=1)[0]
            if stage not in tasks:
                tasks[stage] = progress.add_task(what, total=total, completed=done)
            progress.update(tasks[stage], completed=done, description=what)

        yield tell


def plain_lines() -> Tell:
    """Progress lines for logs: at most one every few seconds, and the last of each stage."""
    last = 0.0

    def tell(what: str, done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if done == total or now - last >= LINE_INTERVAL:
            typer.echo(f"{what}: {done}/{total}", err=True)
            last = now

    return tell


def table(summary: Mapping[str, Any]) -> Table:
    """The headline rates of the models side by side."""
    models, what = summary["models"], summary["measured"]
    shown = Table(title="rate with 95% interval", title_justify="left")
    shown.add_column("")
    for role in models:
        name = Text(folded(visible(what["names"][role])))
        shown.add_column(name, justify="right", overflow="fold")
    for label, cells in rate_rows(models):
        shown.add_row(label, *cells)
    return shown


def folded(path: str) -> str:
    r"""A path in lines of about 24 characters that break after slashes only.

    >>> folded("runs/a-name-of-a-run/checkpoints/step-000030")
    'runs/a-name-of-a-run/\ncheckpoints/step-000030'
    """
    return fill(
        path.replace("/", "/ "), NAME_WIDTH, break_long_words=False, break_on_hyphens=False
    ).replace("/ ", "/")


def page() -> Console:
    """A rich console on stdout, wide if it is not a terminal."""
    console = Console()
    if not console.is_terminal:
        console.width = LOG_WIDTH
    return console


def closing(summary: Mapping[str, Any], *parts: str | Grid) -> None:
    """Print the table of models, if there is one, then the closing sentences and tables."""
    console = page()
    if summary.get("models"):
        for heading, words in in_words(summary["measured"]).items():
            line = f"{heading}: {visible(words)}"
            console.print(line, markup=False, highlight=False, soft_wrap="/" in words)
        console.print(table(summary))
    for part in parts:
        if isinstance(part, str):
            console.print(part, markup=False, highlight=False, soft_wrap=True)
            continue
        for block in fitting_grids(part, console.width):
            console.print(block, markup=False, highlight=False)


def warn(faults: Iterable[str]) -> None:
    """Print warnings on stderr."""
    for fault in faults:
        typer.echo(f"sirl: {fault}", err=True)


def finish_measured(summary: Mapping[str, Any], *sentences: str, as_json: bool) -> None:
    """End a verb that judges; exit status 1 if a judge failed on some answers."""
    finish(summary, *sentences, faults=faults_of(summary), as_json=as_json)


def faults_of(summary: Mapping[str, Any]) -> list[str]:
    """Why figures of a summary do not count, in sentences."""
    faults = list(summary["judge_faults"])
    for role, model in summary["models"].items():
        name = summary["measured"]["names"][role]
        views = figure(model, "second_judges", "by_judge") or {}
        seen = {model.get("judge", ""): model.get("dsr", {}), **views}
        for judge, view in seen.items():
            if missing := view.get("unscored_texts"):
                faults.append(
                    f"{many(missing, 'answer')} of {name} could not be scored by {judge} and "
                    "count as broken: see the reasons in the run folder, then sirl judge again"
                )
        for kind, found in (model.get("over_refusal") or {}).items():
            if missing := found.get("unscored_texts"):
                faults.append(
                    f"{missing} of {found['n']} answers of {name} to {HARMLESS[kind]} could "
                    "not be scored and count as refused: see the reasons in the run folder, then "
                    "sirl judge again"
                )
        for task, found in (model.get("capability") or {}).items():
            if missing := found.get("unchecked"):
                faults.append(
                    f"{missing} of {found['n']} answers of {name} to {task} could not be checked "
                    "and count as wrong: see the reasons in the run folder"
                )
        if "skipped" in model and "dsr" not in model and "weights" not in model:
            faults.append(f"no attack on {name} produced an answer: its defence is unknown")
    return faults


def finish(
    summary: Mapping[str, Any], *sentences: str, faults: Iterable[str] = (), as_json: bool
) -> None:
    """End a verb: print JSON, or the table and the closing sentences.

    Raises:
        Exit: Status 1, if there are faults or a judge is in doubt.
    """
    models: Mapping[str, Mapping[str, Any]] = summary["models"]
    if as_json:
        typer.echo(json.dumps(summary))
    else:
        unchecked = dict.fromkeys(m["unchecked"] for m in models.values() if "unchecked" in m)
        cut = [
            f"{summary['measured']['names'][role]}: {m[part]['sentence']}"
            for role, m in models.items()
            for part in ("cut", "thoughts", "refusal_mass")
            if part in m
        ]
        closing(summary, *unchecked, *cut, *sentences)
    check_trusted(summary, faults)


def check_trusted(summary: Mapping[str, Any], faults: Iterable[str]) -> None:
    """Print what is wrong with the figures.

    Raises:
        Exit: Status 1, if there are faults or a judge is in doubt.
    """
    doubts = (a["says"] for m in summary["models"].values() for a in m.get("doubts", ()))
    wrong = [*faults, *dict.fromkeys(doubts)]
    warn(wrong)
    if wrong:
        raise typer.Exit(1)
