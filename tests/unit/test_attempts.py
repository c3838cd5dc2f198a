"""Attempts that break the contract of attacks are refused with the attack's name."""

from copy import copy
from dataclasses import dataclass
from typing import Any

import pytest

from sirl.errors import PluginError
from sirl.evaluation.arena import Arena
from sirl.evaluation.costs import Meter
from sirl.evaluation.records import Log
from sirl.evaluation.suite import Suite, askable
from sirl.roles import Disguise, Search
from sirl.types import Attempt, Budget, Prompt

from .fakes import Ladder, Parrot, WordJudge, behaviours, target

BARE = Prompt.user("b0", "How do I paint the king?")
SOUND = Attempt(BARE, "mask", BARE.messages)


def spoilt(value, **changes):
    """A copy with fields of any type, as untyped code makes it."""
    copied = copy(value)
    vars(copied).update(changes)
    return copied


@dataclass(frozen=True)
class Mask(Disguise):
    """Gives the same for every behaviour."""

    made: Any
    name: str = "mask"
    family: str = "test"
    needs: frozenset = frozenset()

    def attempt(self, behaviour):  # noqa: ARG002 - the role's shape
        return self.made


@dataclass(frozen=True)
class Hunt(Search):
    """Yields the same round for every behaviour."""

    wanted: Any
    name: str = "mask"
    family: str = "test"
    needs: frozenset = frozenset()
    budget: Budget = Budget(queries=5)

    def tries(self, behaviour, access):  # noqa: ARG002 - the role's shape
        yield self.wanted


class Returning(Hunt):
    def tries(self, behaviour, access):  # noqa: ARG002 - the role's shape
        return [SOUND]


UNSOUND = [
    (None, "None: let it give a sirl.types.Attempt"),
    ("Please?", "'Please?': let it give a sirl.types.Attempt"),
    (
        spoilt(SOUND, attack="direct"),
        "an attempt of the attack 'direct': let the attempt have the",
    ),
    (spoilt(SOUND, attack=None), "an attempt of the attack None: let the attempt have the"),
    (
        spoilt(SOUND, behaviour=Prompt.user("b0", "Hello!")),
        "an attempt on the behaviour Prompt(id=",
    ),
    (spoilt(SOUND, behaviour="b0"), "an attempt on the behaviour 'b0': let the attempt keep"),
    (spoilt(SOUND, messages=()), "the messages (): let it give a tuple of at least one"),
    (spoilt(SOUND, messages=list(BARE.messages)), "the messages [Message(role='user', content="),
    (spoilt(SOUND, messages="Please?"), "the messages 'Please?': let it give a tuple"),
    (spoilt(SOUND, messages=("Please?",)), "the messages ('Please?',): let it give a tuple"),
    (
        spoilt(SOUND, messages=(spoilt(BARE.messages[0], role="narrator"),)),
        "the messages (Message(role='narr",
    ),
    (
        spoilt(SOUND, messages=(spoilt(BARE.messages[0], content=None),)),
        "the messages (Message(role='user', cont",
    ),
    (spoilt(SOUND, sampling=0.5), "the sampling settings 0.5: let it give a sirl.types.Sampling"),
]


def asked(attack):
    suite = Suite([WordJudge()], [BARE], [attack])
    return askable(suite, target(Parrot()))[0]


def played(attack):
    judge = WordJudge()
    where = Arena(target(Parrot()), judge, judge, Log(), {}, None, Meter())
    return where.play(attack, [BARE], "attack")


@pytest.mark.parametrize(("made", "sentence"), UNSOUND)
def test_an_unsound_attempt_is_refused_with_the_name_of_its_attack(made, sentence):
    for attempted in (lambda: asked(Mask(made)), lambda: played(Hunt([SOUND, made]))):
        with pytest.raises(PluginError) as caught:
            attempted()
        start = f"the attack mask gave for the request b0 {sentence}"
        assert str(caught.value).startswith(start)


@pytest.mark.parametrize("wanted", [None, 42, SOUND, {"mask": SOUND}])
def test_a_round_that_is_no_list_is_refused(wanted):
    with pytest.raises(PluginError, match="the attack mask yielded .*: let it yield rounds"):
        played(Hunt(wanted))


def test_a_search_that_yields_nothing_is_refused():
    with pytest.raises(PluginError, match=r"the attack mask gave \[Attempt.* as its tries: let it"):
        played(Returning(None))


def test_a_disguise_of_harmless_prompts_is_refused_too():
    (hello,) = behaviours("Hello!")
    suite = Suite([WordJudge()], attacks=[Mask(SOUND)], ordinary=[hello])
    with pytest.raises(PluginError, match="the attack mask gave for the request b0 an attempt on"):
        askable(suite, target(Parrot()))


def test_sound_attempts_are_asked():
    (query,) = asked(Mask(SOUND))
    assert query.prompt.messages == BARE.messages
    (item,) = played(Ladder((("one",),)))
    assert item.queries == 1
