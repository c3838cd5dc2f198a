"""The process that tests an answer: it has the tests and says the verdict, and runs no answer.

Started by `running`, as a program, with a job on its standard input; one line of JSON on its
standard output is the verdict. The tests are the benchmark's and are trusted, but for time and
memory. What they call of the answer is called over the line.
"""

import json
import os
import sys
from collections.abc import Mapping
from typing import Any

from sirl.benchmarks.fence.walls import limit, undumpable
from sirl.benchmarks.fence.wire import AnswerError, UnsendableError, Wire

__all__ = ["main"]


def main(end: str, paths: str) -> None:
    """Read a job, test it, say the verdict; paths are joined by line breaks."""
    undumpable()
    job = json.load(sys.stdin)
    said = os.dup(1)
    quiet = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(quiet, stream)
    limit(checker=True)
    sys.path[:] = paths.split("\n")
    verdict, why = verdict_on(job, Wire(int(end), {}, trusted=True))
    os.write(said, json.dumps({"verdict": verdict, "why": why}).encode() + b"\n")
    os._exit(0)


def verdict_on(job: Mapping[str, Any], wire: Wire) -> tuple[str, str]:
    """`passed`, `failed`, `unfit` where the tests cannot be put, or `unready`; and why."""
    try:
        if wire.receive() != ["ready"]:
            return "unready", "the process of the answer does not start"
    except AnswerError as gone:
        return "unready", str(gone)
    try:
        wire.call("load", (job["code"],), {})
        names = {"__name__": "tests", **{n: wire.function(n) for n in job["names"]}}
        exec(compile(job["head"], "head.py", "exec"), names)
        names.update({n: wire.function(n) for n in job["asked"]})
        exec(compile(job["tests"], "tests.py", "exec"), names)
    except UnsendableError as kind:
        return "unfit", str(kind)
    except BaseException as error:  # noqa: BLE001 - whatever ends the tests, they have not passed
        return "failed", wire.fault or f"{type(error).__name__}: {error}"[:1000]
    return ("failed", wire.fault) if wire.fault else ("passed", "")
