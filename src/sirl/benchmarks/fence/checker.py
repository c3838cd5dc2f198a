"""The process of the tests: runs the tests and gives the verdict, but never the answer's code.

Started as a program by `running`, with a job on standard input; the verdict is one line of JSON on
standard output. The tests come from the benchmark and are trusted, except for time and memory.
Their calls of the answer's functions are sent to the answer's process.
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
    """Read a job, test it, write the verdict; paths are joined by line breaks."""
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
    """`passed`, `failed`, `unfit` (arguments cannot be sent) or `unready`, with the reason."""
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
    except BaseException as error:  # noqa: BLE001 - any error means not passed
        return "failed", wire.fault or f"{type(error).__name__}: {error}"[:1000]
    return ("failed", wire.fault) if wire.fault else ("passed", "")
