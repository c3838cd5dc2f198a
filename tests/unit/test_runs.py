import json
import os
import subprocess
import sys

import pytest

from sirl.errors import ConfigError, RunError
from sirl.runs import Run, open_run

CONFIG = {"steps": 3, "seed": 1}


def begun(path, config=CONFIG, existing="ask") -> Run:
    run = open_run(path, config, existing)
    run.begin()
    return run


def test_an_existing_folder_is_a_question_with_named_answers(tmp_path):
    begun(tmp_path / "r").close()
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


@pytest.mark.parametrize("existing", ["overwrite", "resume"])
@pytest.mark.parametrize("theirs", [".git/HEAD", "src/main.py"])
def test_a_project_with_a_config_of_its_own_is_no_run(tmp_path, existing, theirs):
    (tmp_path / "config.yaml").write_text("mine: 1")
    (tmp_path / theirs).parent.mkdir()
    (tmp_path / theirs).write_text("mine")
    with pytest.raises(RunError, match="is not a run folder"):
        open_run(tmp_path, CONFIG, existing)
    assert (tmp_path / theirs).read_text() == "mine"
    assert (tmp_path / "config.yaml").read_text() == "mine: 1"


def test_an_overwritten_run_is_whole_until_the_new_one_begins(tmp_path):
    first = begun(tmp_path / "r")
    first.write("run.json", {"verb": "train"})
    first.append("records.jsonl", {"id": 1})
    (first.path / "notes.txt").write_text("a user's own")
    first.close()
    second = open_run(tmp_path / "r", {"seed": 2}, "overwrite")
    assert second.rows("records.jsonl") == [{"id": 1}]
    second.begin()
    assert second.rows("records.jsonl") == []
    assert (second.path / "config.yaml").read_text() == "seed: 2\n"
    assert (second.path / "notes.txt").read_text() == "a user's own"
    second.close()


def test_two_runs_cannot_share_a_folder(tmp_path):
    first = begun(tmp_path / "r")
    with pytest.raises(RunError, match="is in use by another process"):
        open_run(tmp_path / "r", CONFIG, "resume")
    first.close()
    open_run(tmp_path / "r", CONFIG, "resume").close()


def test_a_resumed_run_keeps_its_settings_but_may_grow(tmp_path):
    begun(tmp_path / "r").close()
    open_run(tmp_path / "r", {**CONFIG, "steps": 9}, "resume").close()
    with pytest.raises(ConfigError, match="was started with seed = 1, not 2"):
        open_run(tmp_path / "r", {**CONFIG, "seed": 2}, "resume")


def test_a_torn_last_line_is_dropped_and_a_torn_middle_is_told(tmp_path):
    run = begun(tmp_path / "r")
    run.append("metrics.jsonl", {"step": 0}, {"step": 1, "nan": float("nan")})
    with (run.path / "metrics.jsonl").open("a") as log:
        log.write('{"step": 2')
    assert run.rows("metrics.jsonl") == [{"step": 0}, {"step": 1, "nan": None}]
    (run.path / "metrics.jsonl").write_text('{"step"\n{"step": 1}\n')
    with pytest.raises(RunError, match=r"metrics.jsonl:1 is damaged"):
        run.rows("metrics.jsonl")
    run.close()


def test_documents_are_whole_or_absent(tmp_path):
    run = begun(tmp_path / "r")
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
