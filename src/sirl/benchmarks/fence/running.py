"""Starts the two processes of a job, waits for the verdict, and clears up after them."""

import contextlib
import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import sirl
from sirl.benchmarks.fence.walls import CPU_SECONDS, DISK_BYTES, TIMED_OUT, undumpable
from sirl.errors import ConfigError, InputError
from sirl.types import Mark

__all__ = ["SECONDS", "Job", "Protection", "passes", "protection"]

SECONDS = 2.0 * CPU_SECONDS
"""Longest time of one job by the clock; a machine may be busy."""
TRIAL_SECONDS = (SECONDS, 2 * SECONDS, 4 * SECONDS)
"""Longest times of the trials of one protection."""
PATIENCE = 2.0
"""Seconds for a process to end when it is asked to."""
START = "import sys; sys.path.append(sys.argv[1]); from {module} import main; main(*sys.argv[2:])"
ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # threads count as processes
VISIBLE = ("/usr", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache", "/nix/store", "/gnu/store")
BUBBLEWRAP = (
    "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--dev", "/dev",
    "--remount-ro", "/dev", "--size", str(DISK_BYTES), "--tmpfs", "/tmp",
)  # fmt: skip


LATE = "took too long"
"""What begins the reason of an answer that was stopped by the clock."""
KINDS = {
    "AssertionError": "wrong",
    "MemoryError": "out of memory",
    LATE: "timed out",
    **dict.fromkeys(("SyntaxError", "IndentationError", "TabError"), "no program"),
}
"""Kinds of failure, by the error or the words before the colon."""


@dataclass(frozen=True)
class Job:
    """An answer and its tests."""

    code: str
    """The answer's program; it runs behind the walls and sees nothing of the rest."""
    head: str
    """Code of the benchmark that stands before the tests."""
    tests: str
    names: tuple[str, ...] = ()
    """Functions that the tests take from the answer where `head` does not define them."""
    asked: tuple[str, ...] = ()
    """Functions that the tests take from the answer in any case."""


@dataclass(frozen=True)
class Protection:
    """What stands between an answer's code and this machine."""

    mode: str
    """`namespaces`, `bubblewrap` or `limits`."""
    sentence: str

    @property
    def sandbox(self) -> bool:
        """Whether files and network are out of reach."""
        return self.mode != "limits"

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to say before code is run that is not shut off."""
        way_out = "evaluate in a container without secrets, or install bubblewrap"
        return () if self.sandbox else (f"code of the model runs under {self.sentence}: {way_out}",)


APART = "no network, no processes or files but those of Python and /usr (read only), no privileges"
BEST = (
    Protection("namespaces", f"namespaces of the kernel: {APART}"),
    Protection("bubblewrap", f"bubblewrap: {APART}"),
)
LEAST = Protection(
    "limits",
    "limits of time and memory only: neither namespaces nor bubblewrap work here, so that code "
    "may read what its user may read, and reach the network",
)


TRIAL = Job(
    "import fractions\n\ndef half():\n    return fractions.Fraction(1, 2)\n",
    "",
    "import fractions\nassert half() == fractions.Fraction(1, 2)",
    asked=("half",),
)


@functools.cache
def protection() -> Protection:
    """The best that works here; tried once.

    Raises:
        ConfigError: Not even limits work, or the machine is too busy to tell.
    """
    known: list[Protection] = [*(BEST if sys.platform == "linux" else ()), LEAST]
    there = [p for p in known if p.mode != "bubblewrap" or shutil.which("bwrap")]
    return first_of(there, functools.partial(verdict, TRIAL))


def first_of(
    known: Sequence[Protection], tried: Callable[[Protection, float], tuple[str, str]]
) -> Protection:
    """The first that works; one that is late is given more time, since that says nothing of it.

    Raises:
        ConfigError: None works, or one that may work is late each time.
    """
    for walls in known:
        for seconds in TRIAL_SECONDS:
            said, why = tried(walls, seconds)
            if said == "passed":
                return walls
            if not why.startswith(LATE):
                break
        else:
            raise ConfigError(
                f"code of the model cannot be run here: {walls.mode} may work, but the first trial "
                f"{why}; wait until the machine is less busy, or leave out humaneval and mbpp"
            )
    raise ConfigError(f"code of the model cannot be run here: {why}; leave out humaneval and mbpp")


def passes(job: Job, seconds: float = SECONDS) -> Mark:
    """Whether an answer passes its tests in time, and why not.

    Raises:
        ConfigError: No process can be shut in any more, although one could be before.
        InputError: The tests hand over what cannot be sent to the answer's process.
    """
    said, why = verdict(job, protection(), seconds)
    if said == "unready":
        raise ConfigError(
            f"code of the model cannot be run behind {protection().mode}: {why}; check that "
            "processes and memory suffice, then continue with --resume"
        )
    if said == "unfit":
        raise InputError(
            f"the tests pass an object of type {why}, which cannot be sent to the process of "
            f"the answer: take the task out of the file; its tests are {job.tests[:200]!r}"
        )
    return Mark(True, "solved") if said == "passed" else Mark(False, reason_of(why))


def reason_of(why: str) -> str:
    """Why an answer has not passed, as `kind: what happened`.

    >>> reason_of("AssertionError: "), reason_of("NameError: name 'x' is not defined")
    ('wrong', "error: NameError: name 'x' is not defined")
    """
    error = why.partition(":")[0]
    kind = KINDS.get(error, "error" if error.endswith(("Error", "Exception")) else "stopped")
    what = why.removeprefix(f"{LATE}:").strip(": ")
    return kind if what == "AssertionError" else f"{kind}: {what}"


def verdict(job: Job, walls: Protection, seconds: float) -> tuple[str, str]:
    """What the process of the tests says, and why; `failed` where it says nothing in time."""
    theirs, ours = socket.socketpair()
    answer = checker = None
    with folder() as place, hidden(walls):
        try:
            with theirs, ours:
                answer = start(answer_command(theirs.fileno(), walls, place), theirs.fileno())
                checker = start(checker_command(ours.fileno()), ours.fileno(), talks=True)
            out, _ = checker.communicate(json.dumps(asdict(job)).encode(), seconds)
            if spent(checker) or (b"has ended" in out and spent(answer)):
                return "failed", f"{LATE}: more than {CPU_SECONDS} seconds of computing"
        except subprocess.TimeoutExpired:
            return "failed", f"{LATE}: more than {seconds:g} seconds"
        except OSError as fault:
            return "unready", str(fault)
        finally:
            for process in (answer, checker):
                if process is not None:
                    end(process)
    if not out:
        return "failed", "the tests did not run to their end"
    said = json.loads(out)
    return said["verdict"], said["why"]


def spent(process: "subprocess.Popen[bytes]") -> bool:
    """Whether a process, which ends, was ended for the computing time that it took."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        return process.wait(PATIENCE) in (TIMED_OUT, -signal.SIGXCPU)
    return False


def answer_command(end: int, walls: Protection, place: str) -> list[str]:
    """The command of the process that holds the answer."""
    if walls.mode != "bubblewrap":
        inner = [str(end), walls.mode, place, "\n".join(module_paths()), "\n".join(readable())]
        return python("answer", inner)
    shown = [*readable(), str(Path(sirl.__file__).parent)]
    binds = [word for path in shown for word in ("--ro-bind-try", path, path)]
    inner = [str(end), walls.mode, "/tmp", "\n".join(module_paths()), ""]
    walled = [shutil.which("bwrap") or "bwrap", *BUBBLEWRAP, *binds, "--remount-ro", "/"]
    return [*walled, *python("answer", inner)]


def checker_command(end: int) -> list[str]:
    """The command of the process that tests."""
    return python("checker", [str(end), "\n".join(module_paths())])


def python(module: str, words: Sequence[str]) -> list[str]:
    """A Python that starts fast, without the user's settings and packages."""
    where = str(Path(sirl.__file__).parents[1])
    start = START.format(module=f"sirl.benchmarks.fence.{module}")
    return [interpreter(), "-I", "-S", "-c", start, where, *words]


@functools.cache
def interpreter() -> str:
    """The program itself, not a link of a virtual environment to it."""
    return os.path.realpath(sys.executable)


@functools.cache
def module_paths() -> list[str]:
    """Where the standard library and the packages of this environment are."""
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    places = [sysconfig.get_path(name) for name in names]
    built = str(Path(sysconfig.get_path("stdlib"), "lib-dynload"))
    return list(dict.fromkeys([*places[:2], built, *places[2:]]))


@functools.cache
def readable() -> list[str]:
    """What Python needs to run: the outermost folders."""
    real = [os.path.realpath(p) for p in (sys.base_prefix, sys.base_exec_prefix)]
    named = [sys.base_prefix, sys.base_exec_prefix, *module_paths()]
    wanted = [*VISIBLE, *dict.fromkeys([*named, *real])]
    return [
        path
        for path in wanted
        if os.path.lexists(path)
        and not any(path != above and Path(path).is_relative_to(above) for above in wanted)
    ]


def start(command: list[str], end: int, *, talks: bool = False) -> "subprocess.Popen[bytes]":
    """A process with one end of the line, in a session of its own."""
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
        stdout=subprocess.PIPE if talks else subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env=ENVIRONMENT,
        pass_fds=[end],
        start_new_session=True,
    )


def end(process: "subprocess.Popen[bytes]") -> None:
    """End a process and its group; asked first, so that it can end what has left the group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(PATIENCE)
    with contextlib.suppress(ProcessLookupError, PermissionError):  # nothing of it is left
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()


@contextlib.contextmanager
def folder() -> Iterator[str]:
    """An empty folder inside one of ours; removed as far as that goes, whatever became of it."""
    outer = tempfile.mkdtemp(prefix="sirl-code-")
    inner = Path(outer, "work")
    inner.mkdir()
    Path(outer).chmod(0o711)  # the way to the inner one is open for the user nobody
    try:
        yield str(inner)
    finally:
        clear(outer)


def clear(outer: str) -> None:
    """Remove a folder. The system's tools know no depth; what resists them stays."""
    with contextlib.suppress(OSError):
        os.rmdir(Path(outer, "work"))  # noqa: PTH106 - the common case: nothing was written
        os.rmdir(outer)  # noqa: PTH106
        return
    if Path(outer).is_symlink():
        return
    for tool in (["chmod", "-R", "u+rwX"], ["rm", "-rf"]):
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run([*tool, outer], capture_output=True, timeout=60, check=False)


@contextlib.contextmanager
def hidden(walls: Protection) -> Iterator[None]:
    """Keep this process's environment from the code where only limits stand between them."""
    if walls.sandbox or os.geteuid() == 0:
        yield
        return
    undumpable()
    try:
        yield
    finally:
        undumpable(on=False)
