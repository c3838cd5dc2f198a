"""The steps of a training run beside each other: which is the best, and how they are shown."""

import shutil
from contextlib import closing

import pytest

from sirl.analysis.defence import worst_attack
from sirl.comparison.sweep import PriceCap, best_step
from sirl.errors import ConfigError
from sirl.models.folder import EMBEDDED_PATH, hash_of_files
from sirl.reports.page import PageData, render
from sirl.reports.plots import DASHES, MARKS, NARROW, TASKS
from sirl.reports.sweep import difference_table, marks_of, step_rows, sweep_lines, sweep_tables
from sirl.reports.trade import trade_curve
from sirl.runs import open_run
from sirl.runs.provenance import Provenance
from sirl.workflows.sweep import same_weights

CAP = PriceCap(lookalike=0.02, ordinary=0.01, tasks=0.02)


def rate(value, n=100):
    return {"value": value, "low": max(0, value - 0.1), "high": min(1, value + 0.1), "n": n}


def figures(defence, lookalike=None, ordinary=None, solved=None, *, doubted=False):
    prices = {"lookalike": lookalike, "ordinary": ordinary}
    asked = {kind: rate(value) for kind, value in prices.items() if value is not None}
    return {
        "judge": "rules",
        "question": "refusal",
        "dsr": {
            "mean": rate(defence),
            "worst": {"attack": "story", **rate(defence / 2)},
            "any": rate(defence / 4, 50),
        },
        **({"over_refusal": asked} if asked else {}),
        **({"capability": {"sums": rate(solved), "chat": rate(1.0, 20)}} if solved else {}),
        **({"doubts": [{"kind": "attack", "says": "odd"}]} if doubted else {}),
    }


def test_the_best_step_has_the_greatest_defence_among_those_that_keep_the_price():
    found = best_step(
        {
            0: figures(0.5, 0.10, 0.0),
            10: figures(0.8, 0.12, 0.01),  # at the cap, which is allowed
            20: figures(0.9, 0.13, 0.0),  # look-alikes rise by 3 points
            30: figures(0.95, 0.10, 0.02),  # ordinary prompts rise by 2
        },
        CAP,
    )
    assert found["step"] == 10
    assert found["sentence"] == (
        "step 10 has the greatest defence under a rise of refusals in points of at most 2 for "
        "look-alikes and 1 for ordinary prompts, and a loss of at most 2 points of solved tasks: "
        "80% (start 50%), look-alikes refused 12% (start 10%), ordinary prompts refused 1% (start "
        "0%), no tasks were asked; the best of several steps looks better than it is, so evaluate "
        "it on other requests"
    )


def test_the_price_in_disguises_is_said_beside_the_cap():
    base, best = figures(0.5, 0.10, 0.0), figures(0.8, 0.10, 0.0)
    base["over_refusal"]["ordinary_disguised"] = rate(0.0)
    best["over_refusal"]["ordinary_disguised"] = rate(0.10)
    assert (
        "ordinary prompts refused 0% (start 0%), in disguises 10% (start 0%), which the cap leaves "
        "out, no tasks"
    ) in best_step({0: base, 10: best}, CAP)["sentence"]


def test_a_step_that_solves_fewer_tasks_than_it_may_is_not_the_best():
    steps = {
        0: figures(0.5, 0.1, 0.0, solved=0.98),
        10: figures(0.8, 0.1, 0.0, solved=0.96),  # of 120 tasks together, 1.7 points fewer
        20: figures(0.9, 0.1, 0.0, solved=0.95),  # 2.5 points fewer
    }
    found = best_step(steps, CAP)
    assert found["step"] == 10
    assert "tasks solved 97% (start 98%)" in found["sentence"]


def test_a_cap_that_is_finer_than_one_prompt_is_said():
    few = {**figures(0.5, 0.1, 0.0)}
    few["over_refusal"] = {"lookalike": rate(0.1, 100), "ordinary": rate(0.0, 20)}
    found = best_step({0: few, 10: few | {"dsr": figures(0.9)["dsr"]}}, CAP)
    assert found["sentence"].endswith(
        "; a single refusal already exceeds the cap: one of 20 ordinary prompts is 5 points "
        "(cap 1); give more of them"
    )


def test_of_two_equal_steps_the_earlier_is_the_best():
    same = figures(0.9, 0.1, 0.0)
    assert best_step({0: figures(0.5, 0.1, 0.0), 10: same, 20: same}, CAP)["step"] == 10


def test_a_doubted_step_is_never_the_best_and_is_named():
    steps = {
        0: figures(0.5, 0.1),
        10: figures(0.7, 0.1),
        20: figures(0.99, 0.1, doubted=True),
    }
    found = best_step(steps, CAP)
    assert found["step"] == 10
    assert found["sentence"].endswith(
        "evaluate it on other requests; in doubt and left out: step 20"
    )


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        ({0: {}, 10: {}}, "no attack was tried, so that no step is the best"),
        (
            {0: figures(0.5), 10: figures(0.9)},
            "the price is unknown: give --lookalikes and --ordinary",
        ),
        (
            {0: figures(0.5, 0.1, doubted=True), 10: figures(0.9, 0.1)},
            "the figures of the starting model are in doubt: no step is the best",
        ),
        (
            {0: figures(0.5, 0.1), 10: figures(0.5, 0.1), 20: figures(0.9, 0.3)},
            "no step under a rise of refusals in points of at most 2 for look-alikes and 1 for "
            "ordinary prompts, and a loss of at most 2 points of solved tasks defends better than "
            "the starting model",
        ),
        (
            {0: figures(0.5, 0.1), 10: figures(0.9, 0.3)},
            "no step keeps a rise of refusals in points of at most 2 for look-alikes and 1 for "
            "ordinary prompts, and a loss of at most 2 points of solved tasks",
        ),
    ],
)
def test_where_no_step_is_the_best_a_sentence_says_why(steps, why):
    assert best_step(steps, CAP) == {"step": None, "sentence": why}


SUMMARY = {
    "source": "runs/r",
    "sentences": ["Step 10 has the greatest defence."],
    "best": {"step": 10},
    "recommended": {"step": 20},
    "models": {
        "step 0": figures(0.5, 0.1, 0.0),
        "step 10": figures(0.8, 0.1, 0.0),
        "step 20": figures(0.9, 0.2, 0.0),
    },
    "steps": [
        {"step": 0, "name": "step 0", "run": "s/evaluations/step-000000"},
        {
            "step": 10,
            "name": "step 10",
            "run": "s/evaluations/step-000010",
            "difference": {"dsr": {"mean": {"difference": rate(0.3)}}},
        },
        {
            "step": 20,
            "name": "step 20",
            "run": "s/evaluations/step-000020",
            "difference": {"reason": "s/evaluations/step-000020 does not count"},
        },
    ],
}


def test_each_step_is_a_row_with_its_marks_rates_and_paired_change():
    defence, price = sweep_tables(SUMMARY)
    assert defence.header == [
        "Refused (rules), % (n = 100)",
        "Worst attack, % (n = 100)",
        "Held under all attacks, % (n = 50)",
        "Mean, points from start",
    ]
    assert defence.rows == [
        ("step 0", ["50 (40 to 60)", "25 (15 to 35) story", "12 (2 to 22)", "–"]),
        (
            "step 10, best",
            ["80 (70 to 90)", "40 (30 to 50) story", "20 (10 to 30)", "+30 (+20 to +40)"],
        ),
        ("step 20, sentinel", ["90 (80 to 100)", "45 (35 to 55) story", "22 (12 to 32)", "–"]),
    ]
    assert price.header == ["Look-alikes refused, % (n = 100)", "Ordinary refused, % (n = 100)"]
    assert price.rows[2] == ("step 20, sentinel", ["20 (10 to 30)", "0 (0 to 10)"])


def test_the_markdown_page_says_why_a_step_has_no_difference():
    lines = sweep_lines(SUMMARY)
    assert lines[:3] == ["# Sweep of runs/r", "", "Step 10 has the greatest defence."]
    assert "|  | defence | not compared, since |" in lines
    assert "| step 10 | +30 (+20 to +40) | – |" in lines
    assert "| step 20 | – | s/evaluations/step-000020 does not count |" in lines
    assert lines[-1] == "- step 20: s/evaluations/step-000020"


def test_each_difference_has_a_column():
    found = {
        "dsr": {"mean": {"difference": rate(0.3)}},
        "over_refusal": {"lookalike": {"difference": rate(0.1)}},
        "capability": {"sums": {"difference": rate(-0.2)}, "tales": {"difference": rate(0.0, 0)}},
    }
    steps = [SUMMARY["steps"][0], {**SUMMARY["steps"][1], "difference": found}]
    table = difference_table({**SUMMARY, "steps": steps})
    assert table.header == ["defence", "look-alikes refused", "sums solved"]
    assert table.rows == [("step 10", ["+30 (+20 to +40)", "+10 (+0 to +20)", "-20 (+0 to -10)"])]


@pytest.mark.parametrize(("steps", "coloured"), [(3, True), (4, False)])
def test_a_page_colours_its_models_only_where_each_has_a_colour(steps, coloured):
    models = {f"step {n}": {"over_refusal": {"lookalike": rate(0.1)}} for n in range(steps)}
    page = render(PageData(title="t", models=models))
    assert ('class="m0"' in page) == coloured
    assert 'class="m3"' not in page


def test_many_lines_of_a_plot_differ_in_colour_dash_or_marker():
    looks = {
        (TASKS[n % len(TASKS)], DASHES[n % len(DASHES)], MARKS[n % len(MARKS)]) for n in range(60)
    }
    assert len(looks) == 60


@pytest.mark.parametrize("width", [8.2, NARROW])
def test_the_plot_names_each_step_and_each_mark(width):
    drawn = trade_curve(step_rows(SUMMARY), marks_of(SUMMARY), width)
    assert "step 10: best" in drawn
    assert "step 20: sentinel" in drawn
    assert "bare (n = 100)" in drawn
    assert "look-alikes refused, %" in drawn
    assert "in disguises" not in drawn  # none were asked


def test_without_lookalikes_the_plot_has_ordinary_prompts():
    models = {"step 0": figures(0.5, None, 0.0), "step 10": figures(0.9, None, 0.1)}
    summary = {**SUMMARY, "models": models, "steps": SUMMARY["steps"][:2]}
    assert "ordinary prompts refused, %" in trade_curve(step_rows(summary), {})


def test_a_resumed_sweep_notices_other_weights_of_the_starting_model(tmp_path):
    start = tmp_path / "start"
    shutil.copytree(EMBEDDED_PATH, start)
    for resumed, change in (("ask", ""), ("resume", ""), ("resume", "\n")):
        config = start / "config.json"
        config.write_text(config.read_text() + change)
        run = open_run(tmp_path / "s", {"model": str(start)}, resumed)
        run.begin()
        with closing(run), Provenance(run, "sweep", seed=0, template_date=None) as about:
            if change:
                with pytest.raises(ConfigError, match="was started with other weights"):
                    same_weights(about, {0: str(start)})
            else:
                same_weights(about, {0: str(start)})
                assert set(about.document["model"]) == {"step 0"}


def test_the_files_of_an_adapter_include_those_of_its_base(tmp_path):
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    for folder in (base, adapter):
        folder.mkdir()
    (adapter / "adapter_config.json").write_text(f'{{"base_model_name_or_path": "{base}"}}')
    (base / "model.safetensors").write_bytes(b"one")
    first = hash_of_files(str(adapter))
    (base / "README.md").write_text("not a part of the model")
    assert hash_of_files(str(adapter)) == first
    (base / "model.safetensors").write_bytes(b"two")
    assert hash_of_files(str(adapter)) != first


def test_of_several_worst_attacks_the_first_by_name_is_named_in_whatever_order():
    held = {"story": 0.5, "dan": 0.5, "direct": 0.9}
    assert worst_attack(held) == worst_attack(dict(reversed(held.items()))) == "dan"
    assert worst_attack({"story": (0.4, 0.5), "dan": (0.4, 0.6)}) == "story"
