"""The command line, called in this process: a process of its own costs seconds of imports."""

import multiprocessing
import os
import runpy
import socket
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from sirl.cli.main import main

PROCESSES = multiprocessing.get_context("forkserver")
"""New processes, forked from one that has imported what takes seconds and has run nothing."""
PROCESSES.set_forkserver_preload(["tests.command", "sirl.models.loading", "sirl.training.rl"])


class Done(NamedTuple):
    """How a command ended; the fields are named as those of `subprocess.CompletedProcess`."""

    returncode: int
    stdout: str
    stderr: str


def sirl(*words, cwd=None, env=None) -> Done:
    """Run `sirl WORDS` in a folder, with changes to the environment.

    Modules that it imports from its folder are forgotten afterwards, as at the end of a process.
    """
    out, err = StringIO(), StringIO()
    folder = Path(cwd or Path.cwd()).resolve()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["sirl", *map(str, words)])
        patch.setattr(sys, "path", [str(folder), *sys.path])
        patch.chdir(folder)
        for name, value in (env or {}).items():
            patch.setenv(name, value)
        known = set(sys.modules)
        with (
            redirect_stdout(out),
            redirect_stderr(err),
            pytest.raises(SystemExit) as ended,
        ):
            main()
        for name in set(sys.modules) - known:
            file = getattr(sys.modules[name], "__file__", None)
            if file and folder == Path(file).resolve().parent:
                del sys.modules[name]
    return Done(ended.value.code or 0, out.getvalue(), err.getvalue())


def started(work, *given) -> BaseProcess:
    """A new process that calls a function of a module."""
    process = PROCESSES.Process(target=settled, args=(work, *given))
    process.start()
    return process


def ended(process) -> int:
    """The exit status of a process, negative for a signal."""
    process.join()
    status = process.exitcode
    process.close()
    return status


def settled(work, *given) -> None:
    """Call a function with torch set as in the tests."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    work(*given)


def one_rank(said, program, words, variables):
    """A process as torchrun starts it; it writes what it says into a file of its rank."""
    os.environ.update(variables)
    sys.argv = ["sirl", *words]
    with (
        (said / variables["RANK"]).open("w") as file,
        redirect_stdout(file),
        redirect_stderr(file),
    ):
        main() if program is None else runpy.run_path(str(program), run_name="__main__")


def ranks(size, said, *words, program=None):
    """So many ranks without torchrun, which takes 15 seconds for its imports."""
    said.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [
        started(one_rank, said, program, words, {**common, "RANK": str(n), "LOCAL_RANK": str(n)})
        for n in range(size)
    ]


def all_said(said: Path) -> str:
    """What all ranks have said."""
    return "".join(file.read_text() for file in sorted(said.iterdir()))
