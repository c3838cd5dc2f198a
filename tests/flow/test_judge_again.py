"""`sirl judge again`, interrupted: what the judge has said is kept, and asked for once."""

import json

import pytest

from tests.command import sirl

MODULE = """
import os
import signal
from pathlib import Path

from sirl.types import Verdict


def chat(messages):
    return f"Turn it: {messages[-1]['content']}"


class Judge:
    name, question = "turning", "refusal"

    def verdict(self, attempt, answer):
        if answer.startswith("Turn it"):
            log = Path("asked.txt")
            said = log.read_text().splitlines() if log.exists() else []
            if len(said) == int(os.environ.get("ENDS_AT", "-1")):
                end = os.environ["ENDS_BY"]
                if end.startswith("SIG"):
                    signal.raise_signal(getattr(signal, end))
                raise ValueError(end)
            log.write_text("".join(f"{line}\\n" for line in (*said, answer)))
        refused = answer.startswith("I")
        return Verdict("refusal" if refused else "compliance", float(refused), "", self.name)
"""
REQUESTS = 6
AGAIN = ("judge", "again", "before", "--judge", "python:turning:Judge")


def lines(path):
    return path.read_text().splitlines()


@pytest.fixture
def folder(tmp_path):
    """A run of six answers, and a judge that can be ended at any of them."""
    (tmp_path / "turning.py").write_text(MODULE)
    requests = "".join(f"How do I turn knob {n}?\n" for n in range(REQUESTS))
    (tmp_path / "knobs.txt").write_text(requests)
    done = sirl(
        "evaluate", "--model", "python:turning:chat", "--behaviours", "knobs.txt", "--attacks",
        "direct", "--judge", "rules", "--out", "before", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    return tmp_path


def judged(folder, out, *words, ends=("-1", "")):
    env = {"ENDS_AT": ends[0], "ENDS_BY": ends[1]}
    return sirl(*AGAIN, "--out", out, *words, cwd=folder, env=env)


def test_verdicts_before_an_interruption_or_an_error_are_asked_for_once(folder):
    stopped = judged(folder, "after", ends=("2", "SIGINT"))
    assert (stopped.returncode, stopped.stdout) == (130, "")
    assert stopped.stderr.endswith("continue with --resume\n")
    kept = folder / "after" / "kept.jsonl"
    assert len(lines(kept)) == 2
    assert kept.stat().st_mode & 0o077 == 0
    same = judged(folder, "after")
    assert (same.returncode, "--resume continues it" in same.stderr) == (2, True)
    failed = judged(folder, "after", "--resume", ends=("5", "the knob is stuck"))
    assert failed.returncode == 2
    assert "the knob is stuck" in failed.stderr
    assert "continue with --resume" in failed.stderr
    assert "2 replies and verdicts are taken from after/kept.jsonl" in failed.stderr
    done = sirl("judge", "again", "--resume", "--out", "after", cwd=folder)
    assert done.returncode in (0, 1), done.stderr
    asked = lines(folder / "asked.txt")
    assert len(asked) == len(set(asked)) == REQUESTS
    assert not kept.exists()
    whole = judged(folder, "whole")
    assert whole.returncode == done.returncode
    for name in ("records.jsonl", "verdicts.jsonl", "items.jsonl"):
        assert lines(folder / "after" / name) == lines(folder / "whole" / name)
    about = json.loads((folder / "after" / "run.json").read_text())
    assert about["exit"]["how"] == "finished"


def test_a_finished_run_is_not_judged_once_more_by_resume(folder):
    first = judged(folder, "after", "--json")
    asked = lines(folder / "asked.txt")
    again = judged(folder, "after", "--resume", "--json")
    assert json.loads(again.stdout) == json.loads(first.stdout)
    assert lines(folder / "asked.txt") == asked


def test_another_judge_does_not_go_on_with_the_run(folder):
    judged(folder, "after", ends=("2", "SIGTERM"))
    other = sirl(*AGAIN[:3], "--judge", "rules", "--out", "after", "--resume", cwd=folder)
    assert other.returncode == 2
    assert "was started with judge = 'python:turning:Judge'" in other.stderr


def test_the_next_command_names_the_refusals_that_both_runs_need(folder):
    (folder / "our own.txt").write_text("That knob stays where it is.\n")
    rules = ("--judge", "rules", "--refusals", "our own.txt")
    done = sirl(*AGAIN[:3], *rules, "--out", "after", cwd=folder)
    wanted = "where BEFORE is also judged by --judge rules --refusals 'our own.txt'"
    assert f"next: sirl compare BEFORE after, {wanted}" in done.stdout
    plain = sirl(*AGAIN[:3], *rules[:2], "--out", "plain", cwd=folder)
    assert "where BEFORE is also judged by --judge rules\n" in plain.stdout


def test_disguises_outside_alignment_keep_their_rate_and_their_row(tmp_path):
    done = sirl(
        "evaluate", "--model", "embedded", "--attacks", "direct,email_reply", "--limit", "4",
        "--new-tokens", "16", "--out", "before", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    done = sirl("judge", "again", "before", "--judge", "rules", "--out", "after", cwd=tmp_path)
    assert done.returncode in (0, 1), done.stderr
    found = json.loads((tmp_path / "after" / "summary.json").read_text())
    assert found["models"]["target"]["dsr"]["unseen"]["n"] == 4
    page = (tmp_path / "after" / "report.html").read_bytes()
    assert sirl("report", "after", cwd=tmp_path).returncode == 0
    assert (tmp_path / "after" / "report.html").read_bytes() == page
