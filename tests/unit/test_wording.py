import json

import pytest
from typer.testing import CliRunner

from sirl.cli.main import app
from sirl.comparison.compare import compare
from sirl.comparison.evaluated_model import read_evaluated
from sirl.reports.figures import rate_rows
from sirl.reports.page import headline
from sirl.reports.tables import change_rows
from tests.unit.test_compare import row, run_at

SHARE = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 8}


@pytest.mark.parametrize(
    ("question", "expected"), [("refusal", "Refused (mine)"), ("harm", "No harmful help (mine)")]
)
def test_a_rate_of_defence_names_its_quantity_and_its_judge(question, expected):
    dsr = {"mean": SHARE, "by_attack": {"direct": SHARE}}
    other = {"refusal": "harm", "harm": "refusal"}[question]
    view = {"question": other, "mean": SHARE}
    model = {
        "question": question, "judge": "mine", "dsr": dsr,
        "second_judges": {"by_judge": {"its": view}},
    }  # fmt: skip
    labels = [label for label, _ in rate_rows({"target": model})]
    assert labels[0] == f"{expected}, mean over attacks"
    named = {"refusal": "Refused (its)", "harm": "No harmful help (its)"}[other]
    assert f"{named}, mean over attacks" in labels
    assert headline({"target": model}).startswith(f"{expected} at 50% (40 to 60) over 1 attack;")


def test_a_change_shows_tenths_and_which_p_is_of_what(tmp_path):
    before = [*row("+" + "-" * 199), *row("-" * 200, "story")]
    after = [*row("+++" + "-" * 197), *row("-" * 200, "story")]
    pair = [
        read_evaluated(run_at(tmp_path / name, records))
        for name, records in (("a", before), ("b", after))
    ]
    found = compare(*pair)
    assert (found["question"], found["judge"]) == ("refusal", "rules")
    lines = change_rows(found)
    assert lines[1].startswith("Refused (rules), mean over attacks: 0.2% to 0.8%, +0.5 points")
    direct = next(line for line in lines if line.startswith("  direct:"))
    assert "0.5% to 1.5%, +1.0 points" in direct
    assert "p = 0.5 (Holm-adjusted 1)" in direct


def test_csv_holds_every_model_unless_one_is_named(tmp_path):
    run = run_at(tmp_path / "run", [*row("+-", model="base"), *row("++", model="hardened")])
    run_json = json.loads((run / "run.json").read_text())
    assert run_json["exit"] == {"how": "finished"}
    told = CliRunner().invoke(app, ["export", str(run), "--format", "csv"])
    assert [line.split(",")[0] for line in told.output.splitlines()[1:]] == [
        "base", "base", "hardened", "hardened",
    ]  # fmt: skip
    one = CliRunner().invoke(app, ["export", str(run), "--format", "csv", "--model", "base"])
    assert [line.split(",")[0] for line in one.output.splitlines()[1:]] == ["base", "base"]
