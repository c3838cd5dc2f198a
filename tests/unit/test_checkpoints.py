import hashlib
import json

import pytest

from sirl.errors import RunError
from sirl.training.checkpoints import fault, make_room, newest


def checkpoint(folder, step):
    """A folder with the state and manifest of a checkpoint, and no model."""
    place = folder / f"step-{step:06d}"
    (place / "trainer").mkdir(parents=True)
    state = place / "trainer" / "state.json"
    state.write_text(json.dumps({"step": step}))
    digest = hashlib.sha256(state.read_bytes()).hexdigest()
    manifest = {"sha256": {"trainer/state.json": digest}}
    (place / "manifest.json").write_text(json.dumps(manifest))
    return place


@pytest.mark.parametrize(
    "manifest", ["null", "[]", '{"sha256": null}', '{"sha256": []}', "3", "", "[" * 100_000]
)
def test_a_checkpoint_whose_manifest_is_no_manifest_is_passed_over(tmp_path, manifest):
    checkpoint(tmp_path, 2)
    (checkpoint(tmp_path, 4) / "manifest.json").write_text(manifest)
    found, passed_over = newest(tmp_path)
    assert found.step == 2
    assert passed_over == [f"{tmp_path / 'step-000004'} is skipped: its manifest cannot be read"]


def test_a_manifest_that_does_not_name_the_state_is_passed_over(tmp_path):
    (checkpoint(tmp_path, 4) / "manifest.json").write_text('{"sha256": {}}')
    assert fault(tmp_path / "step-000004") == "its manifest does not name trainer/state.json"


def test_a_file_with_the_name_of_a_checkpoint_is_passed_over_and_moved_aside(tmp_path):
    checkpoint(tmp_path, 2)
    file = tmp_path / "step-000004"
    file.write_text("notes")
    found, passed_over = newest(tmp_path)
    assert (found.step, passed_over) == (2, [f"{file} is skipped: it is not a folder"])
    make_room(file)
    assert not file.exists()
    assert (tmp_path / "not-sirl-step-000004").read_text() == "notes"
    file.write_text("notes again")
    with pytest.raises(RunError, match="it is not a checkpoint of sirl; move it away"):
        make_room(file)
    assert file.read_text() == "notes again"


def test_room_is_made_by_removing_a_damaged_checkpoint_of_ours(tmp_path):
    place = checkpoint(tmp_path, 4)
    (place / "manifest.json").write_text("torn")
    make_room(place)
    assert list(tmp_path.iterdir()) == []


def test_the_newest_is_told_by_number_beyond_a_million_steps(tmp_path):
    for step in (999_999, 1_000_000):
        checkpoint(tmp_path, step)
    assert newest(tmp_path)[0].step == 1_000_000
