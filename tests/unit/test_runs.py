import json
import os
import subprocess
import sys

import pytest

from sirl.errors import ConfigError, RunError
from sirl.runs import open_run

CONFIG = {"steps": 3, "seed": 1}


def test_an_existing_folder_is_a_question_with_named_answers(tmp_path):
    open_run(tmp_path / "r", CONFIG, "ask").close()
    with pytest.raises(RunError) as caught:
        open_run(tmp_path / "r", CONFIG, "ask")
    assert str(caught.value) == (
        f"{tmp_path / 'r'} exists: --resume goes on with it, --overwrite begins anew, "
        "or give another --out"
    )


def test_overwrite_never_empties_a_folder_that_is_no_run(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunError, match="is not a run folder"):
        open_run(tmp_path, CONFIG, "overwrite")
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_two_runs_cannot_share_a_folder(tmp_path):
    first = open_run(tmp_path / "r", CONFIG, "ask")
    with pytest.raises(RunError, match="is in use by another process"):
        open_run(tmp_path / "r", CONFIG, "resume")
    first.close()
    open_run(tmp_path / "r", CONFIG, "resume").close()


def test_a_resumed_run_keeps_its_settings_but_may_grow(tmp_path):
    open_run(tmp_path / "r", CONFIG, "ask").close()
    open_run(tmp_path / "r", {**CONFIG, "steps": 9}, "resume").close()
    with pytest.raises(ConfigError, match="was started with seed = 1, not 2"):
        open_run(tmp_path / "r", {**CONFIG, "seed": 2}, "resume")


def test_a_torn_last_line_is_dropped_and_a_torn_middle_is_told(tmp_path):
    run = open_run(tmp_path / "r", CONFIG, "ask")
    run.append("metrics.jsonl", {"step": 0}, {"step": 1, "nan": float("nan")})
    with (run.path / "metrics.jsonl").open("a") as log:
        log.write('{"step": 2')
    assert run.rows("metrics.jsonl") == [{"step": 0}, {"step": 1, "nan": None}]
    (run.path / "metrics.jsonl").write_text('{"step"\n{"step": 1}\n')
    with pytest.raises(RunError, match=r"metrics.jsonl:1 is damaged"):
        run.rows("metrics.jsonl")
    run.close()


def test_documents_are_whole_or_absent(tmp_path):
    run = open_run(tmp_path / "r", CONFIG, "ask")
    run.write("summary.json", {"value": (1.5, float("inf"))})
    assert json.loads((run.path / "summary.json").read_text()) == {"value": [1.5, None]}
    assert not list(run.path.glob(".*writing"))
    run.close()


def test_the_lock_dies_with_its_process(tmp_path):
    script = (
        "import os, sys; from pathlib import Path; from sirl.runs import open_run;"
        f"open_run(Path({str(tmp_path / 'r')!r}), {CONFIG!r}, 'ask'); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", script], check=False, env=dict(os.environ))
    assert done.returncode == -9
    open_run(tmp_path / "r", CONFIG, "resume").close()
