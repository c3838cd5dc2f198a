"""What a newcomer gets wrong, and what the command line says of it."""

import json
import shutil
from pathlib import Path

import pytest

from sirl.analysis.calibration import read_calibration
from sirl.errors import Stopped
from sirl.models.folder import EMBEDDED_PATH
from tests.command import sirl
from tests.conftest import shared


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A small finished evaluation."""
    out = tmp_path_factory.mktemp("runs") / "e1"
    words = ["--model", "embedded", "--attacks", "direct,samples", "--limit", 3]
    assert (
        sirl("evaluate", *words, "--set", "new_tokens=24", "--out", out, "--json").returncode == 0
    )
    return out


def bytes_in(folder):
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_no_verb_writes_over_the_run_that_it_reads(finished):
    before = bytes_in(finished)
    again = ("judge", "again", finished, "--judge", "oracle", "--out", finished)
    for words in (
        (*again, "--overwrite"),
        again,
        ("export", finished, "--out", finished / "records.jsonl", "--overwrite"),
        ("export", finished, "--out", finished / "summary.json"),
        ("judge", "prefer", finished, finished, "--judge", "python:x:y", "--out",
         finished / "summary.json", "--overwrite"),
        ("judge", "calibrate", "--labels", finished / "records.jsonl", "--judge", "rules",
         "--out", finished / "records.jsonl", "--overwrite"),
    ):  # fmt: skip
        status, out, said = sirl(*words)
        assert (status, out) == (2, ""), words
        assert said.startswith("sirl: ")
        assert "give another --out" in said
    assert bytes_in(finished) == before


def test_an_export_replaces_a_file_only_when_told(finished, tmp_path):
    file = tmp_path / "table.md"
    file.write_text("mine")
    status, _, said = sirl("export", finished, "--out", file)
    assert (status, file.read_text()) == (2, "mine")
    assert said == f"sirl: {file} exists: --overwrite replaces it, or give another --out\n"
    assert sirl("export", finished, "--out", file, "--overwrite")[0] == 0
    assert "|direct " in file.read_text()
    log = ("export", finished, "--format", "inspect", "--out", tmp_path / "logs")
    assert sirl(*log)[0] == 0
    assert sirl(*log)[0] == 2
    assert sirl(*log, "--overwrite")[0] == 0


@pytest.mark.parametrize("log", ["records", "items"])
def test_a_run_that_has_lost_lines_is_read_by_no_verb(finished, tmp_path, log):
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    assert sirl("compare", finished, copy)[0] == 0
    whole = (copy / f"{log}.jsonl").read_text().splitlines(keepends=True)
    (copy / f"{log}.jsonl").write_text("".join(whole[:-2]))
    for words in (
        ("compare", finished, copy),
        ("gate", copy, "--min-dsr", 0.1, "--no-price"),
        ("judge", "again", copy, "--judge", "oracle", "--out", tmp_path / "again"),
        ("export", copy),
    ):
        status, out, said = sirl(*words)
        assert (status, out) == (2, ""), words
        assert said == (
            f"sirl: {copy}/{log}.jsonl is not as the run wrote it: restore the file, or give the "
            "command that wrote it again, with --overwrite\n"
        )


def test_a_line_that_is_twice_in_an_older_run_is_not_a_line_that_is_missing(finished, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    about = json.loads((copy / "run.json").read_text())
    del about["written"]  # earlier versions kept no hashes
    (copy / "run.json").write_text(json.dumps(about))
    whole = (copy / "records.jsonl").read_text().splitlines(keepends=True)
    (copy / "records.jsonl").write_text("".join([*whole, whole[0]]))
    assert sirl("export", copy)[0] == 0
    (copy / "records.jsonl").write_text("".join([*whole[1:], whole[1]]))
    assert sirl("export", copy)[0] == 2


def test_a_flag_of_another_format_is_refused_and_a_table_shows_the_model_that_is_named(finished):
    csv = sirl("export", finished, "--format", "csv", "--attack", "direct")
    assert csv == (2, "", "sirl: --attack is for --format jbb: give that, or leave --attack out\n")
    table = sirl("export", finished, "--texts")
    assert table == (2, "", "sirl: --texts is for --format csv: give that, or leave --texts out\n")
    assert sirl("export", finished, "--model", "target")[1] == sirl("export", finished)[1]


def test_a_judge_measured_on_what_it_was_fitted_on_says_so_and_its_file_keeps_it(tmp_path):
    few = shared("data/xstest_labelled.jsonl").read_text().splitlines(keepends=True)[:4]
    labels, out = tmp_path / "labels.jsonl", tmp_path / "c.json"
    labels.write_text("".join(few))
    words = ("judge", "calibrate", "--labels", labels, "--judge", "rules", "--out", out, "--json")
    status, said, err = sirl(*words)
    assert status == 0
    assert json.loads(said)["fitted_on"] == 4
    assert "4 of the 4 labelled answers are among those that rules was fitted on" in err
    assert read_calibration(out).fitted_on == 4


def test_resume_needs_the_folder_alone_and_takes_no_other_settings(finished):
    before = (finished / "summary.json").read_text()
    status, out, _ = sirl("evaluate", "--out", finished, "--resume", "--json")
    assert status == 0
    old, new = json.loads(before), json.loads(out)
    assert new["models"] == old["models"]
    assert new["recorded"] == old["recorded"]
    status, _, said = sirl("evaluate", "--out", finished, "--resume", "--limit", 2)
    assert status == 2
    assert "was started with limit = 3, not 2" in said
    status, _, said = sirl("probe", "--out", finished, "--resume")
    assert status == 2
    assert "is a run of sirl evaluate, and sirl probe cannot continue it" in said
    status, _, said = sirl("evaluate", "--model", "embedded", "--out", f"{finished}x", "--resume")
    assert status == 2
    assert f"{finished}x does not exist" in said
    assert f"did you mean {finished}?" in said
    assert not Path(f"{finished}x").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["train", "--steps", "abc"], "sirl: --steps takes a whole number; see sirl train --help"),
        (["train", "--stepz", "3"], "no such option: --stepz"),
        (["train", "--group", "x"], "sirl: --group takes a whole number; see sirl train --help"),
        (["train", "--kl", "x"], "sirl: --kl takes a number; see sirl train --help"),
        (["gate"], "sirl: missing argument 'run'; see sirl gate --help"),
        (["judge", "again", "x", "--out", "o"], "missing option '--judge'; see sirl judge again"),
        (["sweep", "--out", "o"], "sirl: missing argument 'run'; see sirl sweep --help"),
        (["train", "--steps", "-1", "--model", "m", "--out", "o"],
         "--steps -1: steps must be at least 1"),
    ],
)  # fmt: skip
def test_wrong_words_get_one_sentence_and_a_way_out(words, sentence):
    status, out, said = sirl(*words)
    assert (status, out) == (2, "")
    assert said.startswith("sirl: ")
    assert said.count("\n") == 1
    assert sentence in said
    assert "--help" in said or "must be" in said


@pytest.mark.parametrize(
    ("words", "holds"),
    [
        (["judge", "calibrate", "--judge", "rules", "--labels"], "labelled answer"),
        (["evaluate", "--model", "embedded", "--out", "o", "--calibration"], "calibration"),
        (["evaluate", "--model", "embedded", "--out", "o", "--refusals"], "sentence"),
        (["evaluate", "--model", "embedded", "--out", "o", "--targets"], "target"),
        (["evaluate", "--model", "embedded", "--out", "o", "--behaviours"], "prompt"),
    ],
)
def test_an_empty_file_is_told_what_it_should_hold(tmp_path, monkeypatch, words, holds):
    monkeypatch.chdir(tmp_path)
    Path("empty.csv").write_text("\n")
    assert sirl(*words, "empty.csv") == (
        2, "", f"sirl: empty.csv is empty: give a file with at least one {holds}\n",
    )  # fmt: skip
    assert {p.name for p in tmp_path.iterdir()} == {"empty.csv"}


def test_weights_that_are_damaged_are_named(tmp_path):
    model = tmp_path / "m"
    shutil.copytree(EMBEDDED_PATH, model)
    (weights,) = model.glob("*.safetensors")
    whole = weights.read_bytes()
    for bad in (whole[: len(whole) // 2], b"<html>404</html>", b""):
        weights.write_bytes(bad)
        status, _, said = sirl("evaluate", "--model", model, "--out", tmp_path / "e")
        assert status == 2
        assert said.startswith(f"sirl: {weights} is damaged or incomplete (")
        assert said.endswith("): copy or download it again\n")
        assert "Error" not in said


def test_a_damaged_line_is_named_where_too_few_prompts_are_left(tmp_path):
    prompts = tmp_path / "p.jsonl"
    prompts.write_text('{"prompt": "How do I bend a moon?"}\n{"prompt": \n')
    words = ("--prompts", prompts, "--out", tmp_path / "t", "--set", "held_out=0")
    status, _, said = sirl("train", "--method", "entropy", "--model", "embedded", *words)
    assert status == 2
    last = said.splitlines()[-1]
    assert last.startswith("sirl: a batch of 16 exceeds the 1 usable prompts: 1 were rejected, ")
    assert f"the first is {prompts}:2: the line is not JSON" in last


def test_a_run_that_ended_in_an_error_says_which(finished, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    about = json.loads((copy / "run.json").read_text())
    about["exit"] = {"at": "", "how": "RunError", "why": "no space left while writing x"}
    (copy / "run.json").write_text(json.dumps(about))
    assert sirl("export", copy) == (
        2, "",
        f"sirl: {copy} has not finished (it ended in an error: no space left while writing x): "
        "finish it with --resume, or start it over with --overwrite, first\n",
    )  # fmt: skip


def test_a_demo_whose_folder_exists_says_so_before_it_trains(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "here")
    done = sirl("demo", "--out", "here", cwd=tmp_path)
    assert done.returncode == 2
    assert "here exists: --resume continues it" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["here"]


def test_a_demo_that_ended_in_its_first_run_is_resumed(finished, tmp_path, monkeypatch):
    shutil.copytree(finished, tmp_path / "here-paper")
    runs = []

    def train(config, verb, existing, *_, **__):
        runs.append((verb, Path(config.out).name, existing))
        raise Stopped

    monkeypatch.setattr("sirl.workflows.demo.train", train)
    assert sirl("demo", "--out", "here", "--resume", cwd=tmp_path).returncode == 130
    assert runs == [("train", "here-paper", "resume")]
    done = sirl("demo", "--out", "there", "--resume", cwd=tmp_path)
    assert done.returncode == 2
    assert "sirl: there does not exist, and there is nothing to resume" in done.stderr


def test_training_that_a_wrong_input_ends_leaves_its_folder_to_the_corrected_command(tmp_path):
    (tmp_path / "few.txt").write_text("".join(f"Add {n} and 3.\n" for n in range(2, 8)))
    (tmp_path / "outside.py").write_text("class Engine:\n    pass\n")
    words = ["--model", "embedded", "--batch", 2, "--held-out", 0, "--limit", 2, "--out", "r"]
    few = ("--prompts", "few.txt", "--pool", "none")
    wrong = sirl("train", *words, *few, cwd=tmp_path)
    assert wrong.returncode == 2
    assert "so there is nothing to strengthen or to watch" in wrong.stderr
    other = ("--method", "entropy", "--sampler", "python:outside:Engine")
    wrong = sirl("train", *words, *other, cwd=tmp_path)
    assert "does not take them" in wrong.stderr
    assert not (tmp_path / "r").exists()


def test_ctrl_c_in_a_verb_that_cannot_resume_promises_nothing(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("sirl.workflows.guard.calibrate.calibrate_guard", interrupted)
    done = sirl("guard", "calibrate", "--model", "embedded", "--out", tmp_path / "g")
    assert (done.returncode, done.stderr) == (130, "sirl: stopped\n")
