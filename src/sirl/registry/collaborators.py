"""Rewards, observers and example sources of training, by name.

Each is a member of its family here, the entry point of an installed package, or
`python:MODULE:FUNCTION` in the user's own file. Of observers and sources the function is called
once, before training, and gives back the object.
"""

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from sirl.config import TrainingSettings
from sirl.errors import ConfigError, unknown_name
from sirl.registry.targets import FUNCTION, in_present_folder
from sirl.roles import ExampleSource, Observer, Reward

if TYPE_CHECKING:
    from sirl.models.chat import ChatModel

__all__ = ["example_sources", "observers", "require_collaborators", "reward_named"]

OBSERVERS: Mapping[str, Callable[[], Observer]] = {}
SOURCES: "Mapping[str, Callable[[ChatModel], ExampleSource]]" = {}


def require_collaborators(config: TrainingSettings) -> None:
    """See that the reward and the sources are there, before anything is loaded or written.

    Raises:
        ConfigError: Something is not.
    """
    reward_named(config.reward)
    for name in names_in(config.sources):
        member("source", name, SOURCES)


def reward_named(name: str) -> Reward:
    """The reward of a configuration.

    Raises:
        ConfigError: There is none of that name, or it is none.
    """
    from sirl.rewards import REWARDS

    found: Reward = member("reward", name, REWARDS)
    return found


def observers(config: TrainingSettings) -> dict[str, Observer]:
    """The observers that a configuration adds, by name.

    Raises:
        ConfigError: There is none of that name, or it is none.
    """
    return {
        name: checked("observer", name, member("observer", name, OBSERVERS)(), Observer)
        for name in names_in(config.observers)
    }


def example_sources(config: TrainingSettings, chat: "ChatModel") -> tuple[ExampleSource, ...]:
    """The sources of examples that a configuration adds.

    Raises:
        ConfigError: There is none of that name, or it is none.
    """
    return tuple(
        checked("source", name, member("source", name, SOURCES)(chat), ExampleSource)
        for name in names_in(config.sources)
    )


def names_in(text: str | None) -> list[str]:
    """Names joined by commas."""
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def member(kind: str, name: str, known: Mapping[str, Any]) -> Any:  # noqa: ANN401 - of any family
    """A member of a family by name: ours, an installed package's, or a function of the user's.

    Raises:
        ConfigError: There is none of that name.
    """
    from sirl.rollouts.function import load_function

    if name.startswith(FUNCTION):
        in_present_folder()
        return load_function(name.removeprefix(FUNCTION))
    plugins = {p.name: p for p in entry_points(group=f"sirl.{kind}s")}
    if name not in known and name not in plugins:
        raise unknown_name(kind, name, [*known, *plugins])
    return known[name] if name in known else plugins[name].load()


def checked(kind: str, name: str, made: Any, role: Any) -> Any:  # noqa: ANN401 - of any family
    """What a plug-in has made, if it has the methods of its role."""
    if not isinstance(made, role):
        raise ConfigError(
            f"the {kind} {name} is a {type(made).__name__} and lacks methods of "
            f"sirl.roles.{role.__name__}: inherit from it"
        )
    return made
