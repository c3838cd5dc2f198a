from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sirl.errors import RunError
from sirl.runs import open_run
from sirl.runs.places import NAMES, check_output, check_reads


def a_run(path):
    run = open_run(path, {"seed": 1}, "ask")
    run.begin()
    run.append("records.jsonl", {"id": 1})
    run.close()
    return path


def held(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


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
    check_reads(Path("quick"), {"attacks": "quick", "model": "embedded"})


@given(st.dictionaries(st.text(max_size=8), st.text() | st.integers() | st.none()))
def test_settings_of_any_words_are_looked_through_without_an_error(settings):
    check_reads(Path("no such folder"), settings)


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
