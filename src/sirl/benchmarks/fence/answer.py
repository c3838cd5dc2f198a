"""The process that holds an answer: runs its code behind the walls and obeys calls of it.

Started by `running`, as a program. It gets the code and then the arguments of calls, one after
the other; the expected values and the verdict are in another process.
"""

import sys
from types import ModuleType

from sirl.benchmarks.fence.walls import shut_in
from sirl.benchmarks.fence.wire import Wire

__all__ = ["main"]


def main(end: str, mode: str, folder: str, paths: str, readable: str) -> None:
    """Shut this process in, then serve; paths are joined by line breaks.

    Args:
        end: The file descriptor of the line.
        mode: How it is shut in, see `walls`.
        folder: An empty folder, the only one to write to.
        paths: Where modules are found.
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
    """Run the code that is sent first; its own names may hide none of ours afterwards."""
    heard = wire.receive()
    wire.obey(*heard[1:])
    del wire.functions["load"]
