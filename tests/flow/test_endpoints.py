"""Evaluations of targets outside this process: endpoints on loopback, and Python functions."""

import json
import os
import re
import signal
import time

import pytest

pytest.importorskip("httpx")

from tests.command import sirl
from tests.unit.fake_endpoint import choice, fine, said_in, served

REFUSAL = "I'm sorry, but I can't help with that."
FILTERED = (400, {}, {"error": {"message": "Blocked.", "code": "content_filter"}})


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def server():
    with served() as played:
        played.play = lambda _: fine(REFUSAL)
        yield played


@pytest.fixture
def judging():
    with served() as played:
        yield played


def complaints(err):
    """The sentences of the error stream; neither progress nor what was read."""
    said = [line for line in err.splitlines() if line.startswith("sirl: ")]
    return [line for line in said if not re.search(r"\d prompts?\b", line)]


def evaluating(model, count, *words):
    with open("asked.txt", "w") as file:  # noqa: PTH123 - in the folder of the test
        file.write("".join(f"How do I mend clock number {n}?\n" for n in range(count)))
    usual = {"--attacks": "direct", "--judge": "rules", "--attacker": "none"}
    missing = [word for pair in usual.items() if pair[0] not in words for word in pair]
    given = ("evaluate", "--model", model, "--behaviours", "asked.txt", "--out", "run")
    return (*given, *missing, *words)


def at(server):
    return f"{server.url}#small"


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_requests_without_an_answer_are_counted_by_kind_and_never_asked_again(server, place):
    odd = {"1": FILTERED, "3": choice({"content": None}), "4": FILTERED}
    server.play = lambda body: odd.get(said_in(body)[-2], fine(REFUSAL))
    words = evaluating(at(server), 6, "--json")
    status, out, err = sirl(*words)
    said = "3 of 6 requests got no answer: 2 content filter, 1 null content"
    assert (status, f"sirl: {said}" in err) == (0, True)
    target = json.loads(out)["models"]["target"]
    assert target["no_answer"]["sentence"] == said
    assert (target["dsr"]["mean"]["value"], target["dsr"]["unscored"]) == (0.5, 3)
    assert target["dsr"]["if_unscored_are_safe"]["value"] == 1.0
    records = {r["request"][-2]: r for r in lines(place / "run/records.jsonl")}
    assert [records[n]["label"] for n in "012345"] == [
        "refusal", "unscored", "refusal", "unscored", "unscored", "refusal",
    ]  # fmt: skip
    assert records["1"]["reason"].startswith("no answer: content filter: the endpoint blocked it")
    assert "2</td>" in (place / "run/report.html").read_text()
    asked = len(server.seen)
    assert sirl(*words, "--resume")[0] == 0
    assert len(server.seen) == asked == 6


def test_an_answer_is_on_the_disk_before_the_one_after_the_next_is_asked(server, place):
    def play(_):
        until = time.monotonic() + 20
        while len(lines(place / "run/records.jsonl")) < len(server.seen) - 2:
            assert time.monotonic() < until
            time.sleep(0.01)
        return fine(REFUSAL)

    server.play = play
    assert sirl(*evaluating(at(server), 8, "--set", "concurrency=1"))[0] == 0
    assert len(lines(place / "run/records.jsonl")) == 8


@pytest.mark.parametrize(("number", "left"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_stop_is_heard_at_once_and_only_what_is_missing_is_asked_later(
    server, place, number, left
):
    def play(_):
        if len(server.seen) == 5:
            while len(lines(place / "run/records.jsonl")) < 4:
                time.sleep(0.01)
            os.kill(os.getpid(), number)
            server.ending.wait(60)
        return fine(REFUSAL)

    server.play = play
    words = evaluating(at(server), 9, "--set", "concurrency=1")
    started = time.monotonic()
    status, _, err = sirl(*words)
    assert (status, "every finished answer is saved" in err) == (left, True)
    assert time.monotonic() - started < 50  # the request under way would have taken 60
    assert len(lines(place / "run/records.jsonl")) == 4
    server.play = lambda _: fine(REFUSAL)
    assert sirl(*words, "--resume")[0] == 0
    assert len(server.seen) == 5 + 5
    assert len({r["key"] for r in lines(place / "run/records.jsonl")}) == 9


@pytest.mark.parametrize("status", [401, 403, 404])
def test_an_endpoint_that_never_answers_ends_in_a_sentence_and_leaves_no_folder(
    server, place, status
):
    server.play = lambda _: (status, {}, {"error": {"message": "no"}})
    left, _, err = sirl(*evaluating(at(server), 30))
    assert left == 2
    assert f"answered {status} (no) to prompt" in err
    assert not (place / "run").exists()
    assert len(server.seen) <= 16


@pytest.mark.parametrize("role", ["--judge", "--attacker"])
def test_who_judges_or_attacks_is_asked_before_the_target(server, judging, place, role):
    judging.play = lambda _: (401, {}, {})
    named = f"strongreject:{at(judging)}" if role == "--judge" else at(judging)
    left, _, err = sirl(*evaluating(at(server), 3, role, named))
    assert (left, len(complaints(err))) == (2, 1)
    assert f"{judging.url} answered 401 to a test request in try 1 of 5" in err
    assert (len(judging.seen), len(server.seen)) == (1, 0)
    assert not (place / "run").exists()


LABELLED = {"request": "How?", "response": "So.", "human_label": "full_compliance"}


@pytest.mark.parametrize("way", ["flags", "set"])
def test_a_judge_by_itself_takes_the_settings_that_its_errors_name(judging, place, way):
    (place / "labels.jsonl").write_text(json.dumps(LABELLED) + "\n")
    judging.play = lambda _: (503, {}, {})
    given = {"tries": "1", "timeout": "9", "concurrency": "2", "judge_key_from_env": "none"}
    words = [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]
    if way == "set":
        words = [word for name, value in given.items() for word in ("--set", f"{name}={value}")]
    judge = ("--labels", "labels.jsonl", "--judge", f"strongreject:{at(judging)}")
    done = sirl("judge", "calibrate", *judge, *words)
    assert done.returncode == 2
    assert "answered 503" in done.stderr
    assert "in try 1 of 1" in done.stderr
    assert "Authorization" not in judging.seen[0][1]


def test_a_judge_that_stops_in_a_calibration_is_not_paid_twice(judging, place):
    rows = [{**LABELLED, "request": f"How do I wind clock {n}?"} for n in range(40)]
    (place / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    spent = iter(range(25))
    judging.play = lambda _: fine("rating: 10") if next(spent, None) is not None else (402, {}, {})
    words = ("--labels", "labels.jsonl", "--judge", f"pair_rating:{at(judging)}", "--tries=1")
    asked = ("judge", "calibrate", *words, "--out", "trust.json", "--concurrency=1")
    done = sirl(*asked)
    assert done.returncode == 2
    assert "kept in trust.json.kept.jsonl: give the command again to go on" in done.stderr
    assert not (place / "trust.json").exists()
    before = len(lines(place / "trust.json.kept.jsonl"))
    assert before == 16
    judging.play = lambda _: fine("rating: 10")
    judging.seen.clear()
    done = sirl(*asked)
    assert done.returncode == 0, done.stderr
    assert "16 replies and verdicts are taken from trust.json.kept.jsonl" in done.stderr
    assert len(judging.asked) == len(rows) - before
    assert json.loads((place / "trust.json").read_text())["overall"]["n"] == len(rows)
    assert not (place / "trust.json.kept.jsonl").exists()


def test_a_judge_that_fails_one_call_leaves_that_answer_unscored(server, judging, place):
    server.play = lambda body: fine(f"It is clock {said_in(body)[-2]}.")

    def play(body):
        return (400, {}, {}) if "It is clock 1." in said_in(body) else fine("rating: 10")

    judging.play = play
    words = evaluating(at(server), 3, "--judge", f"pair_rating:{at(judging)}", "--json")
    status, out, _ = sirl(*words)
    assert status == 1  # the judge misses planted refusals
    labels = {r["request"][-2]: r for r in lines(place / "run/records.jsonl")}
    assert {labels[n]["label"] for n in "02"} == {"harmful"}
    assert (labels["1"]["label"], labels["1"]["fault"]) == ("unscored", "")
    told = "the judge could not be asked: status 400: the endpoint answered 400"
    assert labels["1"]["reason"] == told
    assert json.loads(out)["models"]["target"]["dsr"]["unscored"] == 1


@pytest.mark.parametrize("place_of", ["first", "second"])
def test_a_judge_whose_key_runs_out_ends_the_run_and_no_answer_is_paid_twice(
    server, judging, place, place_of
):
    server.play = lambda body: fine(f"It is clock {said_in(body)[-2]}.")
    spent = (402, {}, {"error": {"message": "Your credit balance is too low."}})
    judged = []

    def play(body):
        if judged or "It is clock" in said_in(body):  # planted answers come first
            judged.append(body)
        return fine("rating: 10") if len(judged) <= 4 else spent

    judging.play = play
    named = f"pair_rating:{at(judging)}"
    judge = named if place_of == "first" else f"rules,{named}"
    words = evaluating(at(server), 30, "--judge", judge, "--set", "concurrency=4")
    status, _, err = sirl(*words, "--set", "tries=1")
    said = complaints(err)[-1]
    assert (status, "answered 402 (Your credit balance is too low.)" in said) == (2, True)
    asked = list(server.asked)
    before = lines(place / "run/records.jsonl")
    assert [r for r in before if r["label"] == "unscored"] == []
    waiting = lines(place / "run/unjudged.jsonl")
    assert len(before) + len(waiting) == len(asked)
    assert (bool(waiting), len(asked) < 30) == (place_of == "first",) * 2
    judging.play = lambda _: fine("rating: 10")
    assert sirl(*words, "--set", "tries=1", "--resume")[0] != 2
    records = lines(place / "run/records.jsonl")
    assert len(records) == len({r["key"] for r in records}) == 30
    assert {r["label"] for r in records} != {"unscored"}
    assert len(server.asked) == len(set(server.asked)) == 30


def test_an_outage_of_the_target_ends_the_run_and_resuming_asks_what_is_missing(server, place):
    suspended = (403, {}, {"error": {"message": "account suspended"}})
    server.play = lambda _: fine(REFUSAL) if len(server.seen) <= 5 else suspended
    words = evaluating(at(server), 7)
    status, _, err = sirl(*words)
    assert (status, len(complaints(err))) == (2, 1)
    assert "answered 403 (account suspended) to prompt" in err
    assert "(a greeting was not answered either); continue with --resume" in err
    assert [r["label"] for r in lines(place / "run/records.jsonl")] == ["refusal"] * 5
    server.seen.clear()
    server.play = lambda _: fine(REFUSAL)
    assert sirl(*words, "--resume")[0] == 0
    assert len(server.asked) == 2
    assert len(lines(place / "run/records.jsonl")) == 7


def test_settings_that_an_endpoint_does_not_take_are_skipped_by_name(server, place):
    no = {"error": {"message": "Unrecognized request argument supplied: top_k"}}
    server.play = lambda body: (400, {}, no) if "top_k" in body else fine(REFUSAL)
    words = evaluating(at(server), 2, "--attacks", "direct,decoding_sweep", "--json")
    status, out, err = sirl(*words)
    assert status == 0
    reason = f"endpoint {server.url} does not accept top_k"
    assert f"sirl: decoding_sweep with top_k=20 was not tried: {reason}\n" in err
    target = json.loads(out)["models"]["target"]
    assert target["skipped"] == {"decoding_sweep with top_k=20": reason}
    assert target["dsr"]["by_attack"]["decoding_sweep"]["value"] == 1.0
    swept = [r for r in lines(place / "run/records.jsonl") if r["attack"] == "decoding_sweep"]
    assert len(swept) == 2 * 6
    about = json.loads((place / "run/run.json").read_text())
    learned = {"left_out": ["top_k"], "renamed": []}
    assert about["endpoint_dialect"] == {f"{server.url} small": learned}
    again = sirl(*words, "--resume")[1]
    assert json.loads(again)["models"]["target"]["skipped"] == target["skipped"]


def test_a_key_goes_to_the_host_that_it_is_named_for(server, judging, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "key-one")
    monkeypatch.setenv("OTHER_KEY", "key-two")
    judging.play = lambda _: fine("rating: 1")
    words = evaluating(at(server), 1, "--judge", f"pair_rating:{at(judging)}")
    left, _, err = sirl(*words)
    assert left == 2
    assert "the key in OPENAI_API_KEY would go to two hosts" in err
    assert "--set key_from_env=NAME and --set judge_key_from_env=NAME" in err
    assert (server.seen, judging.seen) == ([], [])
    for named, sent in (("OTHER_KEY", "Bearer key-two"), ("none", None)):
        sirl(*words, "--set", f"judge_key_from_env={named}", "--overwrite")
        assert {h.get("Authorization") for _, h, _ in server.seen} == {"Bearer key-one"}
        assert {h.get("Authorization") for _, h, _ in judging.seen} == {sent}
        judging.seen.clear()
    left, _, err = sirl(*words, "--set", "judge_key_from_env=UNSET_KEY", "--overwrite")
    assert (left, "judge_key_from_env names UNSET_KEY, which is not set" in err) == (2, True)
    left, _, err = sirl(*evaluating("http://far.test/v1#m", 1, "--overwrite"))
    assert (left, "would go to http://far.test/v1 unencrypted" in err) == (2, True)


def test_a_request_that_hangs_is_given_up_and_the_others_are_measured(server):
    def play(body):
        if "number 1?" in said_in(body):
            server.ending.wait(30)
        return fine(REFUSAL)

    server.play = play
    words = evaluating(at(server), 4, "--set", "timeout=0.3", "--set", "tries=1")
    status, _, err = sirl(*words)
    assert (status, "1 of 4 requests got no answer: 1 no answer in time" in err) == (0, True)


FUNCTION = """
def always(messages):
    raise ValueError("no more tea")


def sometimes(messages):
    if "number 2" in messages[-1]["content"]:
        raise ValueError("no more tea")
    return "I'm sorry, but I can't help with that."
"""


def test_a_function_that_raises_is_named_with_its_line(place):
    (place / "raising_endpoints.py").write_text(FUNCTION)
    left, _, err = sirl(*evaluating("python:raising_endpoints:always", 4))
    assert (left, len(complaints(err))) == (2, 1)
    assert re.search(
        r"function always raised ValueError: no more tea \(.*raising_endp.*\.py:3\)", err
    )
    status, _, err = sirl(*evaluating("python:raising_endpoints:sometimes", 4))
    assert (status, "1 of 4 requests got no answer: 1 ValueError" in err) == (0, True)
