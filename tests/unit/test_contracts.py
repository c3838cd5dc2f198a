from importlib.metadata import EntryPoint

import pytest

import sirl.registry.attacks as catalogue
from sirl.attacks.contract import check_attack
from sirl.attacks.static import Template
from sirl.errors import ConfigError
from sirl.judges.contract import check_judge
from sirl.judges.jury import Jury
from sirl.judges.llm import RubricJudge
from sirl.judges.rubrics import RUBRICS
from sirl.judges.rules import RefusalRules
from sirl.registry.attacks import attack_names, attacks_named, known_attacks, members
from sirl.roles import Search
from sirl.types import Attempt, Reply, Verdict
from sirl.world.oracle import WorldHarm, WorldOracle


@pytest.mark.parametrize("name", list(known_attacks()))
def test_every_attack_keeps_the_contract(name):
    check_attack(known_attacks()[name])


class Mute:
    identity = "mute"

    def ask(self, conversations):
        return [Reply("", fault="mute: it says nothing") for _ in conversations]


@pytest.mark.parametrize(
    "judge",
    [
        RefusalRules(),
        WorldOracle(),
        WorldHarm(),
        Jury([RefusalRules()]),
        *(RubricJudge(name, rubric, Mute()) for name, rubric in RUBRICS.items()),
    ],
    ids=lambda judge: judge.name,
)
def test_every_judge_keeps_the_contract(judge):
    check_judge(judge)


class Renaming(Template):
    def attempt(self, behaviour):
        return Attempt(behaviour, "another", behaviour.messages)


class Lucky:
    name, family, needs = "lucky", "mine", frozenset({"luck"})

    def attempt(self, behaviour):
        return Attempt(behaviour, self.name, behaviour.messages)


class Forgetful:
    name, question = "forgetful", "refusal"

    def verdict(self, attempt, answer):  # noqa: ARG002 - the role's shape
        return Verdict("refusal", 1.0, "always", self.name)


def test_the_contracts_find_what_breaks_them():
    with pytest.raises(AssertionError, match="signs as 'another'"):
        check_attack(Renaming("mine", "{request}"))
    with pytest.raises(AssertionError, match="unknown"):
        check_attack(Lucky())
    with pytest.raises(AssertionError, match="calls silence refusal"):
        check_judge(Forgetful())


def test_the_tiers_nest_and_the_full_one_holds_what_was_promised():
    quick, standard, full = (set(members(tier)) for tier in ("quick", "standard", "full"))
    assert quick < standard < full
    known = known_attacks()
    assert len(full) >= 35
    assert len({known[name].family for name in full}) >= 8
    assert not any(isinstance(known[name], Search) for name in quick)


def test_the_names_that_are_known_without_torch_are_those_of_the_attacks():
    assert attack_names() == tuple(known_attacks())
    gradient = {name for name, a in known_attacks().items() if "gradients" in a.needs}
    assert set(catalogue.GRADIENT) == gradient
    (gcg,) = attacks_named("gcg")
    assert (gcg.name, gcg.family) == ("gcg", "gradient")


def test_an_unknown_attack_names_the_near_one_and_surgeries_are_known():
    with pytest.raises(ConfigError, match="Did you mean 'role_play'"):
        attacks_named("direct,rolle_play")
    assert [a.name for a in attacks_named("direct,int8,direct")] == ["direct"]
    with pytest.raises(ConfigError, match=r"contracts\.py is a file.* with --templates"):
        attacks_named(f"direct,{__file__}")


def entry(name):
    return EntryPoint(name, f"{__name__}:{name}", "sirl.attacks")


MINE = Template("of_my_own", "{request}?")
TAKEN = Template("story", "{request}?")
NO_ATTACK = "a string"


@pytest.mark.parametrize(
    ("plugin", "complaint"),
    [("TAKEN", "name that is taken"), ("NO_ATTACK", "is of type str and lacks methods")],
)
def test_a_plugin_that_is_none_or_takes_a_name_is_refused(monkeypatch, plugin, complaint):
    monkeypatch.setattr(catalogue, "entry_points", lambda **_: [entry(plugin)])
    with pytest.raises(ConfigError, match=complaint):
        known_attacks.__wrapped__()


def test_a_plugin_stands_among_the_others(monkeypatch):
    monkeypatch.setattr(catalogue, "entry_points", lambda **_: [entry("MINE")])
    assert known_attacks.__wrapped__()["of_my_own"] is MINE
