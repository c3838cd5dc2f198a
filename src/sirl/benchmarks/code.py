"""Little programs, run with their tests: HumanEval and MBPP.

What runs here was written by the model under evaluation. `run` is a fence against accidents, such
as an endless loop, a full disk or memory: a process of its own with limits, no environment, an
empty folder, and an end. It is no sandbox: a program that means harm can read what the user may
read, and reach the network. Nothing is run unless the user says so.
"""

import contextlib
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sirl.benchmarks import fence
from sirl.benchmarks.reading import Tasks, Unfit, read_tasks, text_of
from sirl.types import Prompt

__all__ = ["Code", "first_block", "passes", "read_humaneval", "read_mbpp"]

COMPLETE = (
    "Complete this Python function. Answer with the whole function in one code block.\n\n"
    "```python\n{code}\n```"
)
WRITE = (
    "{task}\n\nAnswer with Python in one code block. The code has to pass these tests:\n\n"
    "```python\n{tests}\n```"
)
BLOCK = re.compile(r"^[ \t]*```[^\n`]*\n(.*?)(?:^[ \t]*```|\Z)", re.DOTALL | re.MULTILINE)
SECONDS = 2.0 * fence.CPU_SECONDS
"""Longest time of one program by the clock; a machine may be busy."""


Program = Callable[[str], str]
"""The program that tests the code of an answer."""


@dataclass(frozen=True)
class Code:
    """Right is an answer whose code passes the tests; satisfies `sirl.roles.Benchmark`."""

    name: str
    tasks: Tasks[Program]

    def prompts(self) -> list[Prompt]:
        """The tasks."""
        return list(self.tasks.prompts)

    def correct(self, prompt: Prompt, answer: str) -> bool:
        """Whether the first code block of the answer passes; the code is run."""
        return passes(self.tasks.keys[prompt.id](first_block(answer)))


def read_humaneval(path: Path, *, strict: bool = False) -> Code:
    """Functions to complete: rows of `prompt`, `entry_point` and `test`.

    Raises:
        InputError: The file holds no usable row or, when strict, an unusable one.
    """
    return Code(path.stem, read_tasks(path, parse_humaneval, strict=strict))


def read_mbpp(path: Path, *, strict: bool = False) -> Code:
    """Functions to write: rows of `prompt` (or `text`), `test_list`, perhaps `test_imports`.

    Raises:
        InputError: The file holds no usable row or, when strict, an unusable one.
    """
    return Code(path.stem, read_tasks(path, parse_mbpp, strict=strict))


def parse_humaneval(fields: Mapping[str, Any]) -> tuple[str, Program]:
    """A function to complete. An answer may be all of it, or go on where the prompt ends."""
    head, name, test = (text_of(fields, key) for key in ("prompt", "entry_point", "test"))
    start = re.search(rf"^def {re.escape(name)}\b", head, re.MULTILINE)
    if start is None:
        raise Unfit("prompt does not define the function that entry_point names")
    above = head[: start.start()]  # imports and helpers

    def program(code: str) -> str:
        whole = re.search(rf"^def {re.escape(name)}\b", code, re.MULTILINE)
        return f"{above if whole else head}{code}\n\n{test}\n\ncheck({name})\n"

    return COMPLETE.format(code=head.strip()), program


def parse_mbpp(fields: Mapping[str, Any]) -> tuple[str, Program]:
    """A function to write; the tests are shown, for they alone tell its name."""
    task = text_of(fields, "prompt" if "prompt" in fields else "text")
    tests = texts(fields, "test_list")
    if not tests:
        raise Unfit("test_list is empty")
    imports = texts(fields, "test_imports")

    def program(code: str) -> str:
        return "\n".join([code, *imports, *tests, ""])

    return WRITE.format(task=task.strip(), tests="\n".join(tests)), program


def texts(fields: Mapping[str, Any], key: str) -> list[str]:
    """A list of lines of code; empty where there is none."""
    found = fields.get(key) or []
    if not isinstance(found, list) or not all(isinstance(line, str) for line in found):
        raise Unfit(f"{key} is no list of texts")
    return found


def first_block(answer: str) -> str:
    r"""The first fenced code block, to its fence or the end; the whole answer where there is none.

    >>> first_block("Sure:\n```python\nx = 1\n```\nThen ```y```.")
    'x = 1\n'
    """
    found = BLOCK.search(answer)
    return found[1] if found else answer


def passes(program: str, seconds: float = SECONDS) -> bool:
    """Whether a program runs to its end, without an error, inside the fence.

    Its process and those that it leaves behind are killed, unless they have left its group.
    """
    word = secrets.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="sirl-code-") as folder:
        file, printed = Path(folder, "program.py"), Path(folder, "printed")
        file.write_bytes(program.encode("utf-8", "replace"))
        with printed.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-I", "-B", fence.__file__, file.name, word],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.DEVNULL,
                cwd=folder,
                env={},
                start_new_session=True,
            )
            ended = wait(process, seconds)
        said = printed.read_bytes() if printed.is_file() else b""
    return ended and process.returncode == 0 and said.endswith(f"\n{word}\n".encode())


def wait(process: "subprocess.Popen[bytes]", seconds: float) -> bool:
    """Whether a process ends in time; whatever is left of its group is killed."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        ended = False
    else:
        ended = True
    finally:
        with contextlib.suppress(ProcessLookupError):  # nothing of it is left
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return ended
