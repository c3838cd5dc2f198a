"""Whose fault an exception is: a plug-in's, sirl's own, or a lost rank's."""

import re
import sys
from importlib.metadata import EntryPoint

import pytest

from sirl.config import EvaluateConfig
from sirl.errors import InputError, PluginError, Stopped
from sirl.registry.attacks import attacks_named, plugged
from sirl.registry.collaborators import reward_named
from sirl.registry.judges import judge_named
from sirl.registry.plugins import plugin_fault
from sirl.runs import open_run
from sirl.types import Attempt, Prompt
from sirl.workflows.frame import Frame

pytestmark = pytest.mark.usefixtures("package")
MODULE = """
import json

from sirl.judges.jury import verdicts
from sirl.types import Budget

class Kind:
    name, question = "kind", "refusal"
    def verdict(self, attempt, answer):
        return None

class Strict(Kind):
    name = "strict"
    def verdict(self, attempt, answer):
        return int(answer)

class Stricter(Strict):
    name = "stricter"

class Odd(Kind):
    question = "colour"

class Asking(Kind):
    def verdict(self, attempt, answer):
        return verdicts(Odd(), [(attempt, answer)])[0]

class Reading(Kind):
    def verdict(self, attempt, answer):
        return json.loads(answer)

class Passing(Kind):
    def verdict(self, attempt, answer):
        return verdicts(Strict(), [(attempt, answer)])[0]

class Spread(Kind):
    def verdict(self, attempt, answer):
        raise RuntimeError("connection closed by peer")

class Unready:
    name, question = "unready", "harm"
    def __init__(self):
        raise OSError("the weights\\nare elsewhere")
    def verdict(self, attempt, answer):
        return None

def inverse(completion):
    return 1 / len(completion)

class Hunt:
    name, family, needs, budget = "hunt", "fiction", frozenset(), Budget(3)
    def tries(self, behaviour, access):
        yield []
        raise LookupError(behaviour)
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A folder with a module of plug-ins."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "apart_from_sirl.py").write_text(MODULE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder
    sys.modules.pop("apart_from_sirl", None)


def evaluation():
    return EvaluateConfig(model="embedded", out="r")


ATTEMPT = Attempt(Prompt.user("tea", "Make tea."), "direct", ())


def ask_strict():
    judge_named("python:apart_from_sirl:Strict", evaluation()).verdict(ATTEMPT, "seven")


def ask_stricter():
    judge_named("python:apart_from_sirl:Stricter", evaluation()).verdict(ATTEMPT, "seven")


def ask_reading():
    judge_named("python:apart_from_sirl:Reading", evaluation()).verdict(ATTEMPT, "seven")


def ask_passing():
    judge_named("python:apart_from_sirl:Passing", evaluation()).verdict(ATTEMPT, "seven")


def make_unready():
    judge_named("python:apart_from_sirl:Unready", evaluation())


def reward_nothing():
    reward_named("python:apart_from_sirl:inverse")("")


def hunt():
    (attack,) = attacks_named("python:apart_from_sirl:Hunt")
    tries = attack.tries("tea", None)
    next(tries)
    next(tries)


def hunt_installed():
    tries = plugged(EntryPoint("far", "apart_from_sirl:Hunt", "sirl.attacks")).tries("tea", None)
    next(tries)
    next(tries)


@pytest.mark.parametrize(
    ("work", "sentence", "raised_by"),
    [
        (ask_strict, "the judge python:apart_from_sirl:Strict raised ValueError: invalid literal "
         "for int() with base 10: 'seven'", "return int(answer)"),
        (ask_stricter, "raised ValueError: invalid literal for int() with base 10: 'seven'",
         "return int(answer)"),
        (ask_reading, "the judge python:apart_from_sirl:Reading raised JSONDecodeError: Expecting "
         "value: line 1 column 1 (char 0)", "return json.loads"),
        (ask_passing, "the judge python:apart_from_sirl:Passing raised ValueError: invalid literal",
         "return int(answer)"),
        (make_unready, "the judge python:apart_from_sirl:Unready raised OSError: the weights are "
         "elsewhere", "raise OSError"),
        (reward_nothing, "the reward python:apart_from_sirl:inverse raised ZeroDivisionError: "
         "division by zero", "return 1 / len"),
        (hunt, "raised LookupError: tea", "raise LookupError"),
        (hunt_installed, "raised LookupError: tea", "raise LookupError"),
    ],
)  # fmt: skip
def test_what_a_plugin_raises_is_a_sentence_with_its_name_and_its_line(
    package, work, sentence, raised_by
):
    with pytest.raises(PluginError) as caught, Frame("evaluate"):
        work()
    line = next(n for n, said in enumerate(MODULE.splitlines(), 1) if raised_by in said)
    assert sentence in str(caught.value)
    assert re.search(r"^the (judge|reward|attack|entry point) ", str(caught.value))
    assert str(caught.value).endswith(f" ({package / 'apart_from_sirl.py'}:{line}): fix it")
    assert isinstance(caught.value.__cause__, Exception)


FAULT = "the observer tea set the metric 'x' to None: let it set a number"


@pytest.mark.parametrize("said", [FAULT, f"{FAULT}; continue with --resume"])
@pytest.mark.parametrize("resumable", [True, False])
def test_a_fault_of_a_plugin_says_once_that_its_run_can_be_resumed(tmp_path, resumable, said):
    with pytest.raises(PluginError) as caught, Frame("train", resumable=resumable) as frame:  # noqa: PT012
        run = frame.hold(open_run(tmp_path / "r", {"a": 1}, "ask"))
        frame.begin(run, evaluation())
        run.append("metrics.jsonl", {"step": 1})
        raise PluginError(said)
    assert str(caught.value) == (f"{FAULT}; continue with --resume" if resumable else said)


def test_a_fault_of_a_plugin_before_the_first_result_names_no_run_to_resume(tmp_path):
    with pytest.raises(PluginError) as caught, Frame("train") as frame:  # noqa: PT012
        run = frame.hold(open_run(tmp_path / "r", {"a": 1}, "ask"))
        frame.begin(run, evaluation())
        raise PluginError("the source tea gave for step 1 None: let it give a list")
    assert str(caught.value) == "the source tea gave for step 1 None: let it give a list"
    assert not (tmp_path / "r").exists()


def test_errors_of_sirl_itself_are_not_those_of_a_plugin():
    judge_named("python:apart_from_sirl:Kind", evaluation())
    for error in (InputError("no rows"), Stopped("stopped"), KeyboardInterrupt(), ValueError("x")):
        with pytest.raises(type(error)) as caught, Frame("evaluate"):
            raise error
        assert caught.value is error
        assert plugin_fault(error) is None


@pytest.mark.parametrize("given", [{}, {"__name__": None}])
def test_code_without_a_module_raises_what_it_raises(given):
    ended = []
    judge_named("python:apart_from_sirl:Kind", evaluation())
    with pytest.raises(ZeroDivisionError), Frame("evaluate") as frame:  # noqa: PT012
        frame.ends.callback(ended.append, "released")
        exec("1 / 0", given)
    assert ended == ["released"]


def test_a_frame_releases_its_run_even_if_an_error_cannot_be_told(monkeypatch):
    def broken(_):
        raise RecursionError

    ended = []
    monkeypatch.setattr("sirl.workflows.frame.plugin_fault", broken)
    with pytest.raises(RecursionError), Frame("evaluate") as frame:  # noqa: PT012
        frame.ends.callback(ended.append, "released")
        raise ValueError("x")
    assert ended == ["released"]


def test_an_error_of_sirl_is_not_blamed_on_the_plugin_that_calls_it():
    judge = judge_named("python:apart_from_sirl:Asking", evaluation())
    with pytest.raises(KeyError, match="colour"), Frame("evaluate"):
        judge.verdict(ATTEMPT, "seven")


def test_a_lost_rank_is_not_blamed_on_a_plugin(monkeypatch):
    judge = judge_named("python:apart_from_sirl:Spread", evaluation())
    with pytest.raises(PluginError, match="closed by peer"), Frame("evaluate"):
        judge.verdict(ATTEMPT, "seven")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RuntimeError, match="closed by peer"), Frame("evaluate"):
        judge.verdict(ATTEMPT, "seven")
