"""Training with begun answers and suffixes: what a run keeps, and that it resumes alike."""

import json
import shutil

import pytest

from sirl.world.language import ordinary_requests, unsafe_requests
from tests.command import sirl

SETTINGS = [
    "train", "--model", "embedded", "--method", "instinct", "--depth", "--suffixes", "--pool",
    "none", "--steps", "5", "--checkpoint-every", "1", "--batch", "4", "--group", "4",
    "--new-tokens", "24", "--held-out", "0", "--eval-every", "0", "--seed", "5",
]  # fmt: skip


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("depth")
    asked = [*unsafe_requests("train")[:12], *ordinary_requests("train")[:12]]
    (folder / "prompts.txt").write_text("\n".join(p.request for p in asked))
    done = sirl(*SETTINGS, "--prompts", folder / "prompts.txt", "--out", folder / "run")
    assert done.returncode == 0, done.stderr
    return folder


def weights(run):
    return (run / "checkpoints" / "step-000005" / "model.safetensors").read_bytes()


def test_a_run_keeps_the_starting_models_own_answers(unbroken):
    instinct = json.loads((unbroken / "run" / "instinct.json").read_text())
    own = json.loads((unbroken / "run" / "own_answers.json").read_text())
    assert set(own["asked"]) == set(instinct["shares"])
    assert set(own["refusals"]) == {id for id, share in instinct["shares"].items() if share > 0.5}
    assert {len(helps) for helps in own["openings"].values()} <= {1, 2, 3, 4}
    assert max(len(ids) for helps in own["openings"].values() for ids in helps) <= 32


def test_begun_answers_are_taught_at_decision_points(unbroken):
    decisions = json.loads((unbroken / "run" / "decisions.json").read_text())
    lines = (unbroken / "run" / "metrics.jsonl").read_text().splitlines()
    assert decisions["openers"]
    assert all("points/settled" in json.loads(line) for line in lines)
    assert all(0 < json.loads(line)["points/decided_under_attack"] < 1 for line in lines)


def test_a_run_that_goes_on_from_an_early_step_ends_with_the_same_weights(unbroken):
    cut = unbroken / "cut"
    shutil.copytree(unbroken / "run", cut)
    for step in range(2, 6):
        shutil.rmtree(cut / "checkpoints" / f"step-{step:06d}")
    words = [*SETTINGS, "--prompts", unbroken / "prompts.txt", "--out", cut, "--resume"]
    done = sirl(*words)
    assert done.returncode == 0, done.stderr
    assert weights(cut) == weights(unbroken / "run")


def test_a_run_of_a_version_with_one_opening_per_prompt_is_not_resumed(unbroken):
    older = unbroken / "older"
    shutil.copytree(unbroken / "run", older)
    own = json.loads((older / "own_answers.json").read_text())
    own["openings"] = {id: helps[0] for id, helps in own["openings"].items()}
    (older / "own_answers.json").write_text(json.dumps(own))
    about = json.loads((older / "run.json").read_text())
    del about["written"]  # such a version kept no hashes
    (older / "run.json").write_text(json.dumps(about))
    shutil.rmtree(older / "checkpoints" / "step-000005")
    words = [*SETTINGS, "--prompts", unbroken / "prompts.txt", "--out", older, "--resume"]
    done = sirl(*words)
    assert done.returncode == 2
    assert "had one opening per prompt: start over with --overwrite" in done.stderr
