"""Rewards, observers and example sources of training, by name.

Each is built in, the entry point of an installed package, or
`python:MODULE:NAME` in the user's file: an object, or a class or function that is called once,
before training, and returns the object. Sources are given the model.
"""

from contextlib import suppress
from inspect import signature
from typing import TYPE_CHECKING

from sirl.config import TrainingSettings
from sirl.errors import ConfigError, first_line
from sirl.registry.plugins import FORM, from_plugin, member, names_in
from sirl.roles import ExampleSource, Observer, Reward

if TYPE_CHECKING:
    from sirl.models.chat import ChatModel

__all__ = ["example_sources", "observers", "require_collaborators", "reward_named"]


def require_collaborators(config: TrainingSettings) -> None:
    """Check that the reward and the sources exist, before anything is loaded or written.

    Raises:
        ConfigError: One does not exist.
    """
    reward_named(config.reward)
    for name in names_in(config.sources):
        member("source", name)


def reward_named(name: str) -> Reward:
    """The reward of a configuration.

    Raises:
        ConfigError: The name is unknown, or the object has the wrong type.
    """
    from sirl.rewards import REWARDS

    found: Reward = from_plugin("reward", name, member("reward", name, REWARDS), Reward)
    try:
        with suppress(ValueError):  # some functions of C do not tell their arguments
            signature(found).bind("completion")
    except TypeError as error:
        raise ConfigError(
            f"the reward {name} is called with (completion) and does not take it: "
            f"{first_line(error)}; change its arguments"
        ) from error
    return found


def observers(config: TrainingSettings) -> dict[str, Observer]:
    """The observers that a configuration adds, by name.

    Raises:
        ConfigError: The name is unknown or one of sirl's own, or the object has the wrong type.
    """
    from sirl.training.checked import CheckedObserver
    from sirl.training.observers import OWN_NAMES

    found: dict[str, Observer] = {}
    for name in names_in(config.observers):
        observer = from_plugin("observer", name, member("observer", name), Observer)
        if name in OWN_NAMES:
            raise ConfigError(
                f"the observer {name} has the name of one of sirl's own: give its entry point "
                f"another name, or name it as {FORM}"
            )
        found[name] = CheckedObserver(name, observer)
    return found


def example_sources(config: TrainingSettings, chat: "ChatModel") -> tuple[ExampleSource, ...]:
    """The sources of examples that a configuration adds.

    Raises:
        ConfigError: The name is unknown, or the object has the wrong type.
    """
    from sirl.training.checked import CheckedSource

    given = {"chat": chat}
    return tuple(
        CheckedSource(
            name,
            from_plugin("source", name, member("source", name), ExampleSource, given),
            vocabulary=chat.rows,
            context=chat.context,
        )
        for name in names_in(config.sources)
    )
