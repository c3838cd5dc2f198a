"""The process of an answer: runs its code in the sandbox and serves calls of its functions.

Started as a program by `running`. It receives the code, then the arguments of each call; the
expected values and the verdict are in another process.
"""

import sys
from types import ModuleType

from sirl.benchmarks.fence.walls import shut_in
from sirl.benchmarks.fence.wire import Wire

__all__ = ["main"]


def main(end: str, mode: str, folder: str, paths: str, readable: str) -> None:
    """Enter the sandbox, then serve calls; paths are joined by line breaks.

    Args:
        end: The file descriptor of the connection.
        mode: The kind of sandbox, see `walls`.
        folder: An empty folder, the only writable one.
        paths: Folders to import modules from.
        readable: Folders that stay visible.
    """
    module = ModuleType("answer")
    wire = Wire(int(end), module.__dict__, trusted=False)
    shut_in(mode, folder, readable.split("\n") if readable else [], int(end))
    sys.argv = ["answer.py"]
    sys.dont_write_bytecode = True
    sys.path[:] = paths.split("\n")
    sys.modules["answer"] = module
    wire.functions["load"] = lambda code: exec(compile(code, "answer.py", "exec"), module.__dict__)
    wire.send("ready")
    load(wire)
    wire.serve()


def load(wire: Wire) -> None:
    """Run the code of the first message; afterwards `load` no longer hides a name of the answer."""
    heard = wire.receive()
    wire.obey(*heard[1:])
    del wire.functions["load"]
