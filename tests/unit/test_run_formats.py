"""Values of other kinds in the files of a run are named wherever the file is read."""

import json

import pytest

from sirl.errors import RunError
from sirl.runs import RunReader

SPENT = {"calls": 1, "tokens": 2, "seconds": 0.5}
RATE = {"value": 0.5, "low": 0.1, "high": 0.9, "n": 4}
ABOUT = {
    "verb": "train", "command": ["sirl", "train"], "sirl": "0.1.0", "versions": {"peft": None},
    "hardware": {"machine": "m", "system": "s", "cores": None}, "starts": ["today"],
    "model": {"weights": "a"}, "seed": 0, "template_date": None, "tree": "", "files": {"a": "b"},
    "prompts": [{"file": "a", "sha256": "b", "used": 1, "rejected": 0, "notes": []}],
    "judges": ["rules (refusal)"], "judge_identities": ["rules 1"], "judge_faults": [],
    "endpoint_dialect": {"a": {"left_out": ["top_k"]}}, "exit": {"how": "finished", "why": ""},
    "teaching": {"taught_by": "answers", "learning_rate": 1e-4}, "of_a_later_version": 3,
}  # fmt: skip
WHOLE = {
    "run.json": ABOUT,
    "summary.json": {"models": {"base": {}}, "measured": {}, "recorded": {"a": {"base": 1}}},
    "costs.jsonl": {"what": "questions", "roles": {"judge": SPENT}},
    "metrics.jsonl": {"step": 1, "reward/mean": 0.5, "loss/total": None, "of": "a plug-in"},
    "mini_evals.jsonl": {"step": 0, "dsr": RATE, "judge": "rules", "question": "refusal",
                         "over_refusal": {"ordinary": RATE}, "entropy": {"refusal": None}},
    "rejected.jsonl": {"file": "a", "line": 3, "reason": "empty"},
    "instinct.json": {"pool": "a", "cut": 0.5, "shares": {"a": 1.0}, "modes": [0, 1], "dip": 0.5},
    "decisions.json": {"openers": [1], "masses": {"a": [0.5]}, "threshold": None, "agreement": 1.0,
                       "answers": {"a": [[1, 2]]}},
    "own_answers.json": {"asked": {"a": [1]}, "openings": {"a": [[1]]}, "refusals": {"a": [[1]]}},
}  # fmt: skip


def read(path, name, document):
    (path / name).write_text(json.dumps(document) + "\n")
    run = RunReader(path)
    return run.rows(name)[0] if name.endswith("l") else run.read(name)


@pytest.mark.parametrize("name", WHOLE)
def test_what_a_run_writes_is_read(tmp_path, name):
    assert read(tmp_path, name, WHOLE[name]) == WHOLE[name]


@pytest.mark.parametrize(
    ("name", "value", "place"),
    [
        ("run.json", {"model": "x"}, "model"),
        ("run.json", {"files": [1]}, "files"),
        ("run.json", {"starts": []}, "starts"),
        ("run.json", {"prompts": [{"file": "a"}]}, "prompts.0.sha256"),
        ("run.json", {"exit": "finished"}, "exit"),
        ("run.json", {"endpoint_dialect": {"a": {"left_out": "top_k"}}}, "endpoint_dialect.a.left"),
        ("summary.json", {"models": {"base": []}}, "models.base"),
        ("summary.json", {"recorded": {"records.jsonl": 3}}, "recorded.records.jsonl"),
        ("costs.jsonl", {"roles": {"judge": {**SPENT, "calls": "x"}}}, "roles.judge.calls"),
        ("costs.jsonl", {"roles": {"judge": {"calls": 1}}}, "roles.judge.tokens"),
        ("metrics.jsonl", {"reward/mean": "high"}, ""),
        ("mini_evals.jsonl", {"dsr": {"value": 0.5}}, "dsr.low"),
        ("mini_evals.jsonl", {"question": "kindness"}, "question"),
        ("rejected.jsonl", {"prompts": "3"}, "prompts"),
        ("instinct.json", {"cut": "low"}, "cut"),
        ("decisions.json", {"masses": {"a": 0.5}}, "masses.a"),
        ("own_answers.json", {"openings": []}, "openings"),
    ],
)
def test_a_value_of_another_kind_is_named(tmp_path, name, value, place):
    number = ":1" if name.endswith("l") else ""
    said = f"^{tmp_path / name}{number} is damaged{f' at {place}' if place else ''}"
    with pytest.raises(RunError, match=said):
        read(tmp_path, name, {**WHOLE[name], **value})
