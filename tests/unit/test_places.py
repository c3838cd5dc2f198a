from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sirl.errors import RunError
from sirl.runs import open_run, settings_of
from sirl.runs.places import NAMES, check_output, refuse_to_remove_inputs
from sirl.workflows import instinct, own_refusals


def a_run(path):
    run = open_run(path, {"seed": 1}, "ask")
    run.begin()
    run.append("records.jsonl", {"id": 1})
    run.close()
    return path


def held(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


@pytest.mark.parametrize("name", [instinct.FILE, own_refusals.FILE])
def test_a_run_that_starts_over_knows_nothing_that_the_model_answered_before(tmp_path, name):
    run = open_run(tmp_path / "r", {"model": "one"}, "ask")
    run.begin()
    run.write(name, {"cut": 0.5})
    run.close()
    again = open_run(tmp_path / "r", {"model": "another"}, "overwrite")
    again.begin()
    assert again.read(name) == {}
    again.close()


@pytest.mark.parametrize("existing", ["ask", "overwrite"])
def test_a_run_that_is_read_is_never_overwritten_whatever_it_is_called(tmp_path, existing):
    run = a_run(tmp_path / "r")
    (tmp_path / "link").symlink_to(run)
    before = held(run)
    for name in (run, tmp_path / "link", tmp_path / "x" / ".." / "r"):
        (tmp_path / "x").mkdir(exist_ok=True)
        with pytest.raises(RunError, match="is the run that is read: give another --out"):
            open_run(name, {"source": str(run)}, existing)
    assert held(run) == before


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("model", "{r}/checkpoints/step-000003"),
        ("judge", "rules,classifier:{r}/checkpoints/judge"),
        ("judge", "rules+classifier:{r}/checkpoints/judge"),
        ("benchmarks", "numeric:{r}/rejected.jsonl"),
        ("trained_on", "{r}/records.jsonl"),
    ],
)
def test_what_a_run_would_remove_is_not_read_by_it(tmp_path, setting, value):
    run = a_run(tmp_path / "r")
    for name in ("step-000003", "judge"):
        (run / "checkpoints" / name).mkdir(parents=True)
    (run / "rejected.jsonl").write_text("{}\n")
    before = held(run)
    with pytest.raises(RunError, match=f"^{setting} .* would be removed with the run there"):
        open_run(run, {setting: value.format(r=run)}, "overwrite")
    assert held(run) == before


def test_a_file_of_the_user_in_a_run_folder_may_be_read_since_it_stays(tmp_path):
    run = a_run(tmp_path / "r")
    (run / "prompts.txt").write_text("mine")
    again = open_run(run, {"prompts": str(run / "prompts.txt")}, "overwrite")
    again.begin()
    again.close()
    assert (run / "prompts.txt").read_text() == "mine"


def test_a_word_that_is_also_the_name_of_the_folder_is_no_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    a_run(Path("quick"))
    words = {"attacks": "quick", "model": "embedded"}
    refuse_to_remove_inputs(Path("quick"), words)
    with pytest.raises(RunError, match="behaviours quick/records.jsonl lies in quick"):
        refuse_to_remove_inputs(Path("quick"), {**words, "behaviours": "quick/records.jsonl"})


@given(st.dictionaries(st.text(max_size=8), st.text() | st.integers() | st.none()))
def test_settings_of_any_words_are_looked_through_without_an_error(settings):
    refuse_to_remove_inputs(Path("no such folder"), settings)


def test_a_file_that_exists_is_a_question_with_named_answers(tmp_path):
    file = tmp_path / "table.md"
    file.write_text("mine")
    with pytest.raises(RunError) as caught:
        check_output(file)
    assert str(caught.value) == f"{file} exists: --overwrite replaces it, or give another --out"
    check_output(file, overwrite=True)


def test_what_a_run_writes_is_no_output_even_to_overwrite(tmp_path):
    run = a_run(tmp_path / "r")
    (run / "checkpoints" / "step-000001").mkdir(parents=True)
    (tmp_path / "link").symlink_to(run / "records.jsonl")
    own = [*(run / n for n in NAMES if n.endswith(("l", "n"))), run / ".lock", tmp_path / "link"]
    for file in (*own, run / "checkpoints" / "step-000001" / "manifest.json"):
        with pytest.raises(RunError, match="the run .*r writes it; give another --out"):
            check_output(file, overwrite=True)
    check_output(run / "table.md")


def test_a_file_that_is_read_is_no_output_even_to_overwrite(tmp_path):
    file = tmp_path / "labels.jsonl"
    file.write_text("{}\n")
    with pytest.raises(RunError, match="it is read here; give another --out"):
        check_output(tmp_path / "." / "labels.jsonl", overwrite=True, reads=[file])


def test_resuming_what_is_no_run_says_what_it_is_and_names_the_nearest_run(tmp_path):
    a_run(tmp_path / "hardened")
    (tmp_path / "hardend.txt").write_text("mine")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("mine")
    (tmp_path / "empty").mkdir()
    for name, sentence in {
        "hardend": f"{tmp_path}/hardend does not exist, and there is nothing to resume: did you "
        f"mean {tmp_path}/hardened? Else leave --resume out to begin it",
        "zebra": f"{tmp_path}/zebra does not exist, and there is nothing to resume: leave "
        "--resume out to begin it",
        "hardend.txt": f"{tmp_path}/hardend.txt is a file, not a run folder: give the folder of "
        "a run",
        "mine": f"{tmp_path}/mine is not a run folder, and there is nothing to resume: give the "
        "folder of a run, or another --out without --resume",
    }.items():
        with pytest.raises(RunError) as caught:
            open_run(tmp_path / name, {"seed": 1}, "resume")
        assert str(caught.value) == sentence
    assert {p.name for p in tmp_path.iterdir()} == {"hardened", "hardend.txt", "mine", "empty"}
    open_run(tmp_path / "empty", {"seed": 1}, "resume").close()


def test_a_process_that_is_started_again_may_find_no_folder_yet(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert settings_of("train", tmp_path / "r") == {}
    open_run(tmp_path / "r", {"seed": 1}, "resume").close()


def test_a_run_of_another_verb_is_not_gone_on_with(tmp_path):
    run = open_run(a_run(tmp_path / "r"), {"seed": 1}, "resume")
    run.write("run.json", {"sirl": "1", "verb": "train"})
    run.close()
    assert settings_of("train", tmp_path / "r") == {"seed": 1}
    with pytest.raises(
        RunError, match="is a run of sirl train, and sirl evaluate cannot continue it"
    ):
        settings_of("evaluate", tmp_path / "r")


def test_rows_that_were_set_aside_outlive_a_run_that_came_to_nothing(tmp_path):
    run = open_run(tmp_path / "r", {"seed": 1}, "ask")
    run.begin()
    run.keep("rejected.jsonl", [{"line": 3}])
    run.forget_if_empty()
    run.close()
    assert (tmp_path / "r" / "rejected.jsonl").read_text() == '{"line": 3}\n'
    mended = open_run(tmp_path / "r", {"seed": 2}, "ask")
    mended.begin()
    assert mended.rows("rejected.jsonl") == []
    mended.close()
