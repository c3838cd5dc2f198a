"""Short programs, run with their tests: HumanEval and MBPP.

The code is written by the model under evaluation. It runs in a separate process, in the best
sandbox of this machine (see `fence`), and cannot decide the verdict: the tests run in another
process, which calls its functions. Code is run only if the user allows it.
"""

import ast
import builtins
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sirl.benchmarks.fence.running import Job, passes
from sirl.benchmarks.reading import Tasks, Unfit, read_tasks, text_of
from sirl.types import Mark, Prompt

__all__ = ["Code", "first_block", "read_humaneval", "read_mbpp"]

COMPLETE = (
    "Complete this Python function. Answer with the whole function in one code block.\n\n"
    "```python\n{code}\n```"
)
WRITE = (
    "{task}\n\nAnswer with Python in one code block. The code has to pass these tests:\n\n"
    "```python\n{tests}\n```"
)
BLOCK = re.compile(
    r"^(?P<indent>[ \t>]*(?:(?:[-*+]|\d+[.)])[ \t]+)?)(?P<fence>```+|~~~+)[ \t]*"
    r"(?P<language>[^\s`]*)[^\n`]*\n(?P<code>.*?)(?:^[ \t>]*(?P=fence)|\Z)",
    re.DOTALL | re.MULTILINE,
)
"""A fenced code block, possibly in a list item or a quotation."""
FUTURE = re.compile(r"^from __future__ import (?:\([^)]*\)|[^\n(]*)$\n?", re.MULTILINE)
BUILT_IN = frozenset(dir(builtins))


Program = Callable[[str], Job]
"""Makes a job (program and tests) from an answer."""


@dataclass(frozen=True)
class Code:
    """An answer is correct if its code passes the tests; satisfies `sirl.roles.Benchmark`."""

    name: str
    tasks: Tasks[Program]

    def prompts(self) -> list[Prompt]:
        """The tasks."""
        return list(self.tasks.prompts)

    def correct(self, prompt: Prompt, answer: str) -> Mark:
        """Run the code block of the answer; whether it passes the tests, with the reason if not.

        Raises:
            SirlError: The sandbox does not start, or the tests cannot call the answer.
        """
        return passes(self.tasks.keys[prompt.id](answer))


def read_humaneval(path: Path, *, strict: bool = False) -> Code:
    """Read functions to complete: rows with `prompt`, `entry_point` and `test`.

    Raises:
        InputError: The file has no valid row or, when strict, an invalid one.
    """
    return Code(path.stem, read_tasks(path, parse_humaneval, strict=strict))


def read_mbpp(path: Path, *, strict: bool = False) -> Code:
    """Read functions to write: rows with `prompt` or `text`, `test_list`, optional `test_imports`.

    Raises:
        InputError: The file has no valid row or, when strict, an invalid one.
    """
    return Code(path.stem, read_tasks(path, parse_mbpp, strict=strict))


def parse_humaneval(fields: Mapping[str, Any]) -> tuple[str, Program]:
    """A function to complete; the answer may be the whole function or a continuation."""
    head, name, test = (text_of(fields, key) for key in ("prompt", "entry_point", "test"))
    start = re.search(rf"^def {re.escape(name)}\b", head, re.MULTILINE)
    if start is None:
        raise Unfit("prompt does not define the function that entry_point names")
    above = head[: start.start()]  # imports and helpers
    tests = f"{test}\n\ncheck({name})\n"
    parsed(above, "prompt, above the function,")
    names = free_names(parsed(tests, "test"))

    def program(answer: str) -> Job:
        code = first_block(answer, (name,))
        whole = re.search(rf"^def {re.escape(name)}\b", code, re.MULTILINE)
        future = "".join(FUTURE.findall(code))  # these must come first
        program = f"{future}{above if whole else head}{FUTURE.sub('', code)}\n"
        return Job(program, above, tests, names, (name,))

    return COMPLETE.format(code=head.strip()), program


def parse_mbpp(fields: Mapping[str, Any]) -> tuple[str, Program]:
    """A function to write; the prompt shows the tests, since only they contain its name."""
    task = text_of(fields, "prompt" if "prompt" in fields else "text")
    tests = texts(fields, "test_list")
    if not tests:
        raise Unfit("test_list is empty")
    imports = "\n".join(texts(fields, "test_imports"))
    setup = fields.get("test_setup_code") or ""
    if not isinstance(setup, str):
        raise Unfit("test_setup_code is not text")
    head = f"{imports}\n{setup}\n"
    if foreign := free_names(parsed(head, "test_setup_code")):
        raise Unfit(f"test_setup_code takes {foreign[0]!r} from the answer, before the tests")
    tree = parsed("\n".join(tests), "test_list")
    names = free_names(tree)
    asked = () if set(names) - defined(parsed(head, "test_setup_code")) else called(tree)

    def program(answer: str) -> Job:
        code = first_block(answer, (*asked, *names))
        return Job(f"{code}\n{imports}\n", head, "\n".join(tests), names, asked)

    return WRITE.format(task=task.strip(), tests="\n".join(tests)), program


def parsed(code: str, what: str) -> ast.Module:
    """The syntax tree of a benchmark's code.

    Raises:
        Unfit: It is not valid Python.
    """
    try:
        return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError) as fault:
        raise Unfit(f"{what} is not valid Python: {fault}") from fault


def free_names(tree: ast.Module) -> tuple[str, ...]:
    """Names that code reads without binding them, built-in names excepted."""
    read = (n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and type(n.ctx) is ast.Load)
    return tuple(sorted(set(read) - defined(tree) - BUILT_IN))


def defined(tree: ast.Module) -> set[str]:
    """Names that code binds in any scope."""
    names: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                names.add(name)
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.ExceptHandler(name=str(name)):
                names.add(name)
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                names |= {(a.asname or a.name).partition(".")[0] for a in aliases}
    return names


def called(tree: ast.Module) -> tuple[str, ...]:
    """The first name that code calls: the function to write if it has the name of a built-in one.

    >>> called(ast.parse("assert sum(10, 15) == 6"))
    ('sum',)
    """
    found: Sequence[ast.expr] = [n.func for n in ast.walk(tree) if isinstance(n, ast.Call)]
    return tuple(f.id for f in found if isinstance(f, ast.Name))[:1]


def texts(fields: Mapping[str, Any], key: str) -> list[str]:
    """A list of lines of code; empty if missing."""
    found = fields.get(key) or []
    if not isinstance(found, list) or not all(isinstance(line, str) for line in found):
        raise Unfit(f"{key} is not a list of texts")
    return found


def first_block(answer: str, names: Sequence[str] = ()) -> str:
    r"""The first fenced Python block, up to its closing fence or the end; else the whole answer.

    Blocks that define one of the names have priority; blocks in other languages come last.

    >>> first_block("Sure:\n```python\nx = 1\n```\nThen ```y```.")
    'x = 1\n'
    >>> first_block("1. Do\n   ```sh\n   ls\n   ```\n2. Write\n   ```py\n   y = 2\n   ```")
    'y = 2\n'
    """
    blocks = list(BLOCK.finditer(answer))
    python = [b for b in blocks if not b["language"] or "py" in b["language"].casefold()]
    codes = [inside(block) for block in python or blocks]
    wanted = "|".join(map(re.escape, names))
    defines = re.compile(
        rf"^(?:(?:async )?def|class) (?:{wanted})\b|^(?:{wanted}) *=", re.MULTILINE
    )
    whole = [code for code in codes if names and defines.search(code)]
    return next(iter([*whole, *codes]), answer)


def inside(block: re.Match[str]) -> str:
    """The code of a block without the quotation marks and indentation of its fence."""
    width = len(block["indent"])
    lines = block["code"].splitlines(keepends=True)
    if ">" in block["indent"]:
        lines = [re.sub(r"^[ \t]*>[ \t]?", "", line) for line in lines]
        width -= block["indent"].index(">") + 2
    return "".join(re.sub(rf"^[ \t]{{0,{max(width, 0)}}}", "", line) for line in lines)
