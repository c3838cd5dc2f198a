"""`run.json`: what was run, on what, with which versions, and how it ended."""

import datetime
import hashlib
import os
import platform
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any

from sirl import __version__
from sirl.errors import ConfigError, Stopped
from sirl.prompts import PromptSet, Rejected
from sirl.roles import Judge, identity_of
from sirl.runs.folder import Run
from sirl.runs.places import ABOUT, CONFIG
from sirl.runs.reader import RunReader
from sirl.runs.unchanged import FINAL, hashes_of
from sirl.types import Prompt

__all__ = ["FROM_PYTHON", "Provenance", "begun_by", "launch"]

FROM_PYTHON: ContextVar[bool] = ContextVar("FROM_PYTHON", default=False)
"""Whether a function of `import sirl` was called, so that the command line is another program's."""
PACKAGES = ("torch", "transformers", "tokenizers", "safetensors", "peft", "numpy", "scipy")


class Provenance:
    """Keeps `run.json` while a verb runs; the exit is written whichever way it leaves."""

    def __init__(self, run: Run, verb: str, *, seed: int, template_date: str | None) -> None:
        self.run = run
        earlier = run.read(ABOUT) if run.resumed else {}
        called = f"sirl.{verb.replace(' ', '.')}()"
        command = [called] if FROM_PYTHON.get() else ["sirl", *sys.argv[1:]]
        self.document: dict[str, Any] = {
            "verb": verb,
            "command": earlier.get("command", command),
            "resumed_by": [*earlier.get("resumed_by", []), *([command] if earlier else [])],
            "sirl": __version__,
            "versions": {name: installed(name) for name in PACKAGES},
            "python": platform.python_version(),
            "seed": seed,
            "template_date": template_date,
            "hardware": hardware(),
            "tree": tree_state(),
            "starts": [*earlier.get("starts", []), now()],
            "model": earlier.get("model", {}),
            "prompts": earlier.get("prompts", []),
            "files": earlier.get("files", {}),
            "judge_identities": earlier.get("judge_identities", []),
            "endpoint_dialect": earlier.get("endpoint_dialect", {}),
            "launch": launch(),
            "exit": None,
            "written": hashes_of(run.path, [CONFIG]),
        }

    def __enter__(self) -> "Provenance":
        self.write()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error and isinstance(error.__cause__, Stopped):  # the console makes it an exit status
            kind, error = Stopped, error.__cause__
        self.document["exit"] = {
            "at": now(),
            "how": "finished" if kind is None else "stopped" if kind is Stopped else kind.__name__,
            "why": str(error) if error else "",
        }
        if kind is None:
            self.document["written"] = hashes_of(self.run.path, (CONFIG, *FINAL))
        self.write()

    def note(
        self,
        *,
        model: dict[str, str],
        prompts: Sequence[PromptSet],
        readings: Sequence[str],
        held_out: str | None = None,
    ) -> None:
        """Add the hashes of weights, template and prompt files, and how model and files are read.

        Raises:
            ConfigError: The run that is resumed was started with others.
        """
        files = [
            {
                "file": s.source,
                "sha256": s.sha256,
                "used": len(s.prompts),
                "rejected": len(s.rejected),
                "read": s.read,
                "notes": list(s.notes),
            }
            for s in prompts
        ]
        self.refuse_change("weights or template", self.document["model"], model)
        self.refuse_change("prompt files", hashes(self.document["prompts"]), hashes(files))
        self.document |= {"model": model, "prompts": files, "readings": list(readings)}
        if held_out is not None:
            self.document["held_out"] = held_out
        self.write()

    def used(self, prompts: Iterable[Prompt], unasked: Iterable[Rejected]) -> None:
        """Correct the number of prompts used from each file, once the usable ones are known.

        A request without any usable prompt counts as rejected, like an invalid row.
        """
        ids = {(p.source, p.id) for p in prompts}
        lost = Counter(row.file for row in unasked if not (row.line or row.prompts))
        for file in self.document["prompts"]:
            file["used"] = sum(source == file["file"] for source, _ in ids)
            file["rejected"] += lost[file["file"]]
        self.write()

    def teaching(self, by: str, learning_rate: float) -> None:
        """Add what training learns from, and its peak learning rate, which depends on that."""
        self.document["teaching"] = {"taught_by": by, "learning_rate": learning_rate}
        self.write()

    def code_sandbox(self, sentence: str) -> None:
        """Add what protects this machine from code that the model writes."""
        self.document["code_sandbox"] = sentence
        self.write()

    def judges(self, judges: Sequence[Judge], faults: Sequence[str]) -> None:
        """Add who judges, the question that each answers, and who failed the planted answers.

        Raises:
            ConfigError: The run that is resumed was started with others.
        """
        self.document["judges"] = [f"{j.name} ({j.question})" for j in judges]
        self.document["judge_faults"] = list(faults)
        identities = [identity_of(j) for j in judges]
        self.refuse_change("judges", self.document["judge_identities"], identities)
        self.document["judge_identities"] = identities
        self.write()

    def files(self, paths: Iterable[str | None]) -> None:
        """Add the hashes of further input files, by name.

        Raises:
            ConfigError: The run that is resumed was started with others.
        """
        found = {
            path: hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in paths if path
        }
        self.refuse_change("files", self.document["files"], found)
        self.document["files"] = found
        self.write()

    def dialects(self, learned: Mapping[str, Mapping[str, object]]) -> None:
        """Add what endpoints did not take of what they were sent: left out, or renamed."""
        self.document["endpoint_dialect"] |= learned
        self.write()

    def refuse_change(self, what: str, before: Any, given: Any) -> None:  # noqa: ANN401 - from JSON
        """Refuse to go on with other inputs than those that the run was started with."""
        if before and before != given:
            raise ConfigError(
                f"{self.run.path} was started with other {what}: "
                "give those, or start over with --overwrite"
            )

    def write(self) -> None:
        """Put the document on the disk."""
        self.run.write(ABOUT, self.document)


def hashes(files: Sequence[Mapping[str, Any]]) -> list[str]:
    """The hashes of prompt files, wherever they lie."""
    return [file["sha256"] for file in files]


def launch() -> str:
    """What names the processes that one `torchrun` starts, again and again; empty without it."""
    return os.environ.get("TORCHELASTIC_RUN_ID", "")


def begun_by(folder: Path) -> str | None:
    """The launch that a folder's run was begun or gone on with by; None where there is none."""
    about = RunReader(folder).read(ABOUT)
    return about.get("launch", "") if about else None


def now() -> str:
    """The time, to the second, in UTC."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def installed(name: str) -> str | None:
    """The installed version of a package, None when it is not there."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def hardware() -> dict[str, Any]:
    """The machine in a few words."""
    return {"machine": platform.machine(), "system": platform.system(), "cores": os.cpu_count()}


def tree_state() -> str:
    """Commit of the source tree, with '+changes' when it differs; empty outside of one.

    It is 'unknown' if git is not installed, or refuses to read the tree.
    """
    here = Path(__file__).parent
    if not (here.parents[2] / ".git").exists():
        return ""
    git = ["git", "-C", str(here)]
    try:
        commit = subprocess.check_output([*git, "rev-parse", "HEAD"], stderr=subprocess.DEVNULL)
        dirty = subprocess.check_output(
            [*git, "status", "--porcelain", "-uno"], stderr=subprocess.DEVNULL
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit.decode().strip() + ("+changes" if dirty.strip() else "")
