"""A file of a run that was edited after the run wrote it is named; nothing else is refused."""

import json
import shutil
from contextlib import nullcontext

import pytest

from sirl.errors import RunError
from sirl.runs import RunReader, open_run
from sirl.runs.provenance import Provenance
from sirl.runs.unchanged import FINAL, check_unchanged

CONFIG = {"steps": 3, "seed": 1}


def written(path, existing="ask", config=CONFIG, *, fails=False):
    """A run with a line in each log and a document of each name."""
    run = open_run(path, config, existing)
    run.begin()
    ended = pytest.raises(KeyboardInterrupt) if fails else nullcontext()
    with ended, Provenance(run, "train", seed=1, template_date=None):
        for name in FINAL:
            if name.endswith(".jsonl"):
                run.append(name, {"key": name})
            else:
                run.write(name, {"key": name})
        if fails:
            raise KeyboardInterrupt
    run.close()
    return path


@pytest.mark.parametrize("name", ["config.yaml", *FINAL])
@pytest.mark.parametrize("change", ["edited", "removed"])
def test_every_file_of_a_finished_run_that_has_changed_is_named(tmp_path, name, change):
    path = written(tmp_path / "r")
    check_unchanged(RunReader(path))
    if change == "removed":
        (path / name).unlink()
    else:
        (path / name).write_text((path / name).read_text() + "\n")
    with pytest.raises(RunError, match=f"^{path / name} is not as the run wrote it: restore the"):
        check_unchanged(RunReader(path))


def test_a_log_that_the_run_did_not_write_is_named(tmp_path):
    path = written(tmp_path / "r")
    about = json.loads((path / "run.json").read_text())
    about["written"]["items.jsonl"] = ""
    (path / "run.json").write_text(json.dumps(about))
    with pytest.raises(RunError, match=r"items\.jsonl is not as the run wrote it"):
        check_unchanged(RunReader(path))


def test_a_finished_run_with_an_edited_log_is_not_resumed_and_stays_as_it_is(tmp_path):
    path = written(tmp_path / "r")
    (path / "records.jsonl").write_text('{"key": "other"}\n')
    before = {p.name: p.read_bytes() for p in path.iterdir()}
    with pytest.raises(RunError, match=r"records\.jsonl is not as the run wrote it"):
        open_run(path, CONFIG, "resume")
    assert {p.name: p.read_bytes() for p in path.iterdir()} == before


@pytest.mark.parametrize("line", ["seed: 2", "steps: 9", "# why"])
def test_an_unfinished_run_goes_on_with_its_own_settings_only(tmp_path, line):
    path = written(tmp_path / "r", fails=True)
    (path / "records.jsonl").unlink()  # an unfinished run writes it again
    open_run(path, CONFIG, "resume").close()
    (path / "config.yaml").write_text(f"{line}\n")
    with pytest.raises(RunError, match=r"config\.yaml is not as the run wrote it"):
        open_run(path, CONFIG, "resume")


def test_a_resumed_run_may_grow_and_be_killed_at_any_write(tmp_path):
    path = written(tmp_path / "r")
    longer = open_run(path, {**CONFIG, "steps": 9}, "resume")
    longer.begin()
    longer.close()  # killed before it has written run.json
    path = written(tmp_path / "r", "resume", {**CONFIG, "steps": 9})
    check_unchanged(RunReader(path))
    assert RunReader(path).settings()["steps"] == 9


def test_a_copied_run_and_one_without_hashes_are_read(tmp_path):
    path = shutil.copytree(written(tmp_path / "r"), tmp_path / "elsewhere")
    check_unchanged(RunReader(path))
    about = json.loads((path / "run.json").read_text())
    del about["written"]
    (path / "run.json").write_text(json.dumps(about))
    (path / "records.jsonl").write_text("{}\n")
    check_unchanged(RunReader(path))
    open_run(path, CONFIG, "resume").close()


def test_a_setting_that_stands_twice_is_damage(tmp_path):
    path = written(tmp_path / "r")
    (path / "config.yaml").write_text("seed: 1\nsteps: 3\nseed: 2\n")
    with pytest.raises(RunError, match=r"config\.yaml is damaged"):
        RunReader(path).settings()
