"""What the functions of `import sirl` say: warnings in Python's terms, and progress bars."""

import logging
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sirl.roles import Progress, Work

__all__ = ["EXISTING", "NotebookConsole", "in_python"]

GIVEN = r" --([a-z][a-z_-]*) ('[^']*'|(?![-'])[^\s;,]*[^\s;,:.])"
"""An option of a command with its value."""
COMMAND_OR_OPTION = re.compile(
    r"(?<!-m )sirl (?P<verb>train|evaluate|probe|guard (?:calibrate|evaluate))\b"
    rf"(?P<given>(?:{GIVEN})*)"
    r"|(?P<command>sirl [a-z]+ [^;,]*)"
    r"|(?<![\w/-])--(?:set )?(?P<name>[a-z][a-z_-]*)(?![\w/-])(?P<value> [\d.])?"
)
LIST_FILE = re.compile(r"\S*/prompts/[0-9a-f]{8}/(\w+)\.jsonl")
"""A list in a run folder, as `sirl.runs.lists` names it."""
EXISTING = ("resume", "overwrite")
"""Options of the command line that are values of `existing` here."""
LOG = logging.getLogger("sirl")


class NotebookConsole:
    """Warnings as log records, and progress as bars; satisfies `sirl.roles.Console`.

    Where nobody looks on, in a script whose stderr is no terminal, progress is logged as well.
    """

    def warn(self, sentences: Iterable[str]) -> None:
        """Log warnings."""
        for sentence in sentences:
            LOG.warning(in_python(sentence))

    @contextmanager
    def bar(self) -> Iterator[Progress]:
        """Show progress."""
        if hasattr(sys, "ps1") or sys.stderr.isatty():  # an interpreter or notebook has a prompt
            with progress_bars() as shown:
                yield shown
        else:
            yield lambda what, done, total: LOG.info("%s: %d/%d", what, done, total)

    @contextmanager
    def working(
        self, agreed: Callable[[bool], bool] = bool, *, at_once: bool = False
    ) -> Iterator[Work]:
        """Show progress; interrupts raise KeyboardInterrupt as usual."""
        del at_once
        with self.bar() as progress:
            yield Work(progress, lambda: agreed(False))


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """A bar per stage, named by what stands before the first comma."""
    from tqdm.auto import tqdm  # noqa: PLC0415 - importing sirl stays quick

    bars: dict[str, Any] = {}
    ended: set[str] = set()

    def tell(what: str, done: int, total: int) -> None:
        stage = what.partition(",")[0]
        if stage not in bars:
            if done == total and stage in ended:  # told once more
                return
            bars[stage] = tqdm(desc=what, total=total, initial=done)
        bar = bars[stage]
        bar.total = total
        bar.set_description_str(what, refresh=False)
        bar.update(done - bar.n)
        if done == total:
            bars.pop(stage).close()
            ended.add(stage)

    try:
        yield tell
    finally:
        for bar in bars.values():
            bar.close()


def in_python(sentence: str) -> str:
    """A sentence for the command line with its options as keywords, and verbs as functions.

    Commands that are no function here stay as they are. Files that hold a list are called by the
    keyword that the list was given for.

    >>> in_python("r exists: --resume continues it, or give another --out")
    "r exists: existing='resume' continues it, or give another out"
    >>> in_python("use --steps 100; next: sirl sweep r --limit 8")
    'use steps=100; next: sirl sweep r --limit 8'
    >>> in_python("models--org--x is no model: give --no-sentinel")
    'models--org--x is no model: give sentinel=False'
    >>> in_python("run sirl guard calibrate --model 'my m' --limit 9, or --resume")
    "run sirl.guard.calibrate('my m', limit=9), or existing='resume'"
    """

    def keyword(found: re.Match[str]) -> str:
        if found["verb"]:
            return called(found["verb"], re.findall(GIVEN, found["given"]))
        if found["command"]:
            return found["command"]
        if found["name"] in EXISTING:
            return f"existing={found['name']!r}"
        name, value = found["name"].replace("-", "_"), (found["value"] or "").replace(" ", "=")
        return f"{name.removeprefix('no_')}=False" if name.startswith("no_") else name + value

    return COMMAND_OR_OPTION.sub(keyword, LIST_FILE.sub(r"\1", sentence))


def called(verb: str, given: Sequence[tuple[str, str]]) -> str:
    """The call of a verb with options and their values; its name alone without any."""
    values = [(name, text if text.isdigit() else repr(text.strip("'"))) for name, text in given]
    arguments = [v if name == "model" else f"{name.replace('-', '_')}={v}" for name, v in values]
    name = f"sirl.{verb.replace(' ', '.')}"
    return f"{name}({', '.join(arguments)})" if arguments else name
