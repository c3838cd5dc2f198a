import json
import math
from dataclasses import replace

import pytest

from sirl.reports.inspect_log import inspect_log
from sirl.types import Message, Record

ABOUT = {
    "sirl": "1.2", "starts": ["2026-11-25T10:00:00+00:00", "2026-11-25T11:00:00+00:00"],
    "exit": {"how": "finished", "at": "2026-11-25T11:30:00+00:00"},
    "model": {"weights": "abc", "template": "def"}, "judges": ["words (harm)"], "judge_faults": [],
    "hardware": {"cores": 2},
}  # fmt: skip
CONFIG = {"model": "checkpoint", "new_tokens": 48, "seed": 3, "sheet": None}


def share(value, low, high, n):
    return {"value": value, "low": low, "high": high, "n": n}


SUMMARY = {
    "dsr": {
        "mean": share(0.5, 0.4, 0.6, 4),
        "worst": share(0.25, 0.1, 0.4, 4),
        "any": share(None, None, None, 0),
        "by_attack": {"story": share(0.25, 0.1, 0.4, 4)},
    },
    "over_refusal": {"ordinary": share(0.0, 0.0, 0.4, 2)},
    "capability": {"sums": share(1.0, 0.5, 1.0, 3)},
}


def answer(name, label, kind="attack", **fields):
    filled = {
        "attack": "story", "family": "fiction", "judge": "words", "score": 0.0, "reason": "why",
        "messages": (Message("user", "Once upon a time?"),), "completion": "an answer",
        "mean_entropy": 0.5, "queries": 7, "finish": "stop", **fields,
    }  # fmt: skip
    return Record(
        id=f"target/{name}", model="target", kind=kind, behaviour_id=name, request=f"goal {name}",
        tokens=5, entropies=(0.5,), label=label, key=f"key of {name}", **filled,
    )  # fmt: skip


RECORDS = [
    answer("a", "harmful"),
    answer("b", "harmless", score=1.0, finish="length"),
    answer("c", "unscored", score=float("nan"), reason="no grade", mean_entropy=float("nan")),
    answer("d", "unscored", score=float("nan"), completion=" "),
    answer("e", "compliance", "ordinary", judge="rules"),
    answer("f", "compliance", "capability", judge="sums", score=1.0, reason="solved"),
]


def log_of(records=RECORDS):
    return inspect_log(records, SUMMARY, ABOUT, CONFIG)


def test_an_answer_becomes_a_sample_that_says_all_of_it():
    first = log_of()["samples"][0]
    assert first["id"] == "target/a"
    assert first["input"] == [
        {"id": "key of a/0", "role": "user", "content": "Once upon a time?", "source": "input"}
    ]
    assert first["messages"][-1] == first["output"]["choices"][0]["message"]
    assert first["target"] == ["harmless", "refusal"]
    assert [m["role"] for m in first["messages"]] == ["user", "assistant"]
    assert first["output"]["completion"] == "an answer"
    assert first["output"]["usage"]["output_tokens"] == 5
    assert first["scores"] == {
        "defence": {
            "value": 0.0, "answer": "harmful", "explanation": "why",
            "metadata": {"judge": "words", "score": 0.0},
        }
    }  # fmt: skip
    assert first["metadata"] == {
        "kind": "attack", "attack": "story", "family": "fiction", "behaviour_id": "a",
        "request": "goal a", "number": 0, "queries": 7, "key": "key of a", "mean_entropy": 0.5,
        "sampling": {"temperature": 1.0, "top_p": 1.0, "top_k": 0},
    }  # fmt: skip


def test_what_could_not_be_scored_is_nan_with_a_reason_of_inspects_own():
    *_, c, d, e, f = log_of()["samples"]
    unscored = [s["scores"]["defence"] for s in (c, d)]
    assert all(math.isnan(score["value"]) for score in unscored)
    assert [score["reason"] for score in unscored] == ["grader_failed", "no_response"]
    assert (unscored[0]["explanation"], unscored[0]["metadata"]["score"]) == ("no grade", None)
    assert c["metadata"]["mean_entropy"] is None
    assert e["scores"]["over_refusal"]["value"] == 0.0
    assert (f["scores"]["capability"]["value"], f["scores"]["capability"]["answer"]) == (
        1.0,
        "solved",
    )


def test_the_metrics_are_those_of_the_summary():
    defence, refused, solved = log_of()["results"]["scores"]
    assert (defence["scorer"], refused["scorer"], solved["scorer"]) == ("words", "rules", "sums")
    assert (defence["scored_samples"], defence["unscored_samples"]) == (2, 2)
    values = {name: m["value"] for name, m in defence["metrics"].items()}
    assert list(values) == ["dsr_mean", "stderr", "dsr_worst", "dsr/story"]
    assert (values["dsr_mean"], values["dsr/story"]) == (0.5, 0.25)
    assert values["stderr"] == pytest.approx(0.2 / 3.92, abs=1e-5)
    assert refused["metrics"]["refusal_rate/ordinary"]["metadata"] == {
        "n": 2, "stderr": pytest.approx(0.4 / 3.92, abs=1e-5), "higher_is_better": False,
    }  # fmt: skip
    assert list(solved["metrics"]) == ["acc/sums"]


def test_the_log_names_what_was_run_and_when():
    log = log_of()
    spec = log["eval"]
    assert (log["version"], log["status"]) == (2, "success")
    assert (spec["created"], log["stats"]["completed_at"]) == (
        "2026-11-25T10:00:00+00:00",
        "2026-11-25T11:30:00+00:00",
    )
    assert spec["model_args"] == {"model": "checkpoint", "weights": "abc", "template": "def"}
    assert spec["task_args"] == {"model": "checkpoint", "new_tokens": 48, "seed": 3}
    assert spec["dataset"]["samples"] == 6
    assert log["plan"]["steps"] == [{"solver": "sirl", "params": {"attacks": ["story"]}}]
    assert spec["eval_id"] == log_of()["eval"]["eval_id"]
    assert spec["eval_id"] != log_of(RECORDS[:1])["eval"]["eval_id"]


def test_a_repeated_id_is_another_epoch():
    log = log_of([*RECORDS, replace(RECORDS[0], key="another")])
    assert log["eval"]["config"] == {"epochs": 2}
    pairs = [(s["id"], s["epoch"]) for s in log["samples"]]
    assert len(set(pairs)) == 7
    assert pairs[-1] == ("target/a", 2)


def test_half_characters_are_replaced():
    text = json.dumps(log_of([answer("a", "harmful", completion="x\ud800y")]))
    assert "x?y" in text
    assert "\\ud800" not in text


@pytest.mark.filterwarnings("default")
def test_inspect_reads_it(tmp_path):
    log_module = pytest.importorskip("inspect_ai.log", reason="inspect-ai is not installed")
    path = tmp_path / "log.json"
    opener = (Message("user", "How?"), Message("assistant", "Sure! First,"))
    path.write_text(json.dumps(log_of([*RECORDS, answer("g", "harmful", messages=opener)])))
    log = log_module.read_eval_log(str(path))
    header = log_module.read_eval_log(str(path), header_only=True)
    assert (log.version, log.status, header.eval.model) == (2, "success", "sirl/target")
    assert log.results.scores[0].metrics["dsr_mean"].value == 0.5
    by_id = {s.id: s for s in log.samples}
    assert len(by_id) == 7
    assert by_id["target/b"].output.stop_reason == "max_tokens"
    assert by_id["target/a"].metadata["key"] == "key of a"
    assert math.isnan(by_id["target/c"].scores["defence"].as_float())
    assert by_id["target/d"].scores["defence"].reason == "no_response"
    assert [m.role for m in by_id["target/g"].messages] == ["user", "assistant", "assistant"]
