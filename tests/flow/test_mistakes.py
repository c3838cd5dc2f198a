"""What a newcomer gets wrong, and what the command line says of it."""

import shutil
import sys
from pathlib import Path

import pytest

from sirl.cli.main import main


def called(*words):
    """Runs a verb in this process; its exit status."""
    before = sys.argv
    sys.argv = ["sirl", *map(str, words)]
    try:
        with pytest.raises(SystemExit) as ended:
            main()
    finally:
        sys.argv = before
    return ended.value.code or 0


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A small finished evaluation."""
    out = tmp_path_factory.mktemp("runs") / "e1"
    words = ["--model", "embedded", "--attacks", "direct,samples", "--limit", 3]
    assert called("evaluate", *words, "--set", "new_tokens=24", "--out", out, "--json") == 0
    return out


def bytes_in(folder):
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_no_verb_writes_over_the_run_that_it_reads(run, finished):
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
        status, out, said = run(*words)
        assert (status, out) == (2, ""), words
        assert said.startswith("sirl: ")
        assert "give another --out" in said
    assert bytes_in(finished) == before


def test_an_export_replaces_a_file_only_when_told(run, finished, tmp_path):
    file = tmp_path / "table.md"
    file.write_text("mine")
    status, _, said = run("export", finished, "--out", file)
    assert (status, file.read_text()) == (2, "mine")
    assert said == f"sirl: {file} exists: --overwrite replaces it, or give another --out\n"
    assert run("export", finished, "--out", file, "--overwrite")[0] == 0
    assert "|direct " in file.read_text()
    log = ("export", finished, "--format", "inspect", "--out", tmp_path / "logs")
    assert run(*log)[0] == 0
    assert run(*log)[0] == 2
    assert run(*log, "--overwrite")[0] == 0


@pytest.mark.parametrize("log", ["records", "items"])
def test_a_run_that_has_lost_lines_is_read_by_no_verb(run, finished, tmp_path, log):
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    assert run("compare", finished, copy)[0] == 0
    whole = (copy / f"{log}.jsonl").read_text().splitlines(keepends=True)
    (copy / f"{log}.jsonl").write_text("".join(whole[:-2]))
    for words in (
        ("compare", finished, copy),
        ("gate", copy, "--min-dsr", 0.1, "--no-price"),
        ("judge", "again", copy, "--judge", "oracle", "--out", tmp_path / "again"),
        ("export", copy),
    ):
        status, out, said = run(*words)
        assert (status, out) == (2, ""), words
        assert said == (
            f"sirl: {copy}/{log}.jsonl has {len(whole) - 2} of the {len(whole)} {log} that the "
            "run wrote: restore it, or evaluate again\n"
        )


def test_a_line_that_is_there_twice_is_not_a_line_that_is_missing(run, finished, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    whole = (copy / "records.jsonl").read_text().splitlines(keepends=True)
    (copy / "records.jsonl").write_text("".join([*whole, whole[0]]))
    assert run("export", copy)[0] == 0
    (copy / "records.jsonl").write_text("".join([*whole[1:], whole[1]]))
    assert run("export", copy)[0] == 2


def test_a_flag_of_another_format_is_refused_and_a_table_shows_the_model_that_is_named(
    run, finished
):
    csv = run("export", finished, "--format", "csv", "--attack", "direct")
    assert csv == (2, "", "sirl: --attack is for --format jbb: give that, or leave --attack out\n")
    table = run("export", finished, "--texts")
    assert table == (2, "", "sirl: --texts is for --format csv: give that, or leave --texts out\n")
    assert run("export", finished, "--model", "target")[1] == run("export", finished)[1]
