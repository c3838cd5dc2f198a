"""Runs one Python file under limits; started as a program of its own, never imported for its work.

    python -I fence.py FILE WORD

The limits are hard ones and stand before the file is touched. WORD goes to the standard output
only when the file has run to its end, so that one that leaves early has not passed.
"""

import resource
import runpy
import sys

__all__ = ["CPU_SECONDS", "LIMITS", "MEMORY", "WRITTEN"]

CPU_SECONDS = 10
MEMORY = 1 << 30
"""Bytes of address space."""
WRITTEN = 1 << 20
"""Bytes of the longest file, and of what is printed."""
LIMITS = {
    resource.RLIMIT_CPU: CPU_SECONDS,
    resource.RLIMIT_AS: MEMORY,
    resource.RLIMIT_FSIZE: WRITTEN,
    resource.RLIMIT_NPROC: 0,  # no further process; the kernel lets root have them all the same
    resource.RLIMIT_CORE: 0,
}

if __name__ == "__main__":
    file, word = sys.argv[1:]
    sys.argv = [file]
    for limit, most in LIMITS.items():
        resource.setrlimit(limit, (most, most))
    runpy.run_path(file)
    sys.stdout.write(f"\n{word}\n")
