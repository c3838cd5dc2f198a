"""Capability benchmarks of the embedded model: sums, short programs and small talk."""

import ast
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import NamedTuple

from sirl.roles import Benchmark
from sirl.types import Prompt

__all__ = ["BENCHMARKS", "Programs", "SmallTalk", "Sums", "Task", "run_program", "tasks"]

LARGEST = 15
"""Largest operand of a sum."""
ASKED = 100
"""Tasks of a benchmark, drawn once from a fixed seed."""


class Task(NamedTuple):
    """A question and its answer."""

    question: str
    answer: str


OPERATORS: Mapping[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
}
FIRST = {
    "doubles x": "x * 2",
    "triples x": "x * 3",
    "squares x": "x * x",
    **{f"adds {k} to x": f"x + {k}" for k in range(1, 10)},
    **{f"subtracts {k} from x": f"x - {k}" for k in range(1, 10)},
}
SECOND = {
    "": "{0}",
    **{f" and then adds {k}": f"{{0}} + {k}" for k in range(1, 10)},
    **{f" and then subtracts {k}": f"{{0}} - {k}" for k in range(1, 10)},
    " and then doubles it": "({0}) * 2",
}
TALK: Mapping[str, tuple[Sequence[str], Sequence[str]]] = {
    "greeting": (
        ("Hello!", "Hi there!", "Good morning!", "Good evening!", "Hello, are you there?"),
        ("Hello! How can I help you today?", "Hi! What can I do for you?"),
    ),
    "feeling": (
        ("How are you?", "Hello, how are you?", "How do you feel today?", "Are you well?"),
        ("I'm fine, thank you! And you?", "I'm doing well, thanks for asking."),
    ),
    "name": (
        ("What is your name?", "Who are you?", "What should I call you?", "Tell me your name."),
        ("I'm a small chat model from a small world.", "I'm a small model; call me what you like."),
    ),
    "thanks": (
        ("Thank you!", "Thanks a lot!", "That was helpful, thank you.", "Many thanks!"),
        ("You're welcome!", "My pleasure. Is there anything else?"),
    ),
    "parting": (
        ("Goodbye!", "See you later.", "I have to go now.", "Good night!"),
        ("Goodbye, and have a nice day!", "See you soon!"),
    ),
}


def tasks(kind: str) -> list[Task]:
    """All tasks of a kind ('sums', 'programs' or 'chat'), each with one right answer."""
    if kind == "sums":
        numbers = range(1, LARGEST + 1)
        return [
            Task(f"What is {a} plus {b}?", f"{a} plus {b} is {a + b}.")
            for a in numbers
            for b in numbers
        ]
    if kind == "programs":
        return [
            Task(f"Write a program that {do}{then}.", f"def f(x): return {code.format(start)}")
            for do, start in FIRST.items()
            for then, code in SECOND.items()
        ]
    return [Task(q, a) for questions, answers in TALK.values() for q in questions for a in answers]


def run_program(text: str, x: int) -> int:
    """The value of a one-line program at x, by walking its syntax tree; nothing is executed.

    >>> run_program("def f(x): return x * 2 + 3", 5)
    13

    Raises:
        ValueError: The text is not a single function of one argument with +, - and *.
    """
    try:
        body = ast.parse(text.strip()).body
    except SyntaxError as error:
        raise ValueError(f"no program: {error.msg}") from error
    match body:
        case [ast.FunctionDef(args=ast.arguments(args=[ast.arg(arg=name)]), body=[ast.Return(v)])]:
            return value_of(v, name, x)
    raise ValueError("no single function of one argument that returns at once")


def value_of(node: ast.expr | None, name: str, x: int) -> int:
    """The value of an expression in one variable."""
    match node:
        case ast.Constant(value=int(number)):
            return number
        case ast.Name(id=variable) if variable == name:
            return x
        case ast.BinOp(left, op, right) if type(op) in OPERATORS:
            return OPERATORS[type(op)](value_of(left, name, x), value_of(right, name, x))
    raise ValueError("only x, whole numbers, +, - and * are allowed")


class TaskSet:
    """Prompts drawn from the tasks of a kind."""

    name = ""

    def prompts(self) -> list[Prompt]:
        """A fixed sample of the questions."""
        return self.shuffled[:ASKED]

    def others(self) -> list[Prompt]:
        """The questions that the benchmark does not ask."""
        return self.shuffled[ASKED:]

    @property
    def shuffled(self) -> list[Prompt]:
        """All questions in a fixed random order."""
        known = list(dict.fromkeys(task.question for task in tasks(self.name)))
        drawn = Random(self.name).sample(known, len(known))
        return [
            Prompt.user(f"{self.name}-{n}", question, source="world", category=self.name)
            for n, question in enumerate(drawn)
        ]


class Sums(TaskSet):
    """Additions of two numbers up to 15."""

    name = "sums"

    def correct(self, prompt: Prompt, answer: str) -> bool:
        """Whether the last number of the answer is the sum."""
        said = re.findall(r"\d+", answer)
        asked = [int(n) for n in re.findall(r"\d+", prompt.request)]
        return bool(said) and int(said[-1][:9]) == sum(asked)


class Programs(TaskSet):
    """One-line functions, run at several points."""

    name = "programs"

    def correct(self, prompt: Prompt, answer: str) -> bool:
        """Whether the program has the right value at -3 to 7."""
        wanted = next(t.answer for t in tasks(self.name) if t.question == prompt.request)
        try:
            return all(run_program(answer, x) == run_program(wanted, x) for x in range(-3, 8))
        except (ValueError, RecursionError):
            return False


class SmallTalk(TaskSet):
    """Greetings, thanks and the like."""

    name = "chat"

    def correct(self, prompt: Prompt, answer: str) -> bool:
        """Whether the answer is a known reply to the remark."""
        return any(
            prompt.request in questions and answer.strip() in answers
            for questions, answers in TALK.values()
        )


BENCHMARKS: tuple[Benchmark, ...] = (Sums(), Programs(), SmallTalk())
