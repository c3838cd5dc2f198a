"""The sandbox of a process: kernel namespaces if available, and always resource limits.

`namespaces`: no network, no other processes, only the files of Python and /usr, read-only, and a
small tmpfs to write to. `limits`: no privileges, but the user's files and network are accessible.
Both forbid child processes and limit time and memory. There are few imports, because this module
is loaded for every answer.
"""

import ctypes
import os
import resource
import signal
import sys
from types import FrameType

__all__ = ["CPU_SECONDS", "DISK_BYTES", "LIMITS", "TIMED_OUT", "limit", "shut_in", "undumpable"]

CPU_SECONDS = 10
MEMORY = 1 << 30
"""Bytes of address space."""
WRITTEN = 1 << 20
"""Maximum bytes of a file."""
LIMITS = {
    resource.RLIMIT_CPU: CPU_SECONDS,
    resource.RLIMIT_AS: MEMORY,
    resource.RLIMIT_FSIZE: WRITTEN,
    resource.RLIMIT_NPROC: 0,  # no child processes; the kernel does not limit root
    resource.RLIMIT_CORE: 0,
    resource.RLIMIT_NOFILE: 64,  # open memfds do not count as address space
}
TIMED_OUT = 124
"""Exit status of a process whose child exceeded its CPU limit."""
NOBODY = 65534
DISK_BYTES = 16 << 20
DISK = f"size={DISK_BYTES},nr_inodes=8k,mode=755"
DEVICES = ("null", "zero", "random", "urandom")

# Constants from <linux/sched.h>, <linux/mount.h>, <linux/prctl.h> and <linux/capability.h>.
NEW_MOUNTS, NEW_NAMES, NEW_IPC = 0x20000, 0x4000000, 0x8000000
NEW_USER, NEW_PIDS, NEW_NET = 0x10000000, 0x20000000, 0x40000000
SPACES = NEW_MOUNTS | NEW_NAMES | NEW_IPC | NEW_PIDS | NEW_NET
NO_SETUID, NO_DEVICES, BIND, RECURSIVE, PRIVATE = 2, 4, 4096, 16384, 1 << 18
DETACH = 2
SET_ATTRIBUTES, RECURSIVELY, READ_ONLY = 442, 0x8000, 1
PARENT_DEATH, DUMPABLE, SUBREAPER, NO_NEW_PRIVILEGES = 1, 4, 36, 38
CAPABILITIES = 0x20080522
FILTER_CALLS, LOAD, EQUAL, AT_LEAST, RETURN = 22, 0x20, 0x15, 0x35, 0x06
ALLOW, DENY, OTHER_NUMBERS = 0x7FFF0000, 0x50001, 0x40000000
MOUNTING = (428, 429, 430, 431, 432)
FORBIDDEN = {
    "x86_64": (0xC000003E, (29, 64, 68, 165, 272, *MOUNTING)),
    "aarch64": (0xC00000B7, (194, 190, 186, 40, 97, *MOUNTING)),
}
"""By machine: its audit architecture and the system call numbers of shmget, semget, msgget, mount,
unshare and similar ones, whose kernel memory no process limit counts."""


def shut_in(mode: str, folder: str, readable: list[str], end: int) -> None:
    """Continue in a sandboxed child; the calling process waits for it and never returns.

    Args:
        mode: `namespaces`, `limits`, or `bubblewrap` if that has made the namespaces.
        folder: An empty folder: the new root, or the only writable folder.
        readable: Paths that stay visible in `namespaces`, read-only.
        end: A file descriptor that only the child keeps.

    Raises:
        OSError: The kernel does not allow namespaces.
    """
    drops = os.geteuid() == 0
    if mode == "namespaces":
        drops = own_spaces() and drops
        own_files(folder, readable)
    else:
        control(SUBREAPER, 1)
        drops = drops and mode == "limits" and nobody_may_read()
        if drops:
            os.chown(folder, NOBODY, NOBODY)
    wait_for_child(end)
    if mode == "namespaces":
        control(PARENT_DEATH, signal.SIGKILL)
        wait_for_child(end)
    os.setsid()
    os.chdir("/tmp" if mode == "namespaces" else folder)
    without_privileges(as_nobody=drops)
    limit()
    forbid()


def wait_for_child(end: int) -> None:
    """Fork: the child returns; the parent waits for it, kills remaining children, and exits."""
    child = os.fork()
    if child == 0:
        return
    os.close(end)
    signal.signal(signal.SIGTERM, leave)
    status = 0
    try:
        _, status = os.waitpid(child, 0)
    finally:
        kill_children()
        code = os.waitstatus_to_exitcode(status)
        os._exit(TIMED_OUT if code in (-signal.SIGXCPU, TIMED_OUT) else 0)


def leave(_number: int, _frame: FrameType | None) -> None:
    """The SIGTERM handler of a waiting process."""
    raise SystemExit


def kill_children() -> None:
    """Kill every child, and orphaned descendants that are reparented to this process."""
    try:
        while children := listed_children():
            for pid in children:
                os.kill(pid, signal.SIGKILL)
            for _ in children:
                os.waitpid(-1, 0)
    except OSError:  # no children, or no list of them
        return


def listed_children() -> list[int]:
    """The children of this process, from /proc."""
    with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as listed:
        return [int(pid) for pid in listed.read().split()]


def own_spaces() -> bool:
    """Enter new namespaces; whether as root, without a user namespace."""
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0 and library().unshare(SPACES) == 0:
        return True
    done(library().unshare(SPACES | NEW_USER))
    write("/proc/self/setgroups", "deny")
    write("/proc/self/uid_map", f"{uid} {uid} 1")
    write("/proc/self/gid_map", f"{gid} {gid} 1")
    return False


def own_files(root: str, readable: list[str]) -> None:
    """Make a small tmpfs the root, with the readable paths bound into it."""
    os.umask(0o022)
    mount("none", "/", "", RECURSIVE | PRIVATE)
    mount("tmpfs", root, "tmpfs", NO_SETUID | NO_DEVICES, DISK)
    for path in readable:
        if os.path.islink(path):
            os.symlink(os.readlink(path), root + path)
        else:
            bind(path, root + path)
            read_only(root + path)
    for name in DEVICES:
        bind(f"/dev/{name}", f"{root}/dev/{name}")
    os.makedirs(f"{root}/tmp", exist_ok=True)
    os.chmod(f"{root}/tmp", 0o1777)
    os.chdir(root)
    done(library().pivot_root(b".", b"."))
    done(library().umount2(b".", DETACH))
    os.chdir("/")


def write(path: str, text: str) -> None:
    """Write a file in one go."""
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def bind(path: str, target: str) -> None:
    """Bind-mount a file or folder."""
    is_folder = os.path.isdir(path)
    os.makedirs(target if is_folder else os.path.dirname(target), exist_ok=True)
    if not is_folder:
        write(target, "")
    mount(path, target, "", BIND | RECURSIVE)


def read_only(target: str) -> None:
    """Make a mount and its submounts read-only."""
    attributes = (ctypes.c_uint64 * 4)(READ_ONLY | NO_SETUID | NO_DEVICES, 0, 0, 0)
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    path = target.encode()
    done(library().syscall(SET_ATTRIBUTES, -100, path, RECURSIVELY, attributes, size))


def nobody_may_read() -> bool:
    """Whether the user nobody may read the modules of this Python."""
    os.seteuid(NOBODY)
    try:
        os.listdir(os.path.dirname(os.__file__))
        os.stat(sys.executable)
    except PermissionError:
        return False
    finally:
        os.seteuid(0)
    return True


def without_privileges(*, as_nobody: bool) -> None:
    """Drop every privilege permanently."""
    if as_nobody:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    control(NO_NEW_PRIVILEGES, 1)
    if sys.platform == "linux":
        head = (ctypes.c_uint32 * 2)(CAPABILITIES, 0)
        done(library().capset(head, (ctypes.c_uint32 * 6)()))


def limit(*, checker: bool = False) -> None:
    """Set hard limits; the checker may have twice the memory, and child processes."""
    for kind, most in LIMITS.items():
        if checker and kind == resource.RLIMIT_NPROC:
            continue
        most = 2 * most if checker and kind == resource.RLIMIT_AS else most  # noqa: PLW2901
        grace = int(
            kind == resource.RLIMIT_CPU
        )  # the soft limit sends SIGXCPU, the hard one SIGKILL
        resource.setrlimit(kind, (most, most + grace))


def forbid() -> None:
    """Deny system calls that allocate memory outside the limits, on known machines."""
    machine = os.uname().machine if sys.platform == "linux" and sys.maxsize > 1 << 32 else ""
    if machine not in FORBIDDEN:
        return
    mark, calls = FORBIDDEN[machine]
    steps = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, mark), (RETURN, 0, 0, DENY), (LOAD, 0, 0, 0)]
    for how, number in ((AT_LEAST, OTHER_NUMBERS), *((EQUAL, call) for call in calls)):
        steps += [(how, 0, 1, number), (RETURN, 0, 0, DENY)]
    steps.append((RETURN, 0, 0, ALLOW))
    body = b"".join(
        code.to_bytes(2, sys.byteorder) + bytes(jumps) + value.to_bytes(4, sys.byteorder)
        for code, *jumps, value in steps
    )
    kept = ctypes.create_string_buffer(body, len(body))
    program = (ctypes.c_size_t * 2)(len(steps), ctypes.addressof(kept))
    done(library().prctl(FILTER_CALLS, 2, program, 0, 0))


def undumpable(*, on: bool = True) -> None:
    """Hide memory and environment of this process from others of the same user."""
    control(DUMPABLE, int(not on))


def control(option: int, value: int) -> None:
    """Call prctl; does nothing outside Linux."""
    if sys.platform == "linux":
        done(library().prctl(option, value, 0, 0, 0))


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    """The system call mount."""
    texts = [text.encode() for text in (source, target, kind)]
    done(library().mount(*texts, ctypes.c_ulong(flags), data.encode()))


def library() -> ctypes.CDLL:
    """The C library."""
    return ctypes.CDLL(None, use_errno=True)


def done(result: int) -> None:
    """Raise OSError if a system call failed."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
