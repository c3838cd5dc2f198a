"""The attempts of attacks, checked before they are asked, since an attack may be a plug-in."""

from collections.abc import Generator, Sequence

from sirl.errors import PluginError, shown
from sirl.roles import Access, Attack, Disguise, Search, Tries
from sirl.types import Attempt, Prompt, Sampling, is_conversation

__all__ = ["attempt_of", "checked_round", "tries_of"]


def attempt_of(attack: Disguise, behaviour: Prompt) -> Attempt:
    """The attempt of a disguise on a behaviour.

    Raises:
        PluginError: It breaks the contract of attacks.
    """
    return checked(attack, behaviour, attack.attempt(behaviour))


def tries_of(attack: Search, behaviour: Prompt, access: Access) -> Tries:
    """The rounds of a search on a behaviour.

    Raises:
        PluginError: It is no generator.
    """
    tries: object = attack.tries(behaviour, access)
    if not isinstance(tries, Generator):
        raise PluginError(
            f"the attack {attack.name} gave {shown(tries)} as its tries: let it yield rounds, "
            "which are lists of sirl.types.Attempt"
        )
    return tries


def checked_round(attack: Search, behaviour: Prompt, wanted: object) -> Sequence[Attempt]:
    """The attempts that a search has yielded as a round.

    Raises:
        PluginError: It is no round, or an attempt breaks the contract of attacks.
    """
    if not isinstance(wanted, Sequence):
        raise PluginError(
            f"the attack {attack.name} yielded {shown(wanted)}: let it yield rounds, which are "
            "lists of sirl.types.Attempt"
        )
    return [checked(attack, behaviour, attempt) for attempt in wanted]


def checked(attack: Attack, behaviour: Prompt, made: object) -> Attempt:
    """What an attack has made for a behaviour, if it is an attempt of this attack on it.

    Raises:
        PluginError: It is none.
    """
    by = f"the attack {attack.name} gave for the request {behaviour.id}"
    if not isinstance(made, Attempt):
        raise PluginError(f"{by} {shown(made)}: let it give a sirl.types.Attempt")
    if made.attack != attack.name:
        raise PluginError(
            f"{by} an attempt of the attack {shown(made.attack)}: let the attempt have the "
            "attack's own name"
        )
    if made.behaviour != behaviour:
        raise PluginError(
            f"{by} an attempt on the behaviour {shown(made.behaviour)}: let the attempt keep "
            "the behaviour that it is made for, and change only its messages"
        )
    if not is_conversation(made.messages):
        raise PluginError(
            f"{by} the messages {shown(made.messages)}: let it give a tuple of at least one "
            "sirl.types.Message"
        )
    if not isinstance(made.sampling, Sampling):
        raise PluginError(
            f"{by} the sampling settings {shown(made.sampling)}: let it give a "
            "sirl.types.Sampling, or none"
        )
    return made
