"""Any Python callable as the target: an agent, a pipeline, a client of one's own."""

import importlib
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from sirl.errors import ConfigError, ModelError, did_you_mean
from sirl.types import Completion, Prompt

__all__ = ["Chat", "FunctionEngine", "load_function"]

Chat = Callable[[list[dict[str, str]]], object]
"""Takes turns of role and content, the oldest first, and returns the answer as text."""


@dataclass(frozen=True)
class FunctionEngine:
    """Asks a function; satisfies `sirl.roles.Engine`.

    The seed is noted, not handed over: whether an answer can be made again is up to the function.
    """

    function: Chat
    seed: int

    def sample(
        self,
        prompts: Sequence[Prompt],
        *,
        group: int = 1,
        step: int = 0,  # noqa: ARG002 - a function knows no steps
    ) -> list[Completion]:
        """`group` completions of each prompt, siblings adjacent, in the order of the prompts.

        Raises:
            ModelError: The function returned something else than text. What it raises itself
                comes through as it is.
        """
        return [self.completion(prompt, s) for prompt in prompts for s in range(group)]

    def completion(self, prompt: Prompt, sample: int) -> Completion:
        """One answer as a value; tokens and their numbers are unknown."""
        text = self.function([asdict(message) for message in prompt.messages])
        if not isinstance(text, str):
            name = getattr(self.function, "__qualname__", type(self.function).__qualname__)
            raise ModelError(
                f"function {name} answered prompt {prompt.id} with a value of type "
                f"{type(text).__name__}: it must return str"
            )
        return Completion(prompt.id, (), (), text, (), (), "stop", sample, self.seed)


def load_function(path: str) -> Chat:
    """The callable at "package.module:name". Importing a module runs it.

    Raises:
        ConfigError: The path is malformed, or there is no such module or callable. Errors inside
            the module come through as they are.
    """
    if not re.fullmatch(r"\w+(\.\w+)*:\w+", path):
        raise ConfigError(f"function {path!r} is malformed: write package.module:name")
    module_name, _, name = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise ConfigError(
            f"there is no module {module_name!r}: install it, or add its folder to PYTHONPATH"
        ) from error
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
