"""What a newcomer gets wrong, and what the command line says of it."""

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
