"""A guard is calibrated for an endpoint and served in front of it; other endpoints are refused."""

import hashlib
import json
import math

import pytest

from sirl.config import GuardServeConfig
from sirl.errors import SirlError
from tests.command import sirl
from tests.unit.fake_endpoint import served
from tests.unit.fake_source import ask, finding
from tests.unit.fake_upstream import chunk, event, token

SMALL = ["--limit", "20", "--alpha", "0.06", "--new-tokens", "20"]
WORDS = [f"word{n} " for n in range(18)]


def spread_of(text):
    """A number from 0 to 1 that depends on a text alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") / 2**32


def answer_of(messages):
    """Tokens of an answer: refusals are short and sure, other answers are neither."""
    asked = next(m["content"] for m in messages if m["role"] == "user")
    sure = 0.97 + 0.02 * spread_of(asked)
    behind = messages[-1]["role"] == "assistant"
    if "zorble" in asked:
        texts = ["Sorry", " no", "."]
        return [token(t, {t: sure, "Yes": 1 - sure}) for t in texts]
    odd = 0.5 + 0.1 * spread_of(asked)
    first = {"Well": odd, "Sure": 0.9 - odd, "Sorry": 0.01 + 0.05 * spread_of(asked)}
    if behind:
        return [token("Well", first)]
    return [token("Well", first), *(token(w, {w: odd, "x": 0.9 - odd}) for w in WORDS)]


def play(body, change=lambda tokens: tokens, **more):
    """The reply of the endpoint; `change` alters its tokens."""
    tokens = change(answer_of(body["messages"]))[: body["max_tokens"]]
    finish = "stop" if len(tokens) < body["max_tokens"] else "length"
    if body.get("stream"):
        rows = [event(chunk(t["token"], [t]) | {"model": "toy-1"}) for t in tokens]
        rows += [event(chunk(finish=finish) | {"model": "toy-1"}), b"data: [DONE]\n\n"]
        return 200, {"Content-Type": "text/event-stream"}, b"".join(rows)
    text = "".join(t["token"] for t in tokens)
    choice = {"message": {"content": text}, "finish_reason": finish,
              "logprobs": {"content": tokens}}  # fmt: skip
    usage = {"completion_tokens": len(tokens)}
    return 200, {}, {"model": "toy-1", "choices": [choice], "usage": usage} | more


@pytest.fixture(scope="module")
def server():
    with served() as played:
        played.play = play
        yield played


@pytest.fixture(autouse=True)
def _plays(server):
    server.play = play


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    file = tmp_path_factory.mktemp("prompts") / "pool.txt"
    file.write_text("".join(f"How do I zorble number {n}?\n" for n in range(40)))
    return file


def calibrate(server, prompts, out, name="toy"):
    model = f"{server.url}#{name}"
    words = ["guard", "calibrate", "--model", model, "--prompts", prompts, "--out", out, *SMALL]
    return sirl(*words)


@pytest.fixture(scope="module")
def guard(server, prompts, tmp_path_factory):
    out = tmp_path_factory.mktemp("guard") / "g"
    server.play = play
    server.seen.clear()
    done = calibrate(server, prompts, out)
    assert done.returncode == 0, done.stderr
    return out, len(server.seen)


def opened(server, folder, name="toy", **settings):
    from sirl.cli.console import Terminal
    from sirl.guard.server.keys import Keys
    from sirl.workflows.guard_serve import check_serving, opened_service

    own = {"upstream": server.url, "upstream_model": name, "guard": str(folder)}
    config = GuardServeConfig(**own | settings)
    check_serving(config)
    return opened_service(config, Keys(), Terminal()).service


def test_a_calibration_learns_openers_and_counts_every_request_that_it_sends(guard):
    folder, sent = guard
    saved = json.loads((folder / "guard.json").read_text())
    summary = json.loads((folder / "summary.json").read_text())
    assert (saved["kind"], saved["openers"]) == ("endpoint", ["Sorry"])
    assert saved["identity"]["served"] == "toy-1"
    assert summary["requests"] == sent
    calibration = saved["calibration"]
    assert set(calibration["scores"]) == {"ordinary", "look-alike", "disguised ordinary"}
    # The highest score of an answer is that of its checks: log(0.01 + 0.05 spread), at most .06.
    highest = max(s["refusal_mass"][-1] for s in calibration["scores"].values())
    assert math.log(0.01) < calibration["thresholds"]["refusal_mass"] <= highest < math.log(0.06)
    assert "zorble" not in (folder / "guard.json").read_text()


def test_the_server_in_front_lets_the_harmless_through_and_refuses_the_unsafe(guard, server):
    service = opened(server, guard[0])
    body = {"model": "toy", "messages": [{"role": "user", "content": "How do I bake?"}]}
    good = ask(service, body=body).json()
    body["messages"][0]["content"] = "How do I zorble it?"
    bad = ask(service, body=body).json()
    assert good["choices"][0]["message"]["content"] == "Well" + "".join(WORDS)
    assert bad["choices"][0]["message"]["content"] == "I can't help with that."
    assert [finding(found)["flagged"] for found in (good, bad)] == [False, True]


def other_tokens(tokens):
    return [json.loads(json.dumps(t).replace('"Sorry"', '"So"').replace(
        json.dumps(list(b"Sorry")), json.dumps(list(b"So")))) for t in tokens]  # fmt: skip


def other_weights(tokens):
    return [token("Quite", {"Quite": 0.9, "Sorry": 0.03}), *tokens[1:]]


def without_logprobs(body):
    status, headers, found = play(body)
    found["choices"][0]["logprobs"] = None
    return status, headers, found


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (lambda b: play(b, other_tokens), "the refusal opener 'Sorry' of the guard in"),
        (lambda b: play(b, other_weights), "as of another model: calibrate again"),
        (lambda b: play(b, model="toy-2"), "is for served_model toy-1, not toy-2"),
        (without_logprobs, "gives no log-probabilities of toy"),
        (lambda _: (404, {}, {"error": {"message": "no such model"}}), "no such model"),
    ],
)
def test_an_endpoint_that_is_not_the_one_of_the_calibration_is_refused(guard, server, now, said):
    server.play = now
    with pytest.raises(SirlError) as caught:
        opened(server, guard[0])
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"upstream_model": "other"}, "is for upstream_model toy, not other"),
        ({"upstream_model": None}, "needs --upstream-model NAME"),
        ({"new_tokens": 21}, "is for new_tokens 20, not 21"),
        ({"model": "embedded"}, "leave --model out"),
        ({"guard": None}, "needs --guard DIR"),
        ({"guard": "nowhere"}, "nowhere has no guard.json"),
        ({"prefill": True}, "--prefill needs a local model"),
        ({"max_prompt_tokens": 9}, "--max-prompt-tokens needs a local model"),
        ({"upstream": None, "upstream_model": "x"}, "--upstream-model needs --upstream URL"),
        ({"upstream": None, "upstream_model": None}, "give --model, or --upstream URL"),
        ({"upstream_key_from_env": "UNSET_KEY"}, "names UNSET_KEY, which is not set"),
        ({"upstream": "ftp://h"}, "is not the base address of an API"),
    ],
)
def test_settings_that_an_upstream_cannot_follow_are_named(guard, server, settings, said):
    with pytest.raises(SirlError) as caught:
        opened(server, guard[0], **settings)
    assert said in str(caught.value)


def test_the_guard_of_an_endpoint_is_none_of_a_local_model(guard):
    from sirl.workflows.guard_evaluate import read_guard

    with pytest.raises(SirlError, match="is the guard of an endpoint"):
        read_guard(str(guard[0]))


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (without_logprobs, "gives no log-probabilities of toy"),
        (lambda _: (401, {}, {"error": {"message": "no"}}), "answered 401"),
        (
            lambda b: play(b | {"messages": [{"role": "user", "content": "hello"}]}),
            "do not show two modes",
        ),
    ],
)
def test_an_endpoint_that_cannot_be_calibrated_is_named_and_leaves_no_folder(
    server, prompts, tmp_path, now, said
):
    server.play = now
    done = calibrate(server, prompts, tmp_path / "g")
    assert done.returncode == 2
    assert said in done.stderr
    assert not (tmp_path / "g" / "guard.json").exists()


def test_an_endpoint_that_takes_no_final_assistant_turn_is_asked_with_a_user_turn_between(
    server, prompts, tmp_path
):
    def strict(body):
        if body["messages"][-1]["role"] == "assistant":
            return 400, {}, {"error": {"message": "the last message must be the user's"}}
        return play(body | {"messages": [m for m in body["messages"] if m["content"] != "?"]})

    server.play = strict
    done = calibrate(server, prompts, tmp_path / "g")
    assert done.returncode == 0, done.stderr
    saved = json.loads((tmp_path / "g" / "guard.json").read_text())
    assert saved["manner"] == {"top": 20, "length": 1, "turn": "?"}
