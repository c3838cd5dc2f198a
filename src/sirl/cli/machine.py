"""Free memory and disk of this machine.

Without psutil, which the bare install lacks and which knows no limits of a control group.
"""

import shutil
from pathlib import Path

__all__ = ["free_disk", "free_memory"]

MEMINFO = Path("/proc/meminfo")
GROUP = Path("/sys/fs/cgroup")


def free_memory(meminfo: Path = MEMINFO, group: Path = GROUP) -> int | None:
    """Free memory in bytes, within the cgroup limit; None if unknown."""
    try:
        lines = dict(line.split(":", 1) for line in meminfo.read_text("utf-8").splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, ValueError, KeyError):
        return None
    try:
        limit = int((group / "memory.max").read_text("utf-8"))
        used = int((group / "memory.current").read_text("utf-8"))
    except (OSError, ValueError):  # "max", or no control group
        return free
    return max(0, min(free, limit - used))


def free_disk(folder: Path) -> int:
    """Free bytes on the disk of a folder that may not exist yet."""
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    return shutil.disk_usage(there).free
