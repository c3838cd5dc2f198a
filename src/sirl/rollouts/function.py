"""Any Python callable as the target: an agent, a pipeline, a client of one's own."""

import importlib
import re
import sys
import traceback
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict, dataclass, field
from importlib.machinery import PathFinder
from pathlib import Path

from sirl.errors import ConfigError, Stopped, did_you_mean
from sirl.rollouts.arrivals import Contact, Lost, in_order, losses_apart
from sirl.types import Completion, Prompt

__all__ = ["Chat", "FunctionEngine", "load_function"]

LONGEST_MESSAGE = 200
"""Characters of an error's own words."""
Chat = Callable[[list[dict[str, str]]], object]
"""Takes turns of role and content, the oldest first, and returns the answer as text."""


@dataclass(frozen=True)
class FunctionEngine:
    """Asks a function; satisfies `sirl.roles.StreamingEngine`.

    The seed is noted, not handed over: whether an answer can be made again is up to the function.
    """

    function: Chat
    seed: int
    contact: Contact = field(default_factory=Contact, compare=False, repr=False)

    @property
    def name(self) -> str:
        """What errors call the function."""
        return str(getattr(self.function, "__qualname__", type(self.function).__qualname__))

    def sample(
        self, prompts: Sequence[Prompt], *, group: int = 1, step: int = 0
    ) -> list[Completion]:
        """`group` completions of each prompt, siblings adjacent, in the order of the prompts.

        A call that raised, or returned something else than text, is a completion with a `fault`.

        Raises:
            ModelError: The function never answered.
        """
        return in_order(self.stream(prompts, group=group, step=step))

    def stream(
        self,
        prompts: Sequence[Prompt],
        *,
        group: int = 1,
        step: int = 0,  # noqa: ARG002 - a function knows no steps
        proven: bool = False,
        exact: bool = False,  # noqa: ARG002 - nor samplings
    ) -> Generator[list[tuple[int, Completion]], None, None]:
        """The completions of `sample` by their index, as they come.

        Raises:
            ModelError: The function never answered; `proven` says that it has answered before.
        """
        asked = [(prompt, s) for prompt in prompts for s in range(group)]
        self.contact.proven = self.contact.proven or proven

        def apart(index: int, lost: Lost) -> Completion:
            prompt, s = asked[index]
            return Completion(prompt.id, (), (), "", (), (), "stop", s, self.seed, fault=lost.fault)

        come = ([(i, self.called(prompt, s))] for i, (prompt, s) in enumerate(asked))
        yield from losses_apart(come, self.contact, (1, len(asked)), apart)

    def called(self, prompt: Prompt, sample: int) -> Completion | Lost:
        """One answer as a value; tokens and their numbers are unknown."""
        try:
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
    """An error of somebody's code on one line: type, message, and the place in that code."""
    frames = traceback.extract_tb(error.__traceback__)[1:] or traceback.extract_tb(
        error.__traceback__
    )
    code = getattr(function, "__code__", None)
    own = [f for f in frames if code is None or f.filename == code.co_filename] or frames
    message = " ".join(str(error).split())[:LONGEST_MESSAGE]
    said = f": {message}" if message else ""
    return f"{type(error).__name__}{said} ({own[-1].filename}:{own[-1].lineno})"


def load_function(path: str) -> Chat:
    """The callable at "package.module:name". Importing a module runs it.

    Raises:
        ConfigError: The path is malformed, there is no such module or callable, the module raises
            when it is imported, or this process holds another module of that name.
    """
    if not re.fullmatch(r"\w+(\.\w+)*:\w+", path):
        raise ConfigError(f"function {path!r} is malformed: write package.module:name")
    module_name, _, name = path.partition(":")
    importlib.invalidate_caches()  # the file may be younger than the process
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
    function: Chat = getattr(module, name)
    if not callable(function):
        raise ConfigError(
            f"{path} is a value of type {type(function).__name__}: name a function that takes "
            "messages and returns text"
        )
    return function


def check_place(name: str) -> None:
    """Refuse a module that is loaded from elsewhere than it is found now, in another folder.

    Raises:
        ConfigError: Python would hand out the module that it holds, and a wrong function be asked.
    """
    loaded = getattr(sys.modules.get(name), "__spec__", None)
    found = PathFinder.find_spec(name) if loaded else None
    held, here = (spec.origin if spec else None for spec in (loaded, found))
    if held and here and Path(here).exists() and Path(held).resolve() != Path(here).resolve():
        raise ConfigError(
            f"module {name!r} is {here} here, but this process has loaded {held}: start a new "
            "process, or rename one of them"
        )
