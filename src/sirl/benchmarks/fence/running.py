"""Starts the two processes of a job, waits for the verdict, and cleans up."""

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
"""Maximum wall-clock time of a job; twice the CPU time, since a machine may be busy."""
TRIAL_SECONDS = (SECONDS, 2 * SECONDS, 4 * SECONDS)
"""Maximum times of successive trials of a sandbox."""
PATIENCE = 2.0
"""Seconds that a process has to end after SIGTERM."""
START = "import sys; sys.path.append(sys.argv[1]); from {module} import main; main(*sys.argv[2:])"
ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # threads count as processes
VISIBLE = ("/usr", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache", "/nix/store", "/gnu/store")
BUBBLEWRAP = (
    "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--dev", "/dev",
    "--remount-ro", "/dev", "--size", str(DISK_BYTES), "--tmpfs", "/tmp",
)  # fmt: skip


LATE = "took too long"
"""Beginning of the reason for a timeout."""
KINDS = {
    "AssertionError": "wrong",
    "MemoryError": "out of memory",
    LATE: "timed out",
    **dict.fromkeys(("SyntaxError", "IndentationError", "TabError"), "no program"),
}
"""Kinds of failure, by error name or the words before the colon."""


@dataclass(frozen=True)
class Job:
    """An answer and its tests."""

    code: str
    """The answer's program; it runs in the sandbox without access to the other fields."""
    head: str
    """The benchmark's code before the tests."""
    tests: str
    names: tuple[str, ...] = ()
    """Functions that the tests take from the answer unless `head` defines them."""
    asked: tuple[str, ...] = ()
    """Functions that the tests always take from the answer."""


@dataclass(frozen=True)
class Protection:
    """The protection of this machine from an answer's code."""

    mode: str
    """`namespaces`, `bubblewrap` or `limits`."""
    sentence: str

    @property
    def sandbox(self) -> bool:
        """Whether the code has no access to files and network."""
        return self.mode != "limits"

    @property
    def warnings(self) -> tuple[str, ...]:
        """A warning if code runs without a sandbox."""
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
    """The best protection that works here; tried once per process.

    Raises:
        ConfigError: Not even limits work, or the machine is too busy to find out.
    """
    known: list[Protection] = [*(BEST if sys.platform == "linux" else ()), LEAST]
    there = [p for p in known if p.mode != "bubblewrap" or shutil.which("bwrap")]
    return first_of(there, functools.partial(verdict, TRIAL))


def first_of(
    known: Sequence[Protection], tried: Callable[[Protection, float], tuple[str, str]]
) -> Protection:
    """The first protection that works; one that times out is tried again with more time.

    Raises:
        ConfigError: None works, or one that may work always times out.
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
    """Whether an answer passes its tests in time, with the reason if not.

    Raises:
        ConfigError: The sandbox no longer starts, although it did before.
        InputError: The tests pass an object that cannot be sent to the answer's process.
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
    """Why an answer failed, as `kind: detail`.

    >>> reason_of("AssertionError: "), reason_of("NameError: name 'x' is not defined")
    ('wrong', "error: NameError: name 'x' is not defined")
    """
    error = why.partition(":")[0]
    kind = KINDS.get(error, "error" if error.endswith(("Error", "Exception")) else "stopped")
    what = why.removeprefix(f"{LATE}:").strip(": ")
    return kind if what == "AssertionError" else f"{kind}: {what}"


def verdict(job: Job, walls: Protection, seconds: float) -> tuple[str, str]:
    """The checker's verdict and reason; `failed` on a timeout."""
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
    """Whether an ending process was killed by its CPU limit."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        return process.wait(PATIENCE) in (TIMED_OUT, -signal.SIGXCPU)
    return False


def answer_command(end: int, walls: Protection, place: str) -> list[str]:
    """The command of the answer's process."""
    if walls.mode != "bubblewrap":
        inner = [str(end), walls.mode, place, "\n".join(module_paths()), "\n".join(readable())]
        return python("answer", inner)
    shown = [*readable(), str(Path(sirl.__file__).parent)]
    binds = [word for path in shown for word in ("--ro-bind-try", path, path)]
    inner = [str(end), walls.mode, "/tmp", "\n".join(module_paths()), ""]
    walled = [shutil.which("bwrap") or "bwrap", *BUBBLEWRAP, *binds, "--remount-ro", "/"]
    return [*walled, *python("answer", inner)]


def checker_command(end: int) -> list[str]:
    """The command of the checker process."""
    return python("checker", [str(end), "\n".join(module_paths())])


def python(module: str, words: Sequence[str]) -> list[str]:
    """A fast Python command, isolated from the user's settings and packages."""
    where = str(Path(sirl.__file__).parents[1])
    start = START.format(module=f"sirl.benchmarks.fence.{module}")
    return [interpreter(), "-I", "-S", "-c", start, where, *words]


@functools.cache
def interpreter() -> str:
    """The real Python executable, not a virtual environment's link to it."""
    return os.path.realpath(sys.executable)


@functools.cache
def module_paths() -> list[str]:
    """Folders of the standard library and this environment's packages."""
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    places = [sysconfig.get_path(name) for name in names]
    built = str(Path(sysconfig.get_path("stdlib"), "lib-dynload"))
    return list(dict.fromkeys([*places[:2], built, *places[2:]]))


@functools.cache
def readable() -> list[str]:
    """The outermost folders that Python needs to run."""
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
    """Start a process with one end of the connection, in a new session."""
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
    """End a process and its group; SIGTERM first, so that it can kill its other children."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(PATIENCE)
    with contextlib.suppress(ProcessLookupError, PermissionError):  # already gone
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()


@contextlib.contextmanager
def folder() -> Iterator[str]:
    """An empty folder inside a private one; removed afterwards as far as possible."""
    outer = tempfile.mkdtemp(prefix="sirl-code-")
    inner = Path(outer, "work")
    inner.mkdir()
    Path(outer).chmod(0o711)  # the user nobody may pass through
    try:
        yield str(inner)
    finally:
        clear(outer)


def clear(outer: str) -> None:
    """Remove a folder with system tools, which have no depth limit; errors are ignored."""
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
    """Hide this process's environment from the code if there is no sandbox."""
    if walls.sandbox or os.geteuid() == 0:
        yield
        return
    undumpable()
    try:
        yield
    finally:
        undumpable(on=False)
