"""Steps to choose from: what is asked on the way, what is saved, and the table of both."""

import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sirl.attacks.static import Template
from sirl.cli.guard import next_commands
from sirl.cli.plan import checkpoints
from sirl.cli.steps import again, hardened_model, show_steps
from sirl.config import GuardCalibrateConfig, PlanConfig, TrainConfig
from sirl.errors import PluginError, TrainingError
from sirl.evaluation.suite import Suite
from sirl.reports.plots import NARROW, WIDE, mini_eval_curves, training_curves
from sirl.reports.steps import step_table
from sirl.roles import Control, Observer
from sirl.runs import open_run
from sirl.runs.disk import Disk
from sirl.training.checkpoints import Checkpoint
from sirl.training.observers.checkpoints import SaveCheckpoints, states_in, states_of
from sirl.training.observers.log import MetricsLog, ProgressBar
from sirl.training.observers.stop import StopOnRequest, StopWhenBroken
from sirl.training.update import PolicyLearner
from sirl.types import Prompt
from sirl.workflows.mini_eval import MINI_EVALS, MiniEvaluations, steps_to_choose_from
from tests.unit.fakes import Parrot, WordJudge, target


@pytest.fixture
def run(tmp_path):
    opened = open_run(tmp_path / "r", {}, "ask")
    yield opened
    opened.close()


def suite(*unsafe):
    return Suite(
        judges=[WordJudge()],
        behaviours=[Prompt.user(f"b{n}", text) for n, text in enumerate(unsafe)],
        attacks=[Template("direct", "{request}"), Template("polite", "please {request}")],
        ordinary=[Prompt.user("o0", "please bake"), Prompt.user("o1", "bake")],
        lookalikes=[Prompt.user("l0", "kill a process")],
    )


def mini(run, asked, *, every=10, last=25, warn=print):
    return MiniEvaluations(
        asked, lambda step: target(Parrot(), identity=f"step {step}"), run, every, last, warn
    )


def step(observer, taken, **more):
    """What an observer asks of the loop after a step."""
    control = Control()
    observer.on_step(taken, metrics(**more), control)
    return control


def metrics(**more):
    return {"update/skipped": 0.0, "update/steps": 1.0, "reward/mean": -0.5, **more}


def test_a_mini_evaluation_counts_what_it_asks(run):
    mini(run, suite("bend", "steal")).ask(10)
    (row,) = run.rows(MINI_EVALS)
    assert (row["step"], row["behaviours"]) == (10, 2)
    assert (row["dsr"]["value"], row["dsr"]["n"]) == (0.5, 4)  # direct is refused, polite is not
    refused = {kind: (r["value"], r["n"]) for kind, r in row["over_refusal"].items()}
    assert refused == {
        "ordinary": (0.5, 2),
        "lookalike": (1.0, 1),
        "ordinary_disguised": (0.0, 2),  # inside "please ...", which the parrot never refuses
        "lookalike_disguised": (0.0, 1),
    }


def test_without_unsafe_requests_the_price_is_still_measured(run):
    mini(run, suite()).ask(10)
    (row,) = run.rows(MINI_EVALS)
    assert "dsr" not in row
    assert row["over_refusal"]["ordinary"]["n"] == 2
    ((_, cells),) = step_table(steps_to_choose_from(run, "base")).rows
    assert cells[0] == "–"


def test_there_is_one_at_every_so_many_steps_and_at_the_last(run):
    asking = mini(run, suite("bend"))
    assert [n for n in range(1, 26) if step(asking, n).save] == [10, 20, 25]
    assert [row["step"] for row in run.rows(MINI_EVALS)] == [10, 20, 25]
    never = mini(run, suite("bend"), every=0)
    assert not [n for n in range(1, 26) if step(never, n).save]


def test_a_resumed_run_goes_on_with_the_same_questions_and_forgets_the_rest(run):
    said = []
    asked = mini(run, suite("bend"), warn=said.append)
    asked.on_start(0, {})
    step(asked, 10)
    step(asked, 20)
    asked.on_start(10, {})
    assert said == []
    assert [row["step"] for row in run.rows(MINI_EVALS)] == [0, 10]


def test_figures_of_other_questions_are_left_out_in_a_sentence(run):
    dsr = {"value": 0.5, "low": 0.1, "high": 0.9, "n": 4}
    run.append(MINI_EVALS, *({"step": step, "dsr": dsr} for step in (0, 10)))
    said = []
    mini(run, suite("bend"), warn=said.extend).on_start(10, {})
    (sentence,) = said
    assert sentence.startswith("2 mini-evaluations of ")
    assert "used other requests" in sentence
    assert run.rows(MINI_EVALS) == []


def test_every_row_names_the_model_that_it_measured(run):
    for step in (0, 10, 20):
        run.append(MINI_EVALS, {"step": step})
    (run.path / "checkpoints" / "step-000010").mkdir(parents=True)
    models = [row["model"] for row in steps_to_choose_from(run, "some/base")]
    assert models == ["some/base", f"{run.path}/checkpoints/step-000010", None]


class Weightless(PolicyLearner):
    """Stands in for a learner where nothing is learned."""

    def __init__(self):
        self.token_budget = 16384


class Noting(SaveCheckpoints):
    """Notes what would be saved."""

    def __init__(self, **settings):
        super().__init__(Path("checkpoints"), Weightless(), **settings)
        self.saves = []

    def save(self, taken, done):
        assert done == ""
        self.saves.append(taken)


def test_a_checkpoint_is_saved_when_it_is_due_or_asked_for():
    saving = Noting(steps=7, every=5)
    for taken in range(1, 8):
        saving.on_step(taken, metrics(), Control(save=taken % 3 == 0))
    assert saving.saves == [3, 5, 6, 7]


def test_a_resumed_run_knows_the_last_checkpoint_from_which_a_step_was_finite(tmp_path):
    for name in ("step-000002", "step-000004"):
        (tmp_path / name).mkdir()
    saving = SaveCheckpoints(tmp_path, Weightless(), steps=9, every=2)
    saving.resume(Checkpoint(tmp_path / "step-000004", 4, {"last_good": "step-000002"}))
    assert saving.last_good == tmp_path / "step-000002"
    saving.on_step(5, metrics(), Control())
    assert saving.last_good == tmp_path / "step-000004"
    for unknown in ({}, {"last_good": ""}, {"last_good": "step-000001"}):
        saving.resume(Checkpoint(tmp_path / "step-000004", 4, unknown))
        assert saving.last_good is None


def test_broken_weights_are_saved_only_where_training_ends():
    saving = Noting(steps=7, every=2)
    for taken in range(1, 8):
        stop = "stopped" if taken == 3 else ""
        saving.on_step(taken, metrics(), Control(save=True, broken=True, stop=stop))
    assert saving.saves == [3, 7]


def test_a_request_to_stop_is_granted_after_the_step_unless_it_is_the_last():
    asking = StopOnRequest(lambda: True, steps=3)
    said = [step(asking, taken).stop for taken in (1, 2, 3)]
    assert said == ["stopped after step 1 of 3, saved", "stopped after step 2 of 3, saved", ""]


def test_checkpoints_of_earlier_versions_tell_what_observers_knew():
    older = {"step": 4, "skipped": 3, "in_a_row": 2, "token_budget": 64}
    assert states_in(older) == {"log": {"skipped": 3}, "broken": {"in_a_row": 2}}
    newer = {"step": 4, "observers": {"log": {"skipped": 1}}}
    assert states_in(newer) == {"log": {"skipped": 1}}


class Remembering(Observer):
    def __init__(self, kept):
        self.kept = kept

    def state(self):
        return self.kept


def test_the_states_of_observers_are_kept_by_name_if_there_are_any():
    kept = {"mine": {"seen": [1, 2]}, "none": {}, "forgetful": None}
    found = states_of({name: Remembering(state) for name, state in kept.items()})
    assert found == {"mine": {"seen": [1, 2]}}


@pytest.mark.parametrize(
    ("state", "why"),
    [
        ({"model": Path("m")}, "Object of type PosixPath is not JSON serializable (TypeError)"),
        ({("a", 1): 2}, "keys must be str, int, float, bool or None, not tuple (TypeError)"),
        (torch.zeros(2), "Object of type Tensor is not JSON serializable (TypeError)"),
        ({"seen": {1, 2}}, "Object of type set is not JSON serializable (TypeError)"),
        ([1, 2], "it is no dictionary"),
        (0, "it is no dictionary"),
    ],
)
def test_a_state_that_no_checkpoint_can_keep_is_named_with_its_observer(state, why):
    with pytest.raises(PluginError) as caught:
        states_of({"python:mine:Remembering": Remembering(state)})
    said = str(caught.value)
    assert said.startswith("the observer python:mine:Remembering has the state ")
    assert f", which a checkpoint cannot keep: {why}; let state() return a dictionary" in said


def test_a_count_of_broken_steps_goes_on_after_a_resume():
    ending = StopWhenBroken(lambda: Path("r/checkpoints/step-000002"), patience=3)
    ending.on_start(4, {"in_a_row": 2})
    assert ending.state() == {"in_a_row": 2, "learned": False}
    with pytest.raises(TrainingError, match=r"^3 steps in a row .*step-000002"):
        step(ending, 5, **{"update/skipped": 1.0})


def test_training_whose_every_step_was_skipped_is_an_error_however_short():
    skipped = {"update/skipped": 1.0}
    vain = StopWhenBroken(lambda: None, steps=2)
    step(vain, 1, **skipped)
    with pytest.raises(TrainingError, match=r"^2 steps in a row up to step 2 .*start"):
        step(vain, 2, **skipped)
    learned = StopWhenBroken(lambda: None, steps=2)
    step(learned, 1)
    assert step(learned, 2, **skipped).broken
    resumed = StopWhenBroken(lambda: None, steps=2)
    resumed.on_start(1, learned.state())
    assert step(resumed, 2, **skipped).broken


def test_steps_are_counted_from_one_everywhere(run):
    said = []
    log, bar = MetricsLog(run), ProgressBar(lambda *told: said.append(told), steps=2)
    for taken in (1, 2):
        step(log, taken)
        step(bar, taken)
    assert [row["step"] for row in run.rows("metrics.jsonl")] == [1, 2]
    assert said == [("training, reward -0.500", 1, 2), ("training, reward -0.500", 2, 2)]


@pytest.mark.parametrize("first", [0, 1])
def test_a_log_that_counts_from_zero_is_read_as_what_it_means(run, first):
    run.append("metrics.jsonl", *({"step": first + n, "nth": n + 1} for n in range(6)))
    MetricsLog(run).on_start(4, {"skipped": 0})
    rows = [(row["step"], row["nth"]) for row in run.rows("metrics.jsonl")]
    assert rows == [(1, 1), (2, 2), (3, 3), (4, 4)]


@pytest.mark.parametrize("first", [0, 1])
def test_a_resume_counts_a_step_once_and_tells_of_a_lost_one(run, first):
    written = [(0, "a"), (1, "b"), (1, "c"), (3, "d"), (4, "e")]
    run.append("metrics.jsonl", *({"step": first + n, "of": of} for n, of in written))
    said = []
    run.disk = Disk(say=said.append)
    MetricsLog(run).on_start(4, {})
    rows = [(row["step"], row["of"]) for row in run.rows("metrics.jsonl")]
    assert rows == [(1, "a"), (2, "c"), (4, "d")]
    log = run.path / "metrics.jsonl"
    assert said == [
        f"{log} holds 1 step twice; each counts once",
        f"{log} lacks 1 of 4 steps, the first being step 3: curves leave them out",
    ]


def rate(value, low, high, n):
    return {"value": value, "low": low, "high": high, "n": n}


ROWS = [
    {
        "step": step,
        "judge": "rules",
        "question": "refusal",
        "behaviours": 12,
        "dsr": rate(dsr, dsr - 0.1, dsr + 0.05, 108),
        "over_refusal": {
            "ordinary": rate(0.0, 0.0, 0.14, 24),
            "lookalike": rate(price, price - 0.2, price + 0.2, 24),
        },
        "model": model,
    }
    for step, dsr, price, model in (
        (0, 0.6, 0.25, "some/base"),
        (10, 0.9, 0.5, "runs/r/checkpoints/step-000010"),
        (20, 0.95, 0.75, None),
    )
]


def test_the_table_has_defence_price_intervals_and_what_to_deploy():
    table = step_table(ROWS)
    assert table.header == [
        "Refused (rules)",
        "Ordinary refused",
        "Look-alikes refused",
        "model",
    ]
    assert table.rows == [
        ("step 0", ["60% (50 to 65, n = 108)", "0% (0 to 14, n = 24)", "25% (5 to 45, n = 24)",
               "some/base"]),
        ("step 10", ["90% (80 to 95, n = 108)", "0% (0 to 14, n = 24)", "50% (30 to 70, n = 24)",
                "step-000010"]),
        ("step 20", ["95% (85 to 100, n = 108)", "0% (0 to 14, n = 24)", "75% (55 to 95, n = 24)",
                "not saved"]),
    ]  # fmt: skip
    assert "They do not choose the step" in table.note
    assert table.note.endswith("For the defence, n counts attacks on 12 requests")
    assert step_table([]).rows == []


def test_the_table_names_the_attacks_of_the_mini_evaluations(run):
    mini(run, suite("bend")).ask(10)
    table = step_table(steps_to_choose_from(run, "base"))
    assert "Attacks here: direct, polite; the evaluations before and after" in table.note
    assert "Attacks here" not in step_table(ROWS).note


def test_refusals_inside_disguises_have_columns_and_lines_where_they_were_asked():
    refused = {**ROWS[0]["over_refusal"], "ordinary_disguised": rate(0.5, 0.31, 0.69, 24)}
    table = step_table([ROWS[0], {**ROWS[1], "over_refusal": refused}])
    assert table.header[2:5] == [
        "Look-alikes refused", "Ordinary in disguises", "Look-alikes in disguises"
    ]  # fmt: skip
    assert [cells[3:5] for _, cells in table.rows] == [
        ["–", "–"], ["50% (31 to 69, n = 24)", "–"]
    ]  # fmt: skip
    drawn = mini_eval_curves([ROWS[0], {**ROWS[1], "over_refusal": refused}])
    assert "ordinary in disguises (n = 24)" in drawn
    assert "look-alikes in disguises" not in drawn
    assert "in disguises" not in mini_eval_curves(ROWS)


def test_an_alarm_about_a_judge_marks_the_row():
    doubted = [{**ROWS[0], "doubts": [{"kind": "attack", "says": "in doubt: read the records"}]}]
    table = step_table(doubted)
    ((_, cells),) = table.rows
    assert table.note.endswith(
        "12 requests. In doubt: the judge may mislabel some answers of step 0, which are not kept; "
        "evaluate the step with sirl evaluate to read them"
    )
    assert cells[:2] == ["in doubt: 60% (50 to 65, n = 108)", "0% (0 to 14, n = 24)"]


def test_the_terminal_shows_the_table_and_json_stays_json(capsys):
    show_steps({"mini_evaluations": ROWS}, as_json=True)
    show_steps({"mini_evaluations": []}, as_json=False)
    assert capsys.readouterr().out == ""
    show_steps({"mini_evaluations": ROWS}, as_json=False)
    said = capsys.readouterr().out
    assert "Mini-evaluations by step" in said
    assert "Look-alikes" in said


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_curves_have_n_and_intervals_and_no_line_without_a_name(width):
    drawn = mini_eval_curves(ROWS, width)
    assert "refused (rules) (n = 108)" in drawn
    assert "look-alikes refused (n = 24)" in drawn
    assert drawn.count("stroke-dasharray") == 4  # two lines, each with its name in the legend
    alone = [{k: v for k, v in row.items() if k != "dsr"} for row in ROWS]
    assert "ordinary refused (n = 24)" in mini_eval_curves(alone)
    assert "stroke-dasharray" not in training_curves([{"step": 1, "reward/mean": -0.5}])


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_only_what_was_measured_of_training_has_a_panel(width):
    rows = [
        {"step": step, "points/mass_refused": 0.2 * step, "update/loss": -0.5, "kl/reference": None}
        for step in (1, 2, 3)
    ]
    rows[2] |= {"sentinel/gain": 0.9}
    said = training_curves(rows, width)
    assert "refusal mass where the start refuses" in said
    assert "own refusals kept in disguises" in said
    for unmeasured in ("reward", "entropy", "KL to the starting model", "length"):
        assert unmeasured not in said


def test_the_hint_measures_what_the_table_measured():
    summary = {"checkpoint": "runs/my run/checkpoints/step-000003", "last_step": 3}
    config = TrainConfig(
        model="a/b", out="runs/m", prompts="p.txt", behaviours="b.txt", lookalikes="l.txt",
        new_tokens=32,
    )  # fmt: skip
    assert again(config, summary) == (
        "next: sirl evaluate --model 'runs/my run/checkpoints/step-000003' --behaviours b.txt "
        "--lookalikes l.txt --attacks quick --new-tokens 32 --out runs/m-evaluated"
    )
    assert "--behaviours FILE" in again(config.model_copy(update={"behaviours": None}), summary)
    told = config.model_copy(
        update={"template_arguments": {"thinking": False}, "template_date": "2026-01-31"}
    )
    assert (
        """--template-arguments '{"thinking": false}' --template-date 2026-01-31 --out"""
        in again(told, summary)
    )
    other = {"limit": 15, "dtype": "bfloat16", "seed": 3, "sampler": "huggingface", "strict": True}
    assert (
        "--new-tokens 32 --limit 15 --dtype bfloat16 --seed 3 --sampler huggingface --strict --out"
        in again(config.model_copy(update=other), summary)
    )
    assert "--sampler" not in again(config.model_copy(update={"sampler": "vllm"}), summary)
    world = TrainConfig(model="embedded", out="runs/m")
    assert "--behaviours" not in again(world, summary)
    assert hardened_model(summary) == [
        "hardened model: the last step, 3: runs/my run/checkpoints/step-000003"
    ]


def test_the_step_that_the_sentinel_recommends_is_named_with_its_reason():
    found = {
        "sentence": "step 2 is recommended: it is best",
        "reason": "step 3 is the last: enough",
    }
    summary = {"checkpoint": "c", "last_step": 3, "chosen_step": 2, "sentinel": found}
    assert hardened_model(summary) == [
        found["sentence"],
        found["reason"],
        "hardened model: the recommended step, 2 of 3: c",
    ]


@pytest.mark.parametrize(
    ("steps", "every", "on_the_way", "saved"),
    [(30, 10, 10, 3), (30, 10, 5, 6), (25, 10, 0, 3), (7, 5, 3, 4), (1, 10, 10, 1)],
)
def test_a_plan_counts_the_checkpoints_of_mini_evaluations(steps, every, on_the_way, saved):
    config = PlanConfig(model="a/b", steps=steps, checkpoint_every=every, eval_every=on_the_way)
    assert checkpoints(config) == saved


def test_changed_questions_have_another_name(run):
    one, two = mini(run, suite("bend")), mini(run, suite("steal"))
    assert one.asked == mini(run, suite("bend")).asked
    assert one.asked != two.asked
    assert one.asked != replace(one, suite=replace(one.suite, attacks=())).asked


@pytest.mark.parametrize(
    ("settings", "evaluate", "serve"),
    [
        ({"model": "embedded"}, "--model embedded --guard g --new-tokens 64", "--model embedded"),
        (
            {"model": "own/model", "out": "my g", "dtype": "bfloat16", "sampler": "huggingface",
             "template_arguments": {"think": False}, "new_tokens": 32},
            "--model own/model --guard 'my g' --new-tokens 32 --dtype bfloat16 "
            """--template-arguments '{"think": false}' --set sampler=huggingface """
            "--behaviours FILE --ordinary FILE",
            """--model own/model --guard 'my g' --dtype bfloat16 """
            """--template-arguments '{"think": false}'""",
        ),
        (
            {"model": "https://h.test/v1#a/b", "key_from_env": "KEY", "concurrency": 2},
            "--model 'https://h.test/v1#a/b' --guard g --new-tokens 64 --set concurrency=2 "
            "--set key_from_env=KEY --behaviours FILE --ordinary FILE",
            "--upstream https://h.test/v1 --upstream-model a/b --guard g "
            "--upstream-key-from-env KEY",
        ),
    ],
)  # fmt: skip
def test_the_commands_after_a_calibration_hold_what_the_guard_is_bound_to(
    settings, evaluate, serve
):
    config = GuardCalibrateConfig(**{"out": "g", "prompts": "p.txt"} | settings)
    guard = "" if "--guard" in serve else " --guard g"
    out = shlex.quote(f"{config.out}-evaluated")
    assert next_commands(config) == [
        f"next: sirl guard evaluate {evaluate} --out {out}",
        f"to serve it: sirl guard serve {serve}{guard}",
    ]
