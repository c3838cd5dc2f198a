"""Any Python callable as the target, such as an agent, a pipeline or a client."""

import importlib
import re
import sys
import traceback
from collections.abc import Callable, Generator, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, field, replace
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from sirl.errors import ConfigError, Stopped, did_you_mean
from sirl.rollouts.arrivals import (
    HELLO,
    SHORTEST_STREAK,
    Contact,
    Lost,
    Streak,
    in_order,
    losses_apart,
)
from sirl.types import Completion, Prompt

__all__ = ["Chat", "FunctionEngine", "in_words", "load_function", "load_name"]

LONGEST_MESSAGE = 200
"""Maximum characters of an error message."""
Chat = Callable[[list[dict[str, str]]], object]
"""Takes turns of role and content, oldest first, and returns the answer as text."""


@dataclass(frozen=True)
class FunctionEngine:
    """Calls a function for each completion; satisfies `sirl.roles.StreamingEngine`.

    The seed is recorded but not passed on; reproducibility depends on the function.
    """

    function: Chat
    seed: int
    contact: Contact[Prompt] = field(default_factory=Contact, compare=False, repr=False)

    @property
    def name(self) -> str:
        """The function's name in error messages."""
        return str(getattr(self.function, "__qualname__", type(self.function).__qualname__))

    def sample(
        self, prompts: Sequence[Prompt], *, group: int = 1, step: int = 0
    ) -> list[Completion]:
        """Sample `group` completions per prompt, grouped in the order of the prompts.

        A call that raises or does not return text becomes a completion with a `fault`.

        Raises:
            OutageError: The function never answered, or stopped answering.
        """
        return in_order(self.stream(prompts, group=group, step=step))

    def stream(
        self,
        prompts: Sequence[Prompt],
        *,
        group: int = 1,
        step: int = 0,  # noqa: ARG002 - functions have no steps
        proven: bool = False,
        exact: bool = False,  # noqa: ARG002 - nor sampling settings
    ) -> Generator[list[tuple[int, Completion]], None, None]:
        """Yield the completions of `sample` with their index as they arrive.

        Raises:
            OutageError: The function never answered (`proven`: it has answered before), or stopped
                answering.
        """
        asked = [(prompt, s) for prompt in prompts for s in range(group)]
        known = proven or self.contact.answers
        unproven = SHORTEST_STREAK if known else min(SHORTEST_STREAK, len(asked))
        streak = Streak(self.contact, SHORTEST_STREAK, unproven)

        def apart(index: int, lost: Lost) -> Completion:
            prompt, s = asked[index]
            return Completion(prompt.id, (), (), "", (), (), "stop", s, self.seed, fault=lost.fault)

        yield from losses_apart(self.calls(asked, streak, proven=proven), streak, apart)

    def calls(
        self, asked: Sequence[tuple[Prompt, int]], streak: Streak, *, proven: bool
    ) -> Generator[list[tuple[int, Completion | Lost]], None, None]:
        """Yield what the calls return, until they show an outage."""
        for index, (prompt, sample) in enumerate(asked):
            if streak.outage:
                return
            found = self.called(prompt, sample)
            if isinstance(found, Completion):
                self.contact.note(prompt)
            elif proven or self.contact.answers:
                found = self.greeted(found)
            else:
                found = replace(found, about="silence")
            streak.note(found)
            yield [(index, found)]

    def greeted(self, lost: Lost) -> Lost:
        """A loss with its scope, which a greeting tells, or the prompt answered last."""
        greeting = Prompt("a greeting", HELLO)
        if self.answers(greeting):
            self.contact.note(greeting)
            self.contact.greeted = True
            return lost
        last = self.contact.proof()
        return self.contact.ungreeted(lost, again=last is not None and self.answers(last))

    def answers(self, prompt: Prompt) -> bool:
        """Whether the function answers a prompt, in as many calls as make a streak."""
        return any(isinstance(self.called(prompt, 0), Completion) for _ in range(SHORTEST_STREAK))

    def called(self, prompt: Prompt, sample: int) -> Completion | Lost:
        """The completion of one call, without tokens."""
        try:
            with redirect_stdout(sys.stderr):  # stdout is for results, as of --json
                text = self.function([asdict(message) for message in prompt.messages])
        except Stopped:
            raise
        except (Exception, SystemExit) as error:
            what = f"raised {raised(error, self.function)}"
            sentence = f"function {self.name} {what} at prompt {prompt.id}: fix it"
            return Lost(sentence, f"{type(error).__name__}: the function {what}", "request")
        if isinstance(text, str):
            return Completion(prompt.id, (), (), text, (), (), "stop", sample, self.seed)
        what = f"a value of type {type(text).__name__}"
        return Lost(
            f"function {self.name} answered prompt {prompt.id} with {what}: it must return str",
            f"not text: the function answered with {what}",
            "request",
        )


def raised(error: BaseException, function: object = None) -> str:
    """An error of the user's code on one line: type, message, file and line."""
    frames = traceback.extract_tb(error.__traceback__)[1:] or traceback.extract_tb(
        error.__traceback__
    )
    code = getattr(function, "__code__", None)
    own = [f for f in frames if code is None or f.filename == code.co_filename] or frames
    return in_words(error, own[-1].filename, own[-1].lineno)


def in_words(error: BaseException, file: str, line: int | None) -> str:
    """An error on one line: type, message, and where it was raised."""
    message = " ".join(str(error).split())[:LONGEST_MESSAGE]
    said = f": {message}" if message else ""
    return f"{type(error).__name__}{said} ({file}:{line})"


def load_function(path: str) -> Chat:
    """Import the callable at "package.module:name", which runs the module.

    Raises:
        ConfigError: There is none, or no such module.
    """
    function: Chat = load_name(path)
    if not callable(function):
        raise ConfigError(
            f"{path} is a value of type {type(function).__name__}: name a function that takes "
            "messages and returns text"
        )
    return function


def load_name(path: str) -> Any:  # noqa: ANN401 - any object
    """Import the object at "package.module:name", which runs the module.

    Raises:
        ConfigError: The path is malformed, there is no such module or name, the import raises, or
            this process has already loaded another module of that name.
    """
    if not re.fullmatch(r"\w+(\.\w+)*:\w+", path):
        raise ConfigError(f"function {path!r} is malformed: write package.module:name")
    module_name, _, name = path.partition(":")
    importlib.invalidate_caches()  # the file may be newer than the process
    check_place(module_name.partition(".")[0])
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and f"{module_name}.".startswith(f"{missing}."):
            raise ConfigError(
                f"there is no module {module_name!r}: install it, or add its folder to PYTHONPATH"
            ) from error
        raise ConfigError(f"module {module_name!r} raised {raised(error)}: fix it") from error
    if not hasattr(module, name):
        known = [n for n, value in vars(module).items() if callable(value) and n[0] != "_"]
        raise ConfigError(f"module {module_name!r} has no {name!r}. {did_you_mean(name, known)}")
    return getattr(module, name)


def check_place(name: str) -> None:
    """Check that a loaded module is the one that would be imported now.

    Raises:
        ConfigError: Another file is loaded, so the wrong function would be called.
    """
    loaded = getattr(sys.modules.get(name), "__spec__", None)
    found = PathFinder.find_spec(name) if loaded else None
    held, here = (spec.origin if spec else None for spec in (loaded, found))
    if held and here and Path(here).exists() and Path(held).resolve() != Path(here).resolve():
        raise ConfigError(
            f"module {name!r} is {here} here, but this process has loaded {held}: start a new "
            "process, or rename one of them"
        )
