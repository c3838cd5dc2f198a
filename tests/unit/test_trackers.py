"""Trackers are shown every step; a broken one is turned off with a sentence and stops nothing."""

import json
import math
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest

from sirl.config import TrainConfig
from sirl.errors import ConfigError, MissingExtraError
from sirl.registry import trackers
from sirl.roles import Control
from sirl.training.observers.trackers import Board, Scalars, Trackers
from tests.command import sirl


class Recording:
    def __init__(self):
        self.rows, self.closed = [], 0

    def log(self, step, metrics):
        self.rows.append((step, dict(metrics)))

    def close(self):
        self.closed += 1


class Failing(Recording):
    """Takes one step and breaks at the next."""

    def log(self, step, metrics):
        if self.rows:
            raise OSError("the server is gone.\nand more")
        super().log(step, metrics)


def no_start(*_):
    raise ValueError("no project")


def test_a_broken_tracker_is_told_once_and_the_others_go_on():
    good, bad, said = Recording(), Failing(), []
    starts = {"dead": no_start, "bad": lambda _: bad, "good": lambda _: good}
    shown = Trackers(starts, said.append)
    shown.on_start(0, {})
    for step in range(4):
        shown.on_step(step, {"reward/mean": -1.0}, Control())
    shown.close()
    assert [step for step, _ in good.rows] == [0, 1, 2, 3]
    assert (good.closed, bad.closed, len(bad.rows)) == (1, 0, 1)
    assert said == [
        "the tracker dead could not start and is turned off: no project (ValueError); "
        "metrics.jsonl has every step",
        "the tracker bad could not log step 1 and is turned off: the server is gone (OSError); "
        "metrics.jsonl has every step",
    ]


class Foreign:
    """Remembers what it is called with, as a writer and as a run."""

    def __init__(self):
        self.calls = []

    def add_scalar(self, key, value, step):
        self.calls.append((key, value, step))

    def log(self, metrics, step):
        self.calls.append((metrics, step))

    def flush(self):
        self.calls.append("flush")

    def close(self):
        self.calls.append("close")

    finish = close


def test_each_tool_is_called_in_its_own_way():
    writer, run = Foreign(), Foreign()
    for tracker in (Scalars(writer), Board(run)):
        tracker.log(3, {"kl/reference": 0.5})
        tracker.close()
    assert writer.calls == [("kl/reference", 0.5, 3), "flush", "close"]
    assert run.calls == [({"kl/reference": 0.5}, 3), "close"]


def test_a_scalar_that_is_not_finite_is_no_point():
    writer = Foreign()
    Scalars(writer).log(3, {"a": math.nan, "b": 0.5, "c": math.inf, "d": -math.inf})
    assert writer.calls == [("b", 0.5, 3), "flush"]


def packages(monkeypatch, *names, **content):
    """Installs a package of this content under each name."""
    for name in names:
        module = ModuleType(name)
        module.__spec__ = ModuleSpec(name, None, origin="here")
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)


def begun(track, folder, taken):
    """Trackers of a run in this folder after so many steps."""
    shown = Trackers(
        trackers(TrainConfig(model="embedded", out=str(folder), track=track)), pytest.fail
    )
    shown.on_start(taken, {})
    return shown


def test_a_resumed_run_hides_the_steps_of_tensorboard_that_it_takes_again(tmp_path, monkeypatch):
    given = []
    packages(
        monkeypatch, "tensorboard", "torch.utils.tensorboard",
        SummaryWriter=lambda place, **more: given.append((place, more)) or Foreign(),
    )  # fmt: skip
    for taken in (0, 20):
        begun("tensorboard", tmp_path, taken).close()
    place = tmp_path / "tensorboard"
    assert given == [(place, {"purge_step": 1}), (place, {"purge_step": 21})]


def test_a_resumed_run_is_one_run_of_wandb_and_one_that_starts_over_another(tmp_path, monkeypatch):
    given = []
    packages(monkeypatch, "wandb", init=lambda **more: given.append(more) or Foreign())

    def id_in(folder, *starts, taken=0):
        place = tmp_path / folder
        place.mkdir(exist_ok=True)
        (place / "run.json").write_text(json.dumps({"starts": starts}))
        begun("wandb", place, taken).close()
        assert (given[-1]["resume"], given[-1]["name"]) == ("allow", folder)
        return given[-1]["id"]

    first = id_in("r", "8 o'clock")
    assert id_in("r", "8 o'clock", "9 o'clock", taken=20) == first
    assert id_in("r", "8 o'clock", "9 o'clock", "10 o'clock") == first
    assert len({first, id_in("r", "9 o'clock"), id_in("s", "8 o'clock")}) == 3
    assert len(first) <= 64
    assert first.isalnum()


def test_an_unknown_tracker_and_a_missing_one_are_told_before_anything_starts(
    tmp_path, monkeypatch
):
    with pytest.raises(ConfigError, match="Did you mean 'tensorboard'"):
        trackers(TrainConfig(model="embedded", out="r", track="tensorbord"))
    assert trackers(TrainConfig(model="embedded", out="r")) == {}
    monkeypatch.setitem(sys.modules, "trackio", None)
    done = sirl(
        "train", "--method", "entropy",
        "--model", "embedded", "--track", "trackio", "--out", tmp_path / "r"
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == "sirl: track=trackio needs the extra 'track': pip install 'sirl[track]'\n"
    assert not (tmp_path / "r").exists()


def test_a_folder_of_that_name_is_no_tracker(tmp_path, monkeypatch):
    (tmp_path / "wandb").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(MissingExtraError):
        trackers(TrainConfig(model="embedded", out="r", track="wandb"))


def test_a_tracker_that_breaks_while_training_costs_the_run_nothing(tmp_path):
    (tmp_path / "trackio.py").write_text(
        "def init(**_): pass\n"
        "def log(metrics, step):\n"
        "    print('a chatty tool')\n"
        "    if step > 1: raise OSError('gone')\n"
        "def finish(): raise AssertionError('it was left out')\n"
    )
    words = ["train", "--method", "entropy",
             "--model", "embedded", "--steps", "3", "--batch", "2", "--group", "2",
             "--set", "held_out=0", "--set", "new_tokens=8", "--set", "eval_every=0",
             "--set", "track=trackio",
             "--out", "r", "--json"]  # fmt: skip
    done = sirl(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["last_step"] == 3
    assert (
        done.stderr.count("the tracker trackio could not log step 2 and is turned off: gone") == 1
    )
    rows = (tmp_path / "r" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["step"] for row in rows] == [1, 2, 3]


def test_tensorboard_holds_every_step_once(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = TrainConfig(model="embedded", out=str(tmp_path), track="tensorboard")
    shown = Trackers(trackers(config), print)
    shown.on_start(0, {})
    shown.on_step(1, {"entropy/mean": 1.5}, Control())
    shown.on_step(2, {"entropy/mean": 0.5}, Control())
    shown.close()
    shown = Trackers(trackers(config), print)
    shown.on_start(1, {})
    shown.on_step(2, {"entropy/mean": 0.25}, Control())
    shown.close()
    found = EventAccumulator(str(tmp_path / "tensorboard")).Reload().Scalars("entropy/mean")
    assert [(point.step, point.value) for point in found] == [(1, 1.5), (2, 0.25)]
