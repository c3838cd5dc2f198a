"""Tasks of one's own, from the command a user types."""

import json

import pytest

from tests.command import sirl
from tests.conftest import shared

SUMS = [
    {"id": "a", "question": "What is 3 plus 4?", "answer": "#### 7"},
    {"id": "b", "question": "What is 5 plus 6?", "answer": "#### 11"},
    {"id": "c", "question": "What is 7 plus 1?", "answer": "eight"},
    {"id": "d", "question": "What is 2 plus 2?", "answer": "#### 4"},
]
TWICE = {
    "task_id": "T/0",
    "prompt": "def twice(x):\n",
    "entry_point": "twice",
    "test": "def check(f):\n    assert f(3) == 6\n",
}
MODELS = """
import re

def adds(messages):
    text = messages[-1]["content"]
    if "twice" in text:
        return "```python\\ndef twice(x):\\n    return 2 * x\\n```"
    return f"So it is:\\n{sum(map(int, re.findall('[0-9]+', text)))}"

def leaves(messages):
    return "import os\\ndef twice(x): os._exit(0)"

def forgets(messages):
    return adds(messages).replace("11", "12")
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(r) + "\n" for r in SUMS))
    (tmp_path / "he.jsonl").write_text(json.dumps(TWICE))
    (tmp_path / "models.py").write_text(MODELS)
    return tmp_path


def evaluated(folder, model, out, *words):
    done = sirl("evaluate", "--model", model, "--out", out, "--json", *words, cwd=folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["models"]["target"]


def test_tasks_alone_are_asked_counted_and_compared(folder):
    words = ("--benchmarks", "numeric:sums.jsonl,humaneval:he.jsonl", "--set", "run_code=true")
    before = evaluated(folder, "python:models:adds", "before", *words)
    after = evaluated(folder, "python:models:forgets", "after", *words)
    solved = [
        {k: (r["value"], r["n"]) for k, r in m["capability"].items()} for m in (before, after)
    ]
    assert solved == [{"sums": (1.0, 3), "he": (1.0, 1)}, {"sums": (2 / 3, 3), "he": (1.0, 1)}]
    assert "Solved: sums" in (folder / "before" / "report.html").read_text()
    (rejected,) = (folder / "before" / "rejected.jsonl").read_text().splitlines()
    assert json.loads(rejected)["line"] == 3
    about = json.loads((folder / "before" / "run.json").read_text())
    assert set(about["files"]) == {"sums.jsonl", "he.jsonl"}
    assert about["code_sandbox"].startswith(("namespaces", "bubblewrap", "limits"))
    done = sirl("compare", "before", "after", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    sums = json.loads(done.stdout)["capability"]["sums"]
    assert (sums["only_before"], sums["only_after"], sums["difference"]["n"]) == (1, 0, 3)


def test_what_was_not_tested_to_its_end_is_counted_and_said(folder):
    words = ("--benchmarks", "humaneval:he.jsonl", "--set", "run_code=true", "--out", "run")
    done = sirl("evaluate", "--model", "python:models:leaves", *words, "--json", cwd=folder)
    found = json.loads(done.stdout)["models"]["target"]["unfinished"]
    assert (found["n"], found["tasks"], found["kinds"]) == (1, 1, {"stopped": 1})
    assert "of 1 answer to tasks 1 stopped: they count as unsolved" in done.stderr
    (row,) = map(json.loads, (folder / "run" / "records.jsonl").read_text().splitlines()[-1:])
    assert row["reason"] == "stopped: the answer's process has ended"


def test_tasks_of_other_lengths_are_not_compared(folder):
    words = ("--benchmarks", "numeric:sums.jsonl", "--set")
    evaluated(folder, "python:models:adds", "before", *words, "capability_tokens=64")
    evaluated(folder, "python:models:adds", "after", *words, "capability_tokens=65")
    done = sirl("compare", "before", "after", cwd=folder)
    assert done.returncode == 2
    assert (
        "the longest answer to a task differs: 64 for python:models:adds of before" in done.stderr
    )


def test_strict_stops_at_a_row_that_is_no_task(folder):
    done = sirl(
        "evaluate", "--model", "embedded", "--benchmarks", "numeric:sums.jsonl", "--strict",
        "--out", "run", cwd=folder,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == (
        "sirl: sums.jsonl:3: answer has no number, alone or after ####; fix the row, "
        "or drop --strict to skip it\n"
    )
    assert not (folder / "run").exists()


def test_only_tasks_may_be_answered_at_length(folder):
    found = evaluated(
        folder, "embedded", "run", "--benchmarks", "numeric:sums.jsonl", "--limit", 2,
        "--attacks", "direct", "--set", "new_tokens=4", "--set", "capability_tokens=24",
    )  # fmt: skip
    assert found["capability"]["sums"]["n"] == 2
    assert list(found["capability"]) == ["sums"]
    rows = [json.loads(r) for r in (folder / "run" / "records.jsonl").read_text().splitlines()]
    longest = {
        k: max(r["tokens"] for r in rows if r["kind"] == k) for k in ("attack", "capability")
    }
    assert longest["attack"] == 4
    assert 4 < longest["capability"] <= 24


def test_public_tasks_are_put_to_a_small_model(tmp_path):
    kinds = {
        "numeric": "gsm8k",
        "humaneval": "humaneval",
        "mbpp": "mbpp_sanitized",
        "ifeval": "ifeval",
    }
    named = ",".join(f"{kind}:{shared(f'data/{name}.jsonl')}" for kind, name in kinds.items())
    found = evaluated(
        tmp_path, shared("models/tiny-english"), "run", "--benchmarks", named, "--limit", 3,
        "--set", "run_code=true", "--set", "capability_tokens=16",
    )  # fmt: skip
    assert {name: r["n"] for name, r in found["capability"].items()} == dict.fromkeys(
        kinds.values(), 3
    )
