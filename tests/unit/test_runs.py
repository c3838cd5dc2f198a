import errno
import json
import os
import shutil
import subprocess
import sys

import pytest

from sirl.errors import ConfigError, RunError
from sirl.runs import Run, RunReader, missing_steps, open_run, rows_by_step
from sirl.runs.disk import Disk
from sirl.runs.places import check_output

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
        f"{tmp_path / 'r'} exists: --resume continues it, --overwrite starts over, "
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


def test_a_reader_takes_no_lock_and_cannot_write(tmp_path):
    writer = begun(tmp_path / "r")
    reader = RunReader(writer.path)
    writer.append("records.jsonl", {"id": 1})
    writer.write("run.json", {"verb": "train"})
    assert reader.rows("records.jsonl") == [{"id": 1}]
    assert reader.read("run.json") == {"verb": "train"}
    assert reader.settings() == CONFIG
    assert not {"append", "keep", "write", "begin", "close"} & set(dir(reader))
    writer.close()


def test_a_resumed_run_keeps_its_settings_but_may_grow(tmp_path):
    begun(tmp_path / "r").close()
    open_run(tmp_path / "r", {**CONFIG, "steps": 9}, "resume").close()
    with pytest.raises(ConfigError, match="was started with seed = 1, not 2"):
        open_run(tmp_path / "r", {**CONFIG, "seed": 2}, "resume")


def test_a_run_with_former_names_of_settings_reads_and_resumes_under_the_present_ones(tmp_path):
    begun(tmp_path / "r", {"seed": 1, "rows": 8}).close()
    present = {"seed": 1, "sampling_batch_size": 8}
    assert RunReader(tmp_path / "r").settings() == present
    open_run(tmp_path / "r", present, "resume").close()
    with pytest.raises(ConfigError, match="was started with sampling_batch_size = 8, not 9"):
        open_run(tmp_path / "r", {**present, "sampling_batch_size": 9}, "resume")
    begun(tmp_path / "r", present, "resume").close()
    assert (tmp_path / "r" / "config.yaml").read_text() == "seed: 1\nsampling_batch_size: 8\n"


def test_a_log_with_its_former_name_is_read_and_goes_on_under_the_present_one(tmp_path):
    first = begun(tmp_path / "r")
    first.append("checkups.jsonl", {"step": 0}, {"step": 10})
    first.close()
    assert RunReader(first.path).rows("mini_evals.jsonl") == [{"step": 0}, {"step": 10}]
    second = begun(first.path, existing="resume")
    second.append("mini_evals.jsonl", {"step": 20})
    assert second.rows("mini_evals.jsonl") == [{"step": 0}, {"step": 10}, {"step": 20}]
    assert not (first.path / "checkups.jsonl").exists()
    second.close()


def test_overwriting_removes_a_log_with_its_former_name(tmp_path):
    first = begun(tmp_path / "r")
    first.append("checkups.jsonl", {"step": 0})
    first.close()
    begun(first.path, existing="overwrite").close()
    assert not (first.path / "checkups.jsonl").exists()


def test_a_summary_with_former_names_of_figures_reads_under_the_present_ones(tmp_path):
    run = begun(tmp_path / "r")
    run.write("summary.json", {"models": {"base": {"opinions": {"by_judge": {}}, "dsr": 1}}})
    assert run.read("summary.json") == {
        "models": {"base": {"second_judges": {"by_judge": {}}, "dsr": 1}}
    }
    run.close()


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


class Sick:
    """A file system that answers some calls with an error, and what is said of it."""

    def __init__(self, fsync=0, flock=0):
        self.sentences = []
        self.disk = Disk(
            fsync=lambda _handle: self.answer(fsync),
            flock=lambda _handle, _how: self.answer(flock),
            say=self.sentences.append,
        )

    def answer(self, number):
        if number:
            raise OSError(number, os.strerror(number))


def test_a_file_system_without_fsync_or_locks_is_told_of_once_and_written_to(tmp_path):
    sick = Sick(fsync=errno.EINVAL, flock=errno.ENOLCK)
    run = open_run(tmp_path / "r", CONFIG, "ask", disk=sick.disk)
    run.begin()
    run.append("metrics.jsonl", {"step": 0})
    run.append("metrics.jsonl", {"step": 1})
    run.close()
    assert run.rows("metrics.jsonl") == [{"step": 0}, {"step": 1}]
    assert sick.sentences == [
        f"the file system of {tmp_path / 'r'} has no file locks: make sure that no other "
        "process writes there",
        f"the file system of {tmp_path / 'r'} has no fsync: after a power loss the last "
        "lines of a run may be missing",
    ]


def test_a_lock_that_is_held_is_no_missing_lock(tmp_path):
    sick = Sick(flock=errno.EWOULDBLOCK)
    with pytest.raises(RunError, match="is in use by another process"):
        open_run(tmp_path / "r", CONFIG, "ask", disk=sick.disk)
    assert sick.sentences == []


def test_an_error_of_the_disk_is_a_sentence(tmp_path):
    sick = Sick(fsync=errno.EIO)
    run = open_run(tmp_path / "r", CONFIG, "ask", disk=sick.disk)
    with pytest.raises(RunError, match=r"cannot write .*config\.yaml: Input/output error"):
        run.begin()
    run.close()


@pytest.mark.parametrize("lost", ["removed", "empty", "null", "list", "torn", "bytes"])
@pytest.mark.parametrize("name", ["checkpoints", "records.jsonl"])
def test_a_run_whose_settings_are_lost_is_not_resumed_and_loses_nothing(tmp_path, lost, name):
    run = begun(tmp_path / "r")
    run.close()
    (run.path / name).mkdir() if name == "checkpoints" else (run.path / name).write_text("{}\n")
    settings = run.path / "config.yaml"
    if lost == "removed":
        settings.unlink()
    else:
        text = {"empty": b"", "null": b"null", "list": b"- 1", "torn": b"a: [", "bytes": b"\xff"}
        settings.write_bytes(text[lost])
    before = sorted(p.name for p in run.path.iterdir())
    said = f"has {name} but no config.yaml" if lost == "removed" else "config.yaml is damaged"
    with pytest.raises(RunError, match=said):
        open_run(run.path, CONFIG, "resume")
    assert sorted(p.name for p in run.path.iterdir()) == before
    begun(run.path, existing="overwrite").close()


def test_a_folder_that_was_killed_before_any_result_begins_anew(tmp_path):
    open_run(tmp_path / "r", CONFIG, "ask").close()
    run = begun(tmp_path / "r", existing="resume")
    assert not run.resumed
    run.close()


def checkpoint(folder, step, manifest=None):
    place = folder / "checkpoints" / f"step-{step:06d}"
    place.mkdir(parents=True)
    (place / "manifest.json").write_text(json.dumps(manifest or {"sha256": {}}))
    return place


def test_overwrite_removes_our_checkpoints_and_leaves_those_of_others(tmp_path):
    run = begun(tmp_path / "r")
    run.close()
    mine = checkpoint(run.path, 3)
    theirs = run.path / "checkpoints" / "checkpoint-500"
    theirs.mkdir()
    (theirs / "weights.safetensors").write_text("days of work")
    begun(run.path, existing="overwrite").close()
    assert not mine.exists()
    assert (theirs / "weights.safetensors").read_text() == "days of work"


def test_a_checkpoint_of_another_tool_with_the_name_of_ours_stops_an_overwrite(tmp_path):
    run = begun(tmp_path / "r")
    run.close()
    theirs = run.path / "checkpoints" / "step-000003"
    theirs.mkdir(parents=True)
    (theirs / "model.bin").write_text("theirs")
    with pytest.raises(RunError, match=r"step-000003 is not a checkpoint that sirl wrote"):
        open_run(run.path, CONFIG, "overwrite")
    assert (theirs / "model.bin").read_text() == "theirs"


@pytest.mark.parametrize(
    "names", [["checkpoints"], ["checkpoints", "config.yaml"], ["tensorboard", "metrics.jsonl"]]
)
def test_a_folder_with_names_like_ours_is_no_run(tmp_path, names):
    for name in names:
        (tmp_path / name).mkdir() if "." not in name else (tmp_path / name).write_text("theirs")
    with pytest.raises(RunError, match="is not a run folder"):
        open_run(tmp_path, CONFIG, "overwrite")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(names)


def test_a_run_folder_of_an_earlier_version_is_known_by_its_documents(tmp_path):
    (tmp_path / "config.yaml").write_text("steps: 3\nseed: 1\n")
    (tmp_path / "run.json").write_text('{"verb": "train", "sirl": "0.1"}')
    open_run(tmp_path, CONFIG, "resume").close()
    (tmp_path / "config.yaml").unlink()
    (tmp_path / ".lock").unlink()
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(RunError, match="has checkpoints but no config.yaml"):
        open_run(tmp_path, CONFIG, "resume")


def test_a_run_folder_that_is_removed_while_it_is_written_to_is_told(tmp_path):
    run = begun(tmp_path / "r")
    shutil.rmtree(run.path)
    for write in (
        lambda: run.append("records.jsonl", {"id": 1}),
        lambda: run.keep("records.jsonl", []),
        lambda: run.write("summary.json", {}),
    ):
        with pytest.raises(RunError, match=r"was removed or moved while this run was writing"):
            write()
    run.forget_if_empty()
    assert not run.path.exists()
    run.close()


def test_a_writer_whose_lock_another_has_taken_writes_no_more(tmp_path):
    first = begun(tmp_path / "r")
    first.write("run.json", {"sirl": "1"})
    first.append("records.jsonl", {"id": 1})
    (first.path / ".lock").unlink()
    second = begun(tmp_path / "r", existing="resume")
    with pytest.raises(RunError, match="another process has made its own"):
        first.append("records.jsonl", {"id": 2})
    second.append("records.jsonl", {"id": 3})
    assert second.rows("records.jsonl") == [{"id": 1}, {"id": 3}]
    first.close()
    second.close()


def test_a_symbolic_link_to_a_folder_is_a_run_folder_and_is_left_when_empty(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "r").symlink_to(tmp_path / "disk")
    run = begun(tmp_path / "r")
    run.forget_if_empty()
    assert list((tmp_path / "disk").iterdir()) == []
    assert (tmp_path / "r").is_symlink()
    run.close()
    again = begun(tmp_path / "r")
    again.append("records.jsonl", {"id": 1})
    again.close()
    assert (tmp_path / "disk" / "records.jsonl").is_file()


@pytest.mark.parametrize("line", ["null", "[]", "3", '"text"', "[" * 100_000, "\x00"])
def test_a_line_that_is_no_object_is_damage(tmp_path, line):
    run = begun(tmp_path / "r")
    run.append("records.jsonl", {"id": 1})
    with (run.path / "records.jsonl").open("a") as log:
        log.write(line + "\n")
    with pytest.raises(RunError, match=r"records.jsonl:2 is damaged"):
        run.rows("records.jsonl")
    (run.path / "summary.json").write_text(line)
    with pytest.raises(RunError, match=r"summary.json is damaged"):
        run.read("summary.json")
    run.close()


@pytest.mark.parametrize("name", ["n" * 300, "/".join(["part" * 20] * 55)])
def test_a_path_that_is_too_long_is_a_sentence(tmp_path, name):
    with pytest.raises(RunError, match="File name too long"):
        open_run(tmp_path / name, CONFIG, "ask")
    with pytest.raises(RunError, match="File name too long"):
        check_output(tmp_path / name)


def test_a_file_that_cannot_be_written_is_told_before_the_work(tmp_path):
    check_output(tmp_path / "new.json")
    with pytest.raises(RunError, match=r"there is no folder .*none; make it first"):
        check_output(tmp_path / "none" / "new.json")
    with pytest.raises(RunError, match="it is a folder"):
        check_output(tmp_path)


def test_steps_count_once_and_a_hole_among_them_is_told(tmp_path):
    run = begun(tmp_path / "r")
    run.append("metrics.jsonl", *({"step": s, "loss": n} for n, s in enumerate((1, 2, 2, 5))))
    run.disk = Sick().disk
    assert [(s, r["loss"]) for s, r in rows_by_step(run, "metrics.jsonl").items()] == [
        (1, 0),
        (2, 2),
        (5, 3),
    ]
    assert missing_steps(run, "metrics.jsonl", 2) == ""
    assert " lacks 2 of 5 steps, the first being step 3: " in missing_steps(run, "metrics.jsonl", 5)
    assert missing_steps(run, "metrics.jsonl", 6) == (
        f"{run.path / 'metrics.jsonl'} lacks 3 of 6 steps, the first being step 3: "
        "curves leave them out"
    )
    run.append("metrics.jsonl", {"step": True})
    with pytest.raises(RunError, match=r"metrics.jsonl:5 is damaged"):
        rows_by_step(run, "metrics.jsonl")
    run.close()


def ended(path, how, **logs):
    """A run that ended in this way, with logs of so many lines."""
    run = begun(path)
    run.write("run.json", {"sirl": "1", "exit": {"how": how}})
    for name, lines in logs.items():
        run.append(f"{name}.jsonl", *({"id": n} for n in range(lines)))
    run.forget_if_empty()
    run.close()
    return path


@pytest.mark.parametrize("how", ["ConfigError", "InputError", "TrainingError"])
def test_a_run_that_a_wrong_input_ended_before_its_first_step_is_in_nobodys_way(tmp_path, how):
    assert not ended(tmp_path / "a", how, costs=2, metrics=0).exists()
    prepared = ended(tmp_path / "b", how, costs=2, metrics=0, instinct_answers=3, mini_evals=1)
    again = begun(prepared)
    assert again.rows("instinct_answers.jsonl") == []
    again.close()


@pytest.mark.parametrize(
    ("how", "logs"),
    [
        ("InputError", {"records": 1}),
        ("InputError", {"instinct_answers": 3, "metrics": 1}),
        ("RunError", {"instinct_answers": 3}),
        ("stopped", {"instinct_answers": 3}),
    ],
)
def test_a_run_with_a_result_or_that_goes_on_as_it_is_stays(tmp_path, how, logs):
    path = ended(tmp_path / "r", how, **logs)
    with pytest.raises(RunError, match="exists: --resume continues it"):
        begun(path)


def test_a_damaged_document_names_the_command_that_can_write_it_anew(tmp_path):
    (tmp_path / "summary.json").write_text("{")
    with pytest.raises(RunError) as caught:
        RunReader(tmp_path).read("summary.json")
    assert str(caught.value) == (
        f"{tmp_path}/summary.json is damaged and cannot be read: restore the file, or give the "
        "command that wrote it again, with --overwrite"
    )


def test_a_log_that_loses_lines_while_it_is_written_ends_the_run(tmp_path):
    run = open_run(tmp_path / "r", {}, "ask")
    run.begin()
    run.append("records.jsonl", {"n": 1}, {"n": 2})
    run.keep("records.jsonl", [{"n": 1}])  # by the run itself
    run.append("records.jsonl", {"n": 3})
    (run.path / "records.jsonl").unlink()
    with pytest.raises(RunError, match=r"records.jsonl has lost lines while this run was writing"):
        run.append("records.jsonl", {"n": 4})
    run.close()


def test_what_an_overwritten_run_keeps_stays_until_it_is_written_anew(tmp_path):
    first = open_run(tmp_path / "r", {}, "ask")
    first.begin()
    first.write("guard.json", {"n": 1})
    first.append("records.jsonl", {"n": 1})
    first.close()
    again = open_run(tmp_path / "r", {}, "overwrite")
    again.begin(keeps=("guard.json",))
    assert again.read("guard.json") == {"n": 1}
    assert again.rows("records.jsonl") == []
    again.close()
