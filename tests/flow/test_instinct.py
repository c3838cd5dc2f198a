"""The instinct method from its reading to the recommended step: resumed, and in two processes."""

import json
import shutil
from html import unescape

import pytest

from sirl.cli.main import main
from sirl.world.language import ordinary_requests, unsafe_requests
from tests.command import all_said, ended, ranks, sirl
from tests.flow.test_distributed import metrics

SETTINGS = [
    "train", "--model", "embedded", "--pool", "none", "--steps", "4", "--checkpoint-every", "2",
    "--batch", "4", "--group", "4", "--new-tokens", "24", "--eval-every", "0", "--seed", "5",
    "--attacks", "direct", "--held-out", "4", "--limit", "4",
]  # fmt: skip


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("instinct")
    asked = [*unsafe_requests("train")[:16], *ordinary_requests("train")[:16]]
    (folder / "prompts.txt").write_text("\n".join(p.request for p in asked))
    done = sirl(*SETTINGS, "--prompts", folder / "prompts.txt", "--out", folder / "run")
    assert done.returncode == 0, done.stderr
    return folder


def summary(run):
    return json.loads((run / "summary.json").read_text())


def header(run):
    """The words above the first table of a run's page, in lower case."""
    return unescape((run / "report.html").read_text()).partition("</header>")[0].lower()


def test_a_run_recommends_a_step_that_it_saved_and_measures_it(unbroken):
    found = summary(unbroken / "run")
    looks = found["sentinel"]["looks"]
    assert [look["step"] for look in looks][0] == 0
    assert found["chosen_step"] in [look["step"] for look in looks[1:]]
    assert found["checkpoint"].endswith(f"step-{found['chosen_step']:06d}")
    assert found["instinct"]["refuse"] + found["instinct"]["comply"] > 20
    assert set(found["models"]) == {"base", "hardened"}
    assert found["sentinel"]["sentence"].lower() in header(unbroken / "run")
    rows = map(json.loads, (unbroken / "run" / "records.jsonl").read_text().splitlines())
    plain = [r["label"] for r in rows if (r["model"], r["kind"]) == ("base", "attack")]
    answered = plain.count("compliance")
    assert 0 < answered < len(plain)
    said = f"of the {len(plain)} held-out prompts, the starting model answers {answered} when"
    assert said in found["asked"]


def test_a_run_that_goes_on_ends_with_the_same_looks_step_and_answers(unbroken):
    cut = unbroken / "cut"
    shutil.copytree(unbroken / "run", cut)
    last = summary(cut)["last_step"]
    for step in range(3, last + 1):
        shutil.rmtree(cut / "checkpoints" / f"step-{step:06d}", ignore_errors=True)
    done = sirl(*SETTINGS, "--prompts", unbroken / "prompts.txt", "--out", cut, "--resume")
    assert done.returncode == 0, done.stderr
    was, now = summary(unbroken / "run"), summary(cut)
    assert now["sentinel"] == was["sentinel"]
    assert (now["chosen_step"], now["last_step"]) == (was["chosen_step"], was["last_step"])
    assert now["models"] == was["models"]


def test_without_decisions_whole_answers_are_sampled_and_an_early_end_stays_one(
    unbroken, monkeypatch, capfd
):
    monkeypatch.setattr("sirl.decisions.AGREEMENT", 1.01)
    early = unbroken / "early"
    words = [*SETTINGS, "--prompts", unbroken / "prompts.txt", "--out", early]
    words[words.index("--group") + 1] = "2"  # most groups of two agree
    words[words.index("--batch") + 1] = "2"
    words[words.index("--checkpoint-every") + 1] = "4"
    words[words.index("--steps") + 1] = "20"
    monkeypatch.setattr("sys.argv", ["sirl", *map(str, words)])
    with pytest.raises(SystemExit, match="0"):
        main()
    assert "so training samples whole answers" in capfd.readouterr().err
    assert "reward/mean" in metrics(early)[0]
    was = summary(early)
    assert was["last_step"] < 20
    assert "nothing left to learn" in was["sentinel"]["reason"]
    assert was["ended"].lower() in header(early)
    answers = (early / "records.jsonl").read_text()
    monkeypatch.setattr("sys.argv", ["sirl", *map(str, words), "--resume"])
    with pytest.raises(SystemExit, match="0"):
        main()
    said = capfd.readouterr().err
    left = 20 - was["last_step"]
    assert f"{left} steps of --steps 20 not taken: step {was['last_step']} is" in said
    assert "nothing left to learn. More steps would only continue what ended the run; to" in said
    assert (early / "records.jsonl").read_text() == answers
    assert summary(early)["sentinel"] == was["sentinel"]


def test_decisions_are_read_once_and_metrics_say_how_many_are_as_taught(unbroken):
    run = unbroken / "run"
    decisions = json.loads((run / "decisions.json").read_text())
    assert set(decisions["masses"]) == set(
        json.loads((run / "instinct.json").read_text())["shares"]
    )
    assert decisions["agreement"] >= 0.9
    assert all(len(own) <= 2 for own in decisions["answers"].values())
    assert all(0 <= row["points/settled"] <= 1 for row in metrics(run))
    assert "seconds/sample" not in metrics(run)[0]


@pytest.mark.parametrize("more", [(), ("--shard",)], ids=["replicas", "shards"])
def test_two_processes_read_the_same_instinct_and_end_alike(unbroken, tmp_path, more):
    out, said = tmp_path / "two", tmp_path / "said"
    processes = ranks(
        2, said, *SETTINGS, "--prompts", str(unbroken / "prompts.txt"), "--out", str(out), *more
    )
    assert [ended(p) for p in processes] == [0, 0], all_said(said)
    assert (out / "instinct.json").read_text() == (unbroken / "run" / "instinct.json").read_text()
    two, one = (summary(path)["sentinel"] for path in (out, unbroken / "run"))
    # These are means of log-likelihoods, which two processes round otherwise than one.
    for name in ("drift", "information"):
        found = [[part.pop(name) for part in (run, *run["looks"])] for run in (two, one)]
        assert found[0] == pytest.approx(found[1], abs=1e-4)
    assert two == one
    assert [row["step"] for row in metrics(out)] == [
        row["step"] for row in metrics(unbroken / "run")
    ]
