"""Observers and sources of the user: what they give is converted, or refused with their name."""

import math
import sys
from copy import copy
from decimal import Decimal
from importlib.metadata import EntryPoint
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sirl.config import TrainConfig
from sirl.errors import ConfigError, PluginError
from sirl.evaluation.suite import Suite
from sirl.registry.collaborators import example_sources, observers
from sirl.roles import Batch, Control, Observer, silent
from sirl.runs import open_run
from sirl.training.checked import CheckedObserver, CheckedSource
from sirl.training.observers import OWN_NAMES
from sirl.training.observers.log import MetricsLog
from sirl.training.rl import train
from sirl.training.update import PolicyLearner
from sirl.types import Completion, Example
from sirl.workflows import learning
from sirl.workflows.learning import closed_at_the_end
from sirl.workflows.session import Session

STEP = {"update/skipped": 0.0, "update/steps": 1.0, "reward/mean": -0.5, "kl/reference": math.nan}


class Doing(Observer):
    """Does one thing at each step."""

    def __init__(self, does):
        self.does = does

    def on_step(self, taken, metrics, control):
        del taken
        self.does(metrics, control)

    def state(self):
        return {"seen": 3}


class Learner:
    def update(self, examples, *, step, rows=None):
        del examples, step, rows
        return dict(STEP)


class NoBatches:
    def batch(self, step):
        del step
        return Batch([], {})


def trained(run, does):
    """The logged lines of a step that an observer has seen."""
    watching = [CheckedObserver("python:mine:Doing", Doing(does)), MetricsLog(run)]
    train(range(1), NoBatches(), Learner(), watching)
    return run.rows("metrics.jsonl")


@pytest.fixture
def run(tmp_path):
    opened = open_run(tmp_path / "r", {}, "ask")
    yield opened
    opened.close()


def setting(name, value):
    return lambda metrics, _: metrics.update({name: value})


def asking(name, value):
    return lambda _, control: setattr(control, name, value)


@pytest.mark.parametrize(
    "value",
    [2.0, 2, np.float32(2), np.float64(2), np.int8(2), torch.tensor(2), torch.tensor(2.0),
     torch.tensor([2.0], dtype=torch.bfloat16, requires_grad=True), Decimal(2)],
)  # fmt: skip
def test_a_number_of_any_library_is_logged_as_a_float(run, value):
    (row,) = trained(run, setting("mine/x", value))
    assert type(row["mine/x"]) is float
    assert row["mine/x"] == 2.0
    assert (row["step"], row["update/skipped"]) == (1, 0)


def test_a_number_that_is_not_finite_is_logged_as_missing(run):
    (row,) = trained(run, setting("mine/x", np.float32("nan")))
    assert row["mine/x"] is None


@pytest.mark.parametrize(
    ("does", "fault"),
    [
        (setting("mine/x", "hello"), "set the metric 'mine/x' to 'hello': let it set a number"),
        (setting("mine/x", "3"), "set the metric 'mine/x' to '3': let it set a number"),
        (setting("mine/x", None), "set the metric 'mine/x' to None: let it set a number"),
        (setting("mine/x", [1.0]), "set the metric 'mine/x' to [1.0]: let it set a number"),
        (setting("mine/x", np.ones(2)), "set the metric 'mine/x' to array([1., 1.]): let it"),
        (setting("mine/x", torch.ones(2)), "set the metric 'mine/x' to tensor([1., 1.]): let it"),
        (setting("mine/x", 10**400), "set the metric 'mine/x' to 1000"),
        (setting("mine/x", np.complex64(1)), "set the metric 'mine/x' to np.complex64(1"),
        (setting("mine/x", np.str_("3")), "set the metric 'mine/x' to np.str_('3'): let it"),
        (setting("mine/x", 1j), "set the metric 'mine/x' to 1j: let it set a number"),
        (setting(3, 1.0), "set the metric 3: let it use text as the name"),
        (setting(("a", "b"), 1.0), "set the metric ('a', 'b'): let it use text as the name"),
        (setting("step", 7.0), "set the metric 'step', which is not its own, to 7.0: let it use"),
        (setting("update/skipped_total", 7.0), "set the metric 'update/skipped_total', which is"),
        (setting("reward/mean", 9.0), "set the metric 'reward/mean', which is not its own, to 9.0"),
        (setting("reward/mean", "good"), "set the metric 'reward/mean' to 'good': let it set a"),
        (lambda metrics, _: metrics.clear(), "removed the metric 'update/skipped': let it only"),
        (lambda metrics, _: metrics.pop("reward/mean"), "removed the metric 'reward/mean': let"),
        (asking("stop", True), "set control.stop to True: let it set a sentence that says why"),
        (asking("stop", None), "set control.stop to None: let it set a sentence"),
        (asking("stop", 1), "set control.stop to 1: let it set a sentence"),
        (asking("stop", " "), "set control.stop to ' ': let it set a sentence"),
        (asking("done", ["over"]), "set control.done to ['over']: let it set a sentence"),
        (asking("save", "yes"), "set control.save to 'yes': let it set True"),
        (asking("broken", None), "set control.broken to None: let it set True"),
    ],
)  # fmt: skip
def test_what_cannot_be_logged_or_obeyed_ends_training_before_the_line_with_a_name(
    run, does, fault
):
    with pytest.raises(PluginError) as caught:
        trained(run, does)
    assert str(caught.value).startswith(f"at step 1 the observer python:mine:Doing {fault}")
    assert run.rows("metrics.jsonl") == []


def test_an_observer_may_see_metrics_and_request_a_checkpoint():
    def does(metrics, control):
        metrics |= metrics
        metrics["mine/x"] = metrics["reward/mean"] * 2
        control.save = np.bool_(metrics["mine/x"] < 0)
        control.stop = "stopped: enough, saved"

    metrics, control = dict(STEP), Control()
    watching = CheckedObserver("mine", Doing(does))
    watching.on_step(1, metrics, control)
    assert metrics == STEP | {"mine/x": -1.0}
    assert control == Control(save=True, stop="stopped: enough, saved")
    assert control.save is True
    assert watching.state() == {"seen": 3}


def installed(monkeypatch, name):
    """A package offers an observer under a name."""
    module = SimpleNamespace(Doing=Observer)
    monkeypatch.setitem(sys.modules, "mine_of_a_package", module)
    point = EntryPoint(name, "mine_of_a_package:Doing", "sirl.observers")
    monkeypatch.setattr("sirl.registry.plugins.entry_points", lambda **_: [point])


@pytest.mark.parametrize("name", sorted(OWN_NAMES))
def test_an_observer_cannot_take_the_name_of_one_of_sirls_own(monkeypatch, name):
    installed(monkeypatch, name)
    with pytest.raises(ConfigError, match=f"the observer {name} has the name of one of sirl's own"):
        observers(TrainConfig(model="embedded", out="r", observers=name))


def test_an_observer_of_a_package_has_its_entry_points_name(monkeypatch):
    installed(monkeypatch, "logs")
    found = observers(TrainConfig(model="embedded", out="r", observers="logs"))
    assert list(found) == ["logs"]


def test_every_observer_of_a_run_has_a_name_that_is_taken(run):
    session = object.__new__(Session)
    vars(session).update(
        config=TrainConfig(model="embedded", out="r"),
        run=run,
        setup=SimpleNamespace(mini_eval=Suite([])),
        working=SimpleNamespace(stop=bool, progress=silent),
        ranks=SimpleNamespace(main=False),
        observers={"mine": Observer()},
    )
    found, _ = learning.observers(session, object.__new__(PolicyLearner), None, Observer())
    assert set(found) == OWN_NAMES | {"mine"}


SAID = Completion("p", (1, 2), (3, 4, 5), "tea", (-0.1, -0.2, -0.3), (0.5, 0.5, 0.5), "stop")
SOUND = Example(SAID, 0.5, on_policy=False)


def spoilt(example=SOUND, **changes):
    """An example with other values, as untyped code makes it."""
    changed, completion = copy(example), copy(example.completion)
    vars(changed)["completion"] = completion
    for name, value in changes.items():
        vars(completion if hasattr(completion, name) else changed)[name] = value
    return changed


def given(what):
    """What training gets of a source that gives the same in each step."""
    source = SimpleNamespace(examples=lambda _: what)
    return CheckedSource("python:mine:Tea", source, vocabulary=10, context=8).examples(1)


@pytest.mark.parametrize(
    ("what", "fault"),
    [
        (None, "None: let it give a list of sirl.types.Example"),
        (SOUND, "Example(completion="),
        ("tea", "'tea': let it give a list"),
        ({"tea": SOUND}, "{'tea': Example("),
        ([SOUND, None], "None as an example: let it give"),
        ([SAID], "Completion(prompt_id='p'"),
        ([spoilt(completion="tea")], "Example(completion='tea'"),
        ([spoilt(advantage=(0.1, 0.2))], "an example of 3 tokens with 2 advantages: let it give"),
        ([spoilt(advantage=[0.1] * 4)], "an example of 3 tokens with 4 advantages"),
        ([spoilt(advantage=torch.ones(1))], "an example of 3 tokens with 1 advantage: let it give"),
        ([spoilt(advantage=math.nan)], "an example with the advantage nan: let it give finite"),
        ([spoilt(advantage=(0.1, math.inf, 0.1))], "an example with the advantage (0.1, inf, 0.1)"),
        ([spoilt(advantage="0.5")], "an example with the advantage '0.5'"),
        ([spoilt(advantage=None)], "an example with the advantage None"),
        ([spoilt(advantage=torch.ones(3, 1))], "an example with the advantage ((1.0,), (1.0,), "),
        ([spoilt(kl_weight=math.nan)], "an example with the kl_weight nan"),
        ([spoilt(kl_weight="low")], "an example with the kl_weight 'low'"),
        ([spoilt(on_policy="no")], "an example with on_policy 'no'"),
        ([spoilt(token_ids=(3, 4, 10))], "an example with the token id 10 in token_ids: let it"),
        ([spoilt(prompt_ids=[-1])], "an example with the token id -1 in prompt_ids"),
        ([spoilt(reference_prompt_ids=(99,))], "an example with the token id 99 in reference_"),
        ([spoilt(token_ids=())], "an example with the token_ids (): let it give a tuple of at"),
        ([spoilt(prompt_ids=())], "an example with the prompt_ids ()"),
        ([spoilt(reference_prompt_ids=[])], "an example with the reference_prompt_ids ()"),
        ([spoilt(prompt_ids="tea")], "an example with the prompt_ids 'tea'"),
        ([spoilt(token_ids=(0.5,))], "an example with the token_ids (0.5,)"),
        ([spoilt(token_ids=None)], "an example with the token_ids None"),
        ([spoilt(prompt_ids=(1,) * 6)], "an example of 9 tokens: let it give at most 8"),
        ([spoilt(reference_prompt_ids=(1,) * 6)], "an example of 9 tokens"),
        ([spoilt(on_policy=True, logprobs=(-0.1,))], "an example of 3 tokens with the logprobs"),
        ([spoilt(on_policy=True, logprobs=None)], "an example of 3 tokens with the logprobs None"),
    ],
)  # fmt: skip
def test_an_example_that_does_not_fit_is_refused_with_its_source_and_step(what, fault):
    with pytest.raises(PluginError) as caught:
        given(what)
    assert str(caught.value).startswith(f"the source python:mine:Tea gave for step 2 {fault}")


def test_lists_arrays_and_tensors_become_what_training_reads():
    made = spoilt(
        prompt_ids=[1, 2],
        token_ids=np.array([3, 4, 5]),
        advantage=torch.tensor([1.0, 2.0, 3.0]),
        kl_weight=np.float32(0.5),
        reference_prompt_ids=torch.tensor([7]),
    )
    (found,) = given(iter([made]))
    assert found == Example(SAID, (1.0, 2.0, 3.0), 0.5, (7,), on_policy=False)
    assert {type(i) for i in (*found.completion.token_ids, *found.reference_prompt_ids)} == {int}


def test_sound_examples_stay_as_they_are():
    sound = [SOUND, Example(SAID, (0.1, 0.2, 0.3), 0.0, (1,)), Example(SAID, -1.0)]
    assert given(sound) == sound
    assert given(()) == []


def test_sources_of_a_run_know_the_model_that_they_must_fit(tmp_path, monkeypatch, embedded):
    (tmp_path / "tea_of_mine.py").write_text(
        "from sirl.types import Completion, Example\n"
        "def tea(chat):\n"
        "    said = Completion('p', (1,), (chat.rows,), '', (), (), 'stop')\n"
        "    made = [Example(said, 1.0, on_policy=False)]\n"
        "    return type('Tea', (), {'examples': lambda self, step: made})()\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    config = TrainConfig(model="embedded", out="r", sources="python:tea_of_mine:tea")
    (source,) = example_sources(config, embedded)
    with pytest.raises(PluginError, match=r"python:tea_of_mine:tea gave for step 1 .* id 2048 in"):
        source.examples(0)


class Closing(Observer):
    """Notes that it is closed, and fails if it was told so."""

    def __init__(self, closed, *, fails=False):
        self.closed, self.fails = closed, fails

    def close(self):
        self.closed.append(self)
        if self.fails:
            raise OSError("disk is full")


def test_an_error_of_training_is_raised_before_those_of_closing():
    closed, said = [], []
    watching = {"first": Closing(closed, fails=True), "second": Closing(closed)}
    with pytest.raises(ValueError, match="lost"), closed_at_the_end(watching, said.extend):
        raise ValueError("lost")
    assert closed == list(watching.values())
    assert said == ["closing the observer first failed as well: disk is full (OSError)"]


def test_the_first_observer_that_cannot_be_closed_ends_training_when_all_are_closed():
    closed, said = [], []
    watching = {n: Closing(closed, fails=n != "b") for n in "abc"}
    with pytest.raises(OSError, match="disk is full"), closed_at_the_end(watching, said.extend):
        pass
    assert closed == list(watching.values())
    assert said == ["closing the observer c failed as well: disk is full (OSError)"]
