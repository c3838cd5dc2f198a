import asyncio
import errno
import gzip
import json
import os
import subprocess
import sys
import threading
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("httpx")

from sirl.errors import ConfigError, InputError, ModelError, OutageError, SamplingError
from sirl.roles import Engine, StreamingEngine
from sirl.rollouts.arrivals import HELLO, UNGREETED
from sirl.rollouts.endpoint import EndpointEngine, Pace, asked_wait, request_seed
from sirl.rollouts.endpoint_dialect import Dialect, dialects, out_of_range
from sirl.rollouts.endpoint_reply import Answer, understood
from sirl.rollouts.endpoint_wire import LARGEST, key_for, new_client, past_proxies, trusted
from sirl.types import Message, Prompt, Reply, Sampling

from .fake_endpoint import choice, fine, in_turn, said_in, served

NOBODY = "http://127.0.0.1:1/v1"
KEY = "key-of-the-test"


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with served() as played:
        yield played


class Pauses(list):
    """Sleeps not at all and notes how long it should have."""

    async def __call__(self, seconds):
        self.append(seconds)


def engine(url, **settings):
    given = {"sampling": Sampling(), "seed": 3, "sleep": Pauses(), "jitter": lambda: 1.0}
    return EndpointEngine(url, "small", 16, **(given | settings))


def prompts(*names):
    return [Prompt.user(name, name) for name in names]


def failure(url, play_engine):
    with pytest.raises(ModelError) as caught:
        play_engine.sample(prompts("p1"))
    return str(caught.value).replace(url, "URL").removesuffix(UNGREETED)


def test_siblings_are_adjacent_and_each_request_has_its_seed(server):
    asking = engine(server.url, sampling=Sampling(temperature=0.5, top_p=0.9))
    completions = asking.sample(prompts("a", "b"), group=2, step=7)
    assert isinstance(asking, Engine)
    assert isinstance(asking, StreamingEngine)
    assert asking.identity == f"{server.url} small"
    assert [(c.prompt_id, c.text, c.sample) for c in completions] == [
        ("a", "a", 0), ("a", "a", 1), ("b", "b", 0), ("b", "b", 1),
    ]  # fmt: skip
    assert {(c.seed, c.finish, c.token_ids + c.entropies) for c in completions} == {(3, "stop", ())}
    assert {path for path, _, _ in server.seen} == {"/v1/chat/completions"}
    bodies = sorted((body for _, _, body in server.seen), key=lambda body: body["seed"])
    seeds = {request_seed(3, 7, name, s) for name in "ab" for s in range(2)}
    assert [body["seed"] for body in bodies] == sorted(seeds)
    assert len(seeds) == 4
    body = next(b for b in bodies if b["seed"] == request_seed(3, 7, "a", 1))
    assert body == {
        "model": "small", "messages": [{"role": "user", "content": "a"}], "max_tokens": 16,
        "temperature": 0.5, "top_p": 0.9, "seed": request_seed(3, 7, "a", 1),
    }  # fmt: skip


def test_seeds_stay_the_same_and_fit_31_bits():
    assert request_seed(0, 0, "p", 0) == 1789031965
    seeds = [request_seed(0, step, "p", s) for step in range(50) for s in range(50)]
    assert len(set(seeds)) == 2500
    assert 0 <= min(seeds) < 2**26
    assert 2**31 - 2**26 < max(seeds) < 2**31


def test_logprobs_are_asked_for_and_read_as_are_finish_and_refusal(server):
    tokens = {"content": [{"token": "a", "logprob": -0.5}, {"token": "b", "logprob": 0}]}
    server.play = in_turn(
        fine("ab", logprobs=tokens),
        fine("ab", finish_reason="length"),
        fine(None, message={"content": None, "refusal": "No."}),
        fine("", logprobs={"content": [{"token": "a"}]}),
    )
    asking = engine(server.url, concurrency=1, logprobs=True, sampling=Sampling(top_k=5))
    got = [(c.text, c.logprobs, c.finish) for c in asking.sample(prompts("a"), group=4)]
    assert got == [
        ("ab", (-0.5, 0.0), "stop"), ("ab", (), "length"), ("No.", (), "stop"), ("", (), "stop"),
    ]  # fmt: skip
    assert {(body["logprobs"], body["top_k"]) for _, _, body in server.seen} == {(True, 5)}


@pytest.mark.parametrize(
    "reason",
    ["length", "max_tokens", "MAX_TOKENS", "model_length", "max_output_tokens", "max_new_tokens",
     "FINISH_REASON_MAX_TOKENS", "model_context_window_exceeded", "max_length"],
)  # fmt: skip
def test_an_answer_that_was_cut_is_cut_whatever_the_server_calls_it(server, reason):
    server.play = in_turn(choice({"content": "Once"}, reason), choice({"content": None}, reason))
    cut, empty = engine(server.url, concurrency=1).sample(prompts("a", "b"))
    assert (cut.text, cut.finish, cut.fault) == ("Once", "length", "")
    assert empty.fault.startswith("cut off: ")


@pytest.mark.parametrize("reason", [None, ""])
def test_an_answer_as_long_as_allowed_that_names_no_end_was_cut(server, reason):
    def said(text, used):
        status, headers, answer = choice({"content": text}, reason)
        return status, headers, answer | {"usage": {"completion_tokens": used}}

    server.play = in_turn(said("Once", 15), said("Once", 16), said(None, 16))
    asking = engine(server.url, concurrency=1)
    found = asking.sample(prompts("a"), group=3)
    assert [c.finish for c in found] == ["stop", "length", "length"]
    assert [c.fault.partition(":")[0] for c in found] == ["", "", "cut off"]
    server.play = lambda body: (400, {}, NEWER) if "max_tokens" in body else said("Once", 16)
    assert asking.sample(prompts("b"))[0].finish == "length"


def test_an_end_that_is_not_known_is_counted_and_named(server):
    ends = ["odd\nend", "odd\nend", 7, None, "stop", "STOP", "end_turn", "eos"]
    server.play = in_turn(*(choice({"content": "x"}, end) for end in ends))
    asking = engine(server.url, concurrency=1)
    found = asking.sample(prompts("a"), group=len(ends))
    assert {(c.text, c.finish, c.fault) for c in found} == {("x", "stop", "")}
    assert dialects()[asking.identity] == {
        "left_out": [], "renamed": [], "unknown_ends": ["2 odd end", "1 7"],
    }  # fmt: skip


@pytest.mark.parametrize("reason", ["error", "ERROR", "network_error", "abort"])
def test_an_answer_that_broke_off_is_asked_again_and_then_set_apart(server, reason):
    server.play = in_turn(choice({"content": "Onc"}, reason), fine("Once"))
    assert [c.text for c in engine(server.url).sample(prompts("a"))] == ["Once"]
    server.play = lambda body: (
        choice({"content": "O"}, reason) if said_in(body) == "b" else fine("x")
    )
    found = engine(server.url, concurrency=1, tries=2).sample(prompts("a", "b"))
    told = f"broken off: the endpoint aborted its answer, {reason.casefold()}"
    assert (found[1].text, found[1].fault) == ("", told)


def test_order_is_kept_when_answers_come_out_of_order(server):
    last, answered = threading.Event(), []

    def play(body):
        text = body["messages"][-1]["content"]
        if text == "c":
            last.set()
        elif not last.wait(5):
            return 400, {}, {}
        answered.append(text)
        return fine(text)

    server.play = play
    texts = [c.text for c in engine(server.url).sample(prompts("a", "b", "c"))]
    assert texts == ["a", "b", "c"]
    assert len(answered) == 3


def test_no_more_than_concurrency_run_together_and_that_many_do(server):
    three, running, counts = threading.Barrier(3, timeout=5), [], []

    def play(body):
        with server.lock:
            running.append(body)
            counts.append(len(running))
        three.wait()
        server.ending.wait(0.02)  # leaves a fourth the time to come
        with server.lock:
            running.pop()
        return fine("x")

    server.play = play
    assert len(engine(server.url, concurrency=3).sample(prompts("a"), group=9)) == 9
    assert max(counts) == 3


def test_429_is_tried_again_after_the_pause_that_it_asks_for(server):
    now, later = "Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:50:07 GMT"
    waits = [(429, {"Retry-After": wait}, {}) for wait in ("7", "0", "soon")]
    server.play = in_turn(*waits, fine("x"))
    asking = engine(server.url)
    assert asking.sample(prompts("a"))[0].text == "x"
    assert asking.sleep == [7.0, 2.0, 4.0]
    assert asked_wait({"retry-after": later, "date": now}) == 30.0
    assert asked_wait({"retry-after": now, "date": later}) == 0.0
    assert asked_wait({"retry-after": later}) == 0.0
    assert asked_wait({"retry-after": "nan"}) == 0.0


def test_a_pause_that_is_too_long_is_not_waited_for(server):
    server.play = in_turn((429, {"Retry-After": "3600"}, {"error": {"message": "quota"}}))
    asking = engine(server.url)
    assert failure(server.url, asking) == (
        "endpoint URL answered 429 (quota) to prompt p1 in try 1 of 5: "
        "it asks for a pause of 3600 s; try again then"
    )
    assert asking.sleep == []


def test_500_is_tried_as_often_as_allowed_with_doubling_pauses(server):
    server.play = in_turn((500, {}, {"error": "overloaded"}))
    asking = engine(server.url, tries=8, jitter=lambda: 0.0)
    assert failure(server.url, asking) == (
        "endpoint URL answered 500 (overloaded) to prompt p1 in try 8 of 8: "
        "check its log, or raise tries"
    )
    assert asking.sleep == [0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0] * 2  # and so is the greeting
    assert server.asked == ["p1"] * 8
    assert len(server.seen) == 16
    with pytest.raises(
        ModelError, match="answered 500 \\(overloaded\\) to conversation 0 in try 8"
    ):
        asking.ask([(Message("user", "a"),)])


@pytest.mark.parametrize(
    ("status", "answer", "says"),
    [
        (400, {"message": "too\nlong"}, "400 (too long){}: change what it objects to"),
        (400, {"error": "Low credit."}, "400 (Low credit.){}: check the account of OPENAI_API_KEY"),
        (400, {"message": {"detail": [{"msg": "no"}]}}, "400 (no){}: change what it objects to"),
        (401, {}, "401{}: set OPENAI_API_KEY to a key that may use small"),
        (404, {"detail": ["x"]}, "404{}: check the url and the model name small"),
        (307, b"", "307{}: give the address that it points to"),
        (400, b"no such\nroom", "400 (no such room){}: change what it objects to"),
        (400, b"<html>no such room", "400{}: change what it objects to"),
        (400, b"\0\1\2", "400{}: change what it objects to"),
        (400, b"room " * 500, "400{}: change what it objects to"),
    ],
)
def test_what_will_not_get_better_is_tried_once(server, status, answer, says):
    server.play = in_turn((status, {"Location": "http://127.0.0.1:1/"}, answer))
    expected = says.format(" to prompt p1 in try 1 of 5")
    assert failure(server.url, engine(server.url)) == f"endpoint URL answered {expected}"
    assert server.asked == ["p1"]
    assert len(server.seen) == 1 + (status != 401)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"<html>", "without choices{}: check that the url is that of a chat API"),
        ({"choices": [{}]}, "without choices{}: check that the url is that of a chat API"),
        (b"no room", "without choices (no room){}: check that the url is that of a chat API"),
    ],
)
def test_nonsense_is_tried_again_and_then_named(server, answer, says):
    server.play = in_turn((200, {}, answer))
    expected = says.format(" to prompt p1 in try 2 of 2")
    asking = engine(server.url, tries=2)
    assert failure(server.url, asking) == f"endpoint URL answered 200 {expected}"
    with pytest.raises(ModelError, match=r"answered 200 without choices .*to conversation 0"):
        asking.ask([(Message("user", "a"),)])
    server.play = in_turn((200, {}, answer), fine("x"))
    assert asking.sample(prompts("a"))[0].text == "x"


def test_a_server_that_hangs_is_given_up(server):
    def play(_):
        server.ending.wait(5)
        return fine("late")

    server.play = play
    asking = engine(server.url, timeout=0.1, tries=2)
    assert failure(server.url, asking) == (
        "endpoint URL did not answer within 0.1 s to prompt p1 in try 2 of 2: "
        "raise timeout or lower concurrency"
    )
    assert asking.sleep == [1.0] * 2


def test_a_server_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    asking = engine(NOBODY, tries=3)
    assert failure(NOBODY, asking) == (
        "endpoint URL did not answer (ConnectError) to prompt p1 in try 3 of 3: "
        "check the url, and that the server runs"
    )
    assert asking.sleep == [1.0, 2.0]


def test_one_failure_is_set_apart_and_leaves_the_other_answers(server):
    server.play = lambda body: (400, {}, {}) if said_in(body) == "bad" else fine(said_in(body))
    asking = engine(server.url, concurrency=2)
    found = asking.sample(prompts("a", "bad", "b"))
    assert [(c.text, c.fault) for c in found] == [
        ("a", ""), ("", "status 400: the endpoint answered 400"), ("b", ""),
    ]  # fmt: skip
    asked = [(Message("user", text),) for text in ("a", "bad", "b", "a")]
    server.seen.clear()
    lost = Reply("", fault="status 400: the endpoint answered 400")
    assert asking.ask(asked) == [Reply("a"), lost, Reply("b"), Reply("a")]
    seeds = [b["seed"] for _, _, b in server.seen if said_in(b) == "a"]
    assert len(set(seeds)) == 2
    assert asking.sample([]) == asking.ask([]) == []


BOTH = [{"type": "text", "text": "A"}, {"type": "text", "text": "b"}]
FLAGGED = {"error": {"message": "input was flagged"}}
FILTERED = {"error": {"message": "Blocked.", "code": "content_filter"}}
RAW = '{"error": {"message": "The request was flagged by moderation"}}'
PROVIDERS = {"error": {"code": 400, "message": "Provider error", "metadata": {"raw": RAW}}}
CALL = {"function_call": {"name": "look"}}
COMPLETION = (200, {}, {"choices": [{"text": "Once", "finish_reason": "stop"}]})
CHUNK = (200, {}, {"choices": [{"delta": {"content": "Once"}, "finish_reason": "stop"}]})
STREAM = (200, {}, b'data: {"choices": [{"delta": {"content": "Once"}}]}\n\ndata: [DONE]\n\n')
PARTS = [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}]


@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        ((400, {}, FILTERED), "content filter: the endpoint blocked it by its content filter, "),
        ((403, {}, FLAGGED), "content filter: the endpoint blocked it by its content filter, "),
        ((400, {}, b"Rejected: unsafe content"), "content filter: the endpoint blocked it by its "),
        ((400, {}, {"detail": "This violates our house rules."}), "content filter: the endpoint "),
        ((200, {}, FILTERED), "content filter: the endpoint blocked it by its content filter, "),
        ((200, {}, PROVIDERS), "content filter: the endpoint blocked it by its content filter, "),
        ((400, {}, PROVIDERS), "content filter: the endpoint blocked it by its content filter, "),
        (choice({"content": "Su"}, "content_filter"), "content filter: the endpoint's content "),
        (choice({"content": None}, "refusal"), "content filter: the endpoint's content filter "),
        (choice({"content": ""}, "SENSITIVE"), "content filter: the endpoint's content filter "),
        (
            (200, {}, {"choices": [{"finish_reason": "content_filter"}]}),
            "content filter: the endpoint's content filter blocked it, content_filter",
        ),
        (choice({"content": None}), "null content: the endpoint answered with no text"),
        (choice({}), "null content: the endpoint answered with no text"),
        (choice({"content": [1]}), "unreadable content: the endpoint answered with no text"),
        (choice({"content": None, "tool_calls": [{}]}), "tool calls: the endpoint answered with "),
        (choice({"content": "", "tool_calls": [{}]}), "tool calls: the endpoint answered with "),
        (choice({"content": "Wait.", "tool_calls": [{}]}), "tool calls: the endpoint answered "),
        (choice({"content": "Wait."} | CALL), "tool calls: the endpoint "),
        (choice({"content": None}, "length"), "cut off: new_tokens ran out before the "),
        (choice({"content": ""}, "length"), "cut off: new_tokens ran out before the "),
        ((200, {}, {"choices": []}), "no choices: the endpoint answered with an empty list of "),
        ((404, {}, {}), "status 404: the endpoint answered 404"),
        ((403, {}, {}), "status 403: the endpoint answered 403"),
        ((413, {}, b"<html>"), "status 413: the endpoint answered 413"),
        ((422, {}, {"detail": [{"msg": "no"}]}), "status 422: the endpoint answered 422 (no)"),
        ((200, {}, {"choices": None}), "no choices: the endpoint answered 200 without choices"),
        (COMPLETION, "no choices: the endpoint answered 200 with a reply of the completions API"),
        (CHUNK, "no choices: the endpoint answered 200 with a chunk of a stream"),
        (STREAM, "no choices: the endpoint answered 200 with a chunk of a stream"),
        ((200, {}, {}), "no choices: the endpoint answered 200 without choices"),
        ((200, {}, b"<html>"), "no choices: the endpoint answered 200 without choices"),
        ((200, {}, b'{"choices": [{"mess'), "no choices: the endpoint answered 200 without "),
        ((200, {}, '{"choices": "é"}'.encode("latin-1")), "no choices: the endpoint answered 200 "),
        ((200, {}, b"[" * 200_000), "unreadable: the endpoint answered 200 with JSON nested too "),
        ((503, {}, {}), "status 503: the endpoint answered 503"),
        ((429, {"Retry-After": "9999"}, {}), "status 429: the endpoint answered 429"),
    ],
)
def test_what_brings_no_text_is_a_fault_of_its_item_alone(server, reply, fault):
    server.play = lambda body: reply if said_in(body) == "odd" else fine("yes")
    found = engine(server.url, concurrency=1, tries=2).sample(prompts("a", "odd", "b"))
    assert [c.text for c in found if not c.fault] == ["yes", "yes"]
    assert found[1].fault.startswith(fault)
    again = (
        2
        if reply[0] in (429, 503) or fault.startswith("no choices: the endpoint answered 200")
        else 1
    )
    assert server.asked == ["a", *["odd"] * again, "b"]
    told = ("status", "unreadable: the", "no choices: the endpoint answered 200")
    assert len(server.seen) == len(server.asked) + fault.startswith(told)


@pytest.mark.parametrize(
    ("message", "text", "thoughts"),
    [
        ({"content": "A", "reasoning_content": "Hm."}, "A", "Hm."),
        ({"content": "A", "reasoning": "Hm."}, "A", "Hm."),
        ({"content": [*PARTS, *BOTH]}, "Ab", "Hm."),
        ({"content": [{"type": "reasoning", "text": "Hm."}, *BOTH]}, "Ab", "Hm."),
        ({"content": [{"type": "thinking", "text": "Hm."}, *BOTH]}, "Ab", "Hm."),
        ({"content": [{"type": "reasoning", "reasoning": "Hm."}, *BOTH]}, "Ab", "Hm."),
        ({"content": [{"type": "reasoning", "summary": [{"text": "Hm."}]}, *BOTH]}, "Ab", "Hm."),
        ({"content": [{"text": "Hm.", "thought": True}, *BOTH]}, "Ab", "Hm."),
        ({"content": [{"type": "refusal", "refusal": "No."}]}, "No.", ""),
        ({"content": "", "refusal": "No."}, "No.", ""),
        ({"content": ""}, "", ""),
    ],
)  # fmt: skip
def test_text_parts_and_refusals_are_the_answer_and_thoughts_are_beside_it(
    server, message, text, thoughts
):
    server.play = in_turn(choice(message))
    (found,) = engine(server.url).sample(prompts("a"))
    assert (found.text, found.thoughts, found.fault) == (text, thoughts, "")


def test_an_endpoint_that_fails_its_first_requests_is_given_up_before_the_others(server):
    server.play = in_turn((401, {}, {}))
    names = [str(n) for n in range(50)]
    with pytest.raises(ModelError, match="answered 401 to prompt"):
        engine(server.url, concurrency=4).sample(prompts(*names))
    assert len(server.seen) <= 8


def test_an_outage_is_not_set_apart_but_ends_the_work(server):
    server.play = in_turn(fine("a"), fine("b"), (500, {}, {}))
    come = engine(server.url, concurrency=1, tries=1).stream(prompts(*"abcdefgh"))
    assert [(i, c.text) for i, c in (*next(come), *next(come))] == [(0, "a"), (1, "b")]
    with pytest.raises(ModelError, match="answered 500 to prompt c in try 1 of 1"):
        next(come)
    assert server.asked == ["a", "b", "c", "b"]  # what was answered last is asked again


OUT = [
    (403, {}, {"error": {"message": "Your account is suspended."}}),
    (403, {}, {"error": {"message": "Your account was flagged and is suspended."}}),
    (404, {}, {"error": {"message": "model unloaded"}}),
    (400, {}, {"error": {"message": "Your credit balance is too low."}}),
    (410, {}, {}),
    (302, {"Location": "/login"}, b""),
    (429, {"Retry-After": "432"}, {}),
    (200, {}, b"<html>We are back soon.</html>"),
]


@pytest.mark.parametrize("reply", OUT)
@pytest.mark.parametrize("left", [1, 3, 30])
def test_an_outage_ends_the_work_with_any_status_and_however_few_requests_are_left(
    server, reply, left
):
    def play(body):
        answered = said_in(body).startswith("early")
        return fine("yes") if answered else reply

    asking = engine(server.url, concurrency=4, tries=1)
    asking.greet()
    server.play = play
    names = [f"early {n}" for n in range(5)] + [str(n) for n in range(left)]
    come = asking.stream(prompts(*names))
    found = []
    with pytest.raises(ModelError, match=f"answered {reply[0]}.* to prompt "):
        found.extend(pair for together in come for pair in together)
    assert [(i, c.text, c.fault) for i, c in sorted(found)] == [(n, "yes", "") for n in range(5)]
    assert len(server.asked) <= 25


def test_answers_on_their_way_when_an_outage_is_noticed_are_kept(server):
    noticed = threading.Event()

    def play(body):
        if said_in(body) == HELLO[0].content:
            noticed.set()
        if said_in(body) != "slow":
            return 403, {}, {}
        noticed.wait(5)
        server.ending.wait(0.2)  # leaves the outage time to be noticed
        return fine("paid")

    asking = engine(server.url, concurrency=2)
    asking.greet()
    server.play = play
    come = asking.stream(prompts("slow", *"abcdef"))
    assert [(i, c.text) for i, c in next(come)] == [(0, "paid")]
    with pytest.raises(ModelError, match="answered 403 to prompt a"):
        next(come)
    assert sorted(server.asked) == ["a", "slow"]


@pytest.mark.parametrize(
    "reply", [(403, {}, b"<html>Blocked by the firewall</html>"), (429, {}, {})]
)
def test_requests_that_alone_fail_are_set_apart_where_a_greeting_is_answered(server, reply):
    server.play = lambda body: reply if said_in(body) == "odd" else fine("yes")
    found = engine(server.url, concurrency=1, tries=2).sample(prompts("odd", "a", "odd"))
    told = f"status {reply[0]}: the endpoint answered {reply[0]}"
    assert [(c.text, c.fault) for c in found] == [("", told), ("yes", ""), ("", told)]


def test_a_request_is_sent_again_after_a_long_pause_that_the_endpoint_does_not_keep(server):
    server.play = in_turn((429, {"Retry-After": "432"}, {}), fine("yes"))
    (found,) = engine(server.url).sample(prompts("a"))
    assert (found.text, found.fault, server.asked) == ("yes", "", ["a", "a"])


def test_a_firewall_that_blocks_many_prompts_in_a_row_ends_nothing(server):
    blocked = (403, {}, {"error": {"message": "Request blocked."}})
    server.play = lambda body: fine("yes") if said_in(body)[0] in "aR" else blocked
    names = ["a", *(f"b{n}" for n in range(20)), "a"]
    found = engine(server.url, concurrency=4).sample(prompts(*names))
    assert [c.text for c in found] == ["yes", *[""] * 20, "yes"]


@pytest.mark.parametrize("reply", [(503, {}, {}), (402, {}, {}), (429, {}, {})])
def test_a_load_that_only_greetings_get_through_is_an_outage_too(server, reply):
    server.play = lambda body: fine("yes") if said_in(body)[0] in "aR" else reply
    asking = engine(server.url, concurrency=4, tries=1)
    come = asking.stream(prompts("a", *(f"b{n}" for n in range(20))))
    assert [(i, c.text) for i, c in next(come)] == [(0, "yes")]
    with pytest.raises(ModelError, match=f"answered {reply[0]} to prompt b"):
        next(come)
    assert len(server.asked) <= 1 + 4 + 4
    server.play = lambda _: fine("yes")
    assert [c.text for c in asking.sample(prompts("b"))] == ["yes"]


OFF_TOPIC = (400, {}, {"error": {"message": "I only talk about cheese."}})


def cheesy(body):
    """An endpoint that rejects whatever is not about cheese, greetings too."""
    return fine("Brie") if "cheese" in said_in(body) else OFF_TOPIC


@pytest.mark.parametrize("concurrency", [1, 2, 8])
def test_an_endpoint_that_rejects_greetings_loses_only_the_prompts_that_it_rejects(
    server, concurrency
):
    server.play = cheesy
    names = [name for n in range(9) for name in (f"cheese {n}", f"wine {n}")]
    found = engine(server.url, concurrency=concurrency).sample(prompts(*names))
    assert [c.text for c in found] == ["Brie", ""] * 9
    asking = engine(server.url, concurrency=concurrency)
    come = asking.stream(prompts("wine", "beer"), proven=True)
    assert [c.text for together in come for _, c in together] == ["", ""]


def test_three_failures_in_a_row_without_a_greeting_are_an_outage(server):
    server.play = cheesy
    come = engine(server.url, concurrency=1).stream(prompts("cheese", "ale", "beer", "cider"))
    assert [(i, c.text) for i, c in next(come)] == [(0, "Brie")]
    with pytest.raises(OutageError) as caught:
        next(come)
    assert "(I only talk about cheese.) to prompt ale in try 1 of 5: " in str(caught.value)
    assert str(caught.value).endswith("(a greeting was not answered either)")


def test_failures_at_the_same_time_need_few_greetings(server):
    server.play = lambda body: fine("yes") if said_in(body) == HELLO[0].content else OFF_TOPIC
    found = engine(server.url, concurrency=8).sample(prompts(*(f"ale {n}" for n in range(40))))
    assert {c.text for c in found} == {""}
    assert len(server.asked) == 40
    assert len(server.seen) - 40 <= 20


def test_an_account_spent_while_requests_are_on_their_way_is_an_outage(server):
    answered = threading.Event()

    def play(body):
        if said_in(body) == "a":
            answered.set()
            return fine("yes")
        answered.wait(5)
        server.ending.wait(0.1)  # until the answer has arrived
        return 404, {}, {}

    server.play = play
    come = engine(server.url, concurrency=4).stream(prompts(*"abcd"))
    assert [(i, c.text) for i, c in next(come)] == [(0, "yes")]
    server.play = lambda _: (404, {}, {})
    with pytest.raises(OutageError, match="answered 404 to prompt"):
        next(come)


def test_plain_prompts_inside_a_stream_do_not_clear_its_outage(server):
    noticed = threading.Event()

    def play(body):
        if said_in(body) == HELLO[0].content:
            noticed.set()
        if said_in(body) == "slow":
            noticed.wait(5)
            server.ending.wait(0.2)  # leaves the outage time to be noticed
        return fine("yes") if said_in(body) in ("slow", "plain") else (403, {}, {})

    outer = engine(server.url, concurrency=2)
    outer.greet()
    server.play = play
    come = outer.stream(prompts("slow", *"abc"))
    assert [i for i, _ in next(come)] == [0]
    assert replace(outer, seed=4).sample(prompts("plain"))[0].text == "yes"
    with pytest.raises(OutageError, match="answered 403 to prompt a"):
        next(come)


def test_plain_prompts_inside_a_stream_do_not_cause_its_outage(server):
    server.play = lambda body: fine("yes") if said_in(body)[0] == "a" else (401, {}, {})
    outer = engine(server.url, concurrency=1)
    come = outer.stream(prompts("a0", "a1", "a2"))
    assert [i for i, _ in next(come)] == [0]
    with pytest.raises(OutageError):
        replace(outer, seed=4).sample(prompts("plain"))
    assert [(i, c.text) for together in come for i, c in together] == [(1, "yes"), (2, "yes")]


def test_answers_come_one_by_one_and_what_waits_is_given_up_when_nobody_listens(server):
    def play(body):
        if said_in(body) != "0":
            server.ending.wait(5)
        return fine("x")

    server.play = play
    come = engine(server.url, concurrency=2).stream(prompts(*(str(n) for n in range(20))))
    assert [(i, c.text) for i, c in next(come)] == [(0, "x")]
    come.close()
    assert len(server.seen) <= 3


class NoLoops(asyncio.DefaultEventLoopPolicy):
    """Of a machine on which no further file can be opened."""

    def new_event_loop(self):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def test_a_loop_that_cannot_be_made_is_an_error_and_no_wait_for_ever():
    asyncio.set_event_loop_policy(NoLoops())
    try:
        with pytest.raises(ModelError, match="requests cannot be sent: .*Too many open files"):
            engine(NOBODY).sample(prompts("a"))
    finally:
        asyncio.set_event_loop_policy(None)


def bodies(inner):
    names = (
        "choices message content refusal finish_reason text type thinking tool_calls usage error "
        "completion_tokens reasoning logprobs logprob code param detail innererror"
    )
    return st.dictionaries(st.sampled_from(names.split()), inner, max_size=3)


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
VALUES = LEAVES | st.lists(bodies(LEAVES), max_size=2) | bodies(LEAVES)


@given(status=st.integers(200, 599), value=bodies(VALUES), message=bodies(VALUES))
def test_any_response_is_an_answer_a_fault_or_a_failure(status, value, message):
    for body in (value, {"choices": [{**value, "message": message}], "error": value}):
        found = understood(status, {}, json.dumps(body).encode(), KEY)
        if isinstance(found, Answer):
            assert 200 <= status < 300
            assert found.tokens >= 0
            assert not (found.fault and ":" not in found.fault)
        else:
            assert found.what.isprintable()
        Dialect().learn({"top_k": 1}, status, body)


NO_TOP_K = {"error": {"message": "Unrecognized request argument supplied: top_k"}}
FORBIDDEN = {"detail": [{"type": "extra_forbidden", "loc": ["body", "top_k"], "msg": "Extra"}]}
FIXED = {"error": {"message": "Only the default (1) value is supported.", "param": "temperature"}}
NEWER = {"error": {"message": "Unsupported parameter: 'max_tokens'.", "param": "max_tokens"}}
WRAPPED = {"object": "error", "message": {"detail": [
    {"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted"},
]}}  # fmt: skip
NOT_BOTH = {"error": "`temperature` and `top_p` cannot both be specified for this model."}


@pytest.mark.parametrize(
    ("lacks", "status", "complaint", "dialect"),
    [
        ("top_k", 400, NO_TOP_K, {"left_out": ["top_k"], "renamed": []}),
        ("top_k", 422, FORBIDDEN, {"left_out": ["top_k"], "renamed": []}),
        ("seed", 422, WRAPPED, {"left_out": ["seed"], "renamed": []}),
        ("temperature", 400, FIXED, {"left_out": ["temperature"], "renamed": []}),
        ("top_p", 400, NOT_BOTH, {"left_out": ["top_p"], "renamed": []}),
        ("seed", 400, b"unknown argument: seed", {"left_out": ["seed"], "renamed": []}),
        ("max_tokens", 400, NEWER,
         {"left_out": [], "renamed": ["max_tokens to max_completion_tokens"]}),
    ],
)  # fmt: skip
def test_a_parameter_that_a_server_refuses_is_learned_once(
    server, lacks, status, complaint, dialect
):
    server.play = lambda body: (status, {}, complaint) if lacks in body else fine("x")
    asking = engine(server.url, concurrency=1, sampling=Sampling(0.5, 1.0, 20))
    assert [c.text for c in asking.sample(prompts("a", "b"))] == ["x", "x"]
    assert len(server.seen) == 3
    assert dialects()[asking.identity] == dialect
    replace(asking, seed=4).sample(prompts("c"))
    assert len(server.seen) == 4
    assert ("max_completion_tokens" in server.seen[-1][2]) == (lacks == "max_tokens")


SENT = {"model": "m", "messages": [], "max_tokens": 16, "temperature": 0.0, "top_p": 1.0,
        "top_k": 20, "seed": 3, "logprobs": True}  # fmt: skip


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("Unrecognized request arguments supplied: min_p, top_k", "top_k"),
        ("top_k: Extra inputs are not permitted", "top_k"),
        ('json: unknown field "seed"', "seed"),
        ("This model does not support logprobs.", "logprobs"),
        ("The parameter seed is not supported by this server.", "seed"),
        ("create() got an unexpected keyword argument 'seed'", "seed"),
        ("Unsupported value: 'temperature' does not support 0 with this model. Only the default "
         "(1) value is supported.", "temperature"),
        ("temperature is deprecated for this model", "temperature"),
        ("max_tokens: use max_completion_tokens instead", "max_tokens"),
        ("'max_tokens' is not for this model; please use the 'max_completion_tokens' parameter",
         "max_tokens"),
        ("This model expects max_completion_tokens", "max_tokens"),
        ("max_completion_tokens is too large: at most 8", ""),
        ("Option not supported by the server: seed", "seed"),
        ("Options not available on tiny-2.1 yet: n, seed and stop", "seed"),
        ("The temperature is fixed and may not be passed", "temperature"),
        ("seed can't be used here", "seed"),
        ("'temperature' must not be set to 0.0", ""),
        ("Please pass nothing odd: seed", ""),
        ("Such a story is not available here; it began as a seed", ""),
        ("The seed bank prompt is not allowed by policy", ""),
        ("The seed bank is not allowed here", ""),
        ("A seed of doubt: such talk is unknown to me", ""),
        ("This model's maximum context length is 8 tokens; lower max_tokens instead", ""),
        ("Your content is not allowed: 'seed', 'temperature'", ""),
        ("temperature must be between 0.1 and 1; only the default is best", ""),
        ("messages: unexpected role", ""),
    ],
)  # fmt: skip
def test_a_dialect_is_learned_from_what_is_said_of_a_parameter(said, name):
    for payload in ({"error": {"message": said}}, {"error": said}, {"message": said}, said):
        learned = Dialect()
        assert learned.learn(SENT, 400, payload) == bool(name)
        assert [*learned.left_out, *learned.renamed] == ([name] if name else [])


@pytest.mark.parametrize(
    ("said", "name", "learned"),
    [
        ("This one cannot go with tiny-2.", "seed", True),
        ("Reasoning models run without it.", "temperature", True),
        ("Not for this model.", "max_tokens", True),
        ("Invalid parameter.", "logprobs", True),
        ("Invalid value.", "temperature", False),
        ("Invalid temperature.", "temperature", False),
        ("It is 0.0, which this model dislikes.", "temperature", False),
        ("That is of the wrong type.", "seed", False),
        ("That is above the limit.", "max_tokens", False),
        ("The prompt is odd.", "seed", False),
        ("Not for this model.", "messages", False),
        ("Not for this model.", "top_a", False),
    ],
)
def test_a_parameter_that_an_error_points_to_is_left_out_unless_its_value_is_wrong(
    said, name, learned
):
    for code in ("invalid_request_error", 400, "400", None):
        dialect = Dialect()
        error = {"error": {"message": said, "param": name, "code": code}}
        assert dialect.learn(SENT, 400, error) == learned
        assert [*dialect.left_out, *dialect.renamed] == [name] * learned


@pytest.mark.parametrize(
    "payload",
    [
        {"error": "Input validation error: `top_p` must be > 0.0 and < 1.0"},
        {"error": {"message": "top_p must be between 0.01 and 0.99 inclusive"}},
        {"message": "top_p should be below 1"},
        {"error": {"message": "Invalid 'top_p': above maximum value. Use 0.99 instead."}},
        {
            "detail": [
                {"type": "less_than", "loc": ["body", "top_p"], "msg": "should be less than 1"}
            ]
        },
    ],
)
def test_a_neutral_value_out_of_range_is_left_out_and_others_are_sent(server, payload):
    server.play = lambda body: (422, {}, payload) if body.get("top_p") == 1 else fine("x")
    asking = engine(server.url)
    assert [c.text for c in asking.sample(prompts("a"))] == ["x"]
    assert "top_p" not in server.seen[-1][2]
    assert dialects()[asking.identity] == {"left_out": ["top_p"], "renamed": []}
    narrow = replace(asking, sampling=Sampling(1.0, 0.9))
    assert [c.text for _, c in next(narrow.stream(prompts("a"), exact=True))] == ["x"]
    assert server.seen[-1][2]["top_p"] == 0.9
    assert len(server.seen) == 3


def test_a_setting_is_out_of_range_where_the_complaint_says_it_of_it():
    asked = Sampling(temperature=1.5, top_p=0.5)
    for said, name in (
        ("temperature must be between 0 and 1", "temperature"),
        ("'top_p' is out of range", "top_p"),
        ("temperature: Input should be less than or equal to 1", "temperature"),
        ("The context must be at most 8 tokens, whatever the temperature", ""),
        ("the room temperature of your story is at least odd", ""),
    ):
        assert out_of_range(asked, 400, {"error": {"message": said}}) == name


def test_a_sampling_that_is_refused_is_an_error_where_it_must_be_kept(server):
    server.play = lambda body: (400, {}, NO_TOP_K) if "top_k" in body else fine("x")
    asking = engine(server.url, sampling=Sampling(0.7, 1.0, 20))
    for _ in range(2):
        with pytest.raises(SamplingError) as caught:
            list(asking.stream(prompts("a"), exact=True))
        assert str(caught.value) == f"endpoint {server.url} does not accept top_k"
        assert caught.value.setting == "top_k=20"
    assert len(server.seen) == 1
    hot = {"error": {"message": "temperature must be between 0 and 1"}}
    server.play = lambda body: (400, {}, hot) if body["temperature"] > 1 else fine("x")
    with pytest.raises(SamplingError, match="does not accept such a temperature"):
        list(engine(server.url, sampling=Sampling(1.5)).stream(prompts("a"), exact=True))


def test_a_complaint_about_length_is_no_complaint_about_a_parameter(server):
    said = "'max_tokens' is too large: 16. The context is 8 tokens and your request has 9."
    server.play = lambda body: (400, {}, {"error": said}) if said_in(body) == "l" else fine("x")
    asking = engine(server.url, concurrency=1)
    found = asking.sample(prompts("a", "l"))
    assert found[1].fault == f"status 400: the endpoint answered 400 ({said})"
    assert asking.identity not in dialects()


def packed(size):
    return gzip.compress(b" " * size)


@pytest.mark.parametrize(
    ("headers", "body", "says"),
    [
        ({"Content-Encoding": "gzip"}, packed(LARGEST + 1), "with more than 32 MiB"),
        ({}, b" " * (LARGEST + 1), "with more than 32 MiB"),
        ({"Content-Encoding": "gzip"}, b"none", "with a body that cannot be decompressed"),
        ({"Content-Encoding": "br"}, b"x", "in the encoding 'br', which was not requested"),
    ],
    ids=["packed", "plain", "broken", "strange"],
)
def test_a_body_is_read_no_further_than_its_limit(server, headers, body, says):
    server.play = in_turn((200, headers, body))
    assert failure(server.url, engine(server.url)) == (
        f"endpoint URL answered 200 {says} to prompt p1 in try 1 of 5: check its log"
    )


def test_a_packed_answer_is_unpacked(server):
    body = gzip.compress(json.dumps(fine("é")[2]).encode())
    server.play = in_turn((200, {"Content-Encoding": "gzip"}, body))
    assert engine(server.url).sample(prompts("a"))[0].text == "é"


def test_a_greeting_says_what_is_wrong_before_anything_is_asked(server):
    server.play = in_turn((401, {}, {}))
    with pytest.raises(ModelError, match="answered 401 to a test request in try 1 of 5: set OPE"):
        engine(server.url).greet()
    assert len(server.seen) == 1
    server.play = in_turn(fine(None))
    engine(server.url).greet()
    server.play = in_turn(OFF_TOPIC)
    engine(server.url).greet(strict=False)
    with pytest.raises(ModelError, match="I only talk about cheese"):
        engine(server.url).greet()
    server.play = in_turn((402, {}, {}))
    with pytest.raises(ModelError, match="answered 402"):
        engine(server.url).greet(strict=False)


def test_a_key_never_goes_over_the_network_in_the_clear(monkeypatch):
    monkeypatch.setenv("TEST_KEY", KEY)
    with pytest.raises(ConfigError, match="would go to http://far.test/v1 unencrypted") as caught:
        key_for("http://far.test/v1", "TEST_KEY")
    assert KEY not in str(caught.value)
    for near in ("http://127.0.0.2:1/v1", "http://[::1]/v1", "http://localhost/v1", "https://f/v1"):
        assert key_for(near, "TEST_KEY") == KEY
    assert key_for("http://far.test/v1", "") == key_for("http://far.test/v1", "UNSET_KEY") == ""


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1"])
def test_what_goes_to_this_machine_goes_round_every_proxy(server, monkeypatch, variable, host):
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TEST_KEY", KEY)
    with served() as proxy:
        monkeypatch.setenv(variable, proxy.url.removesuffix("/v1"))
        near = engine(server.url.replace("127.0.0.1", host), key_from_env="TEST_KEY")
        assert [c.text for c in near.sample(prompts("a"))] == ["a"]
        assert proxy.seen == []
        far = engine("http://far.test/v1", key_from_env="")
        assert [c.text for c in far.sample(prompts("b"))] == ["b"]
        assert "Authorization" not in proxy.seen[0][1]
    assert server.seen[0][1]["Authorization"] == f"Bearer {KEY}"


def test_a_loopback_address_of_ipv6_goes_round_the_proxies_too():
    assert past_proxies("http://[::1]:8000/v1") == {"all://[::1]": None}


def test_the_key_is_sent_and_shown_nowhere(server, monkeypatch):
    monkeypatch.setenv("TEST_KEY", f"{KEY}\n")
    server.play = in_turn((401, {}, {"error": {"message": f"no such key: {KEY}"}}))
    asking = engine(server.url, key_from_env="TEST_KEY")
    assert failure(server.url, asking) == (
        "endpoint URL answered 401 (no such key: ***) to prompt p1 in try 1 of 5: "
        "set TEST_KEY to a key that may use small"
    )
    assert server.seen[0][1]["Authorization"] == f"Bearer {KEY}"
    assert KEY not in repr(asking)
    monkeypatch.setenv("TEST_KEY", f"{KEY}\nX-More: 1")
    with pytest.raises(ConfigError) as caught:
        asking.sample(prompts("a"))
    assert str(caught.value) == "the key in TEST_KEY cannot be sent in a header: fix it"
    with pytest.raises(ModelError):
        engine(server.url).ask([(Message("user", "a"),)])
    assert "Authorization" not in server.seen[-1][1]


def test_an_opener_is_sent_only_to_a_server_that_continues_it(server):
    begun = Prompt("p1", (Message("user", "Hi"), Message("assistant", "Sure")))
    with pytest.raises(InputError) as caught:
        engine(server.url).sample([begun])
    assert str(caught.value) == (
        f"prompt p1 ends with an assistant turn, which endpoint {server.url} may not be able to "
        "continue: set supports_opener if it can, or leave out prefill attacks"
    )
    assert server.seen == []
    assert engine(server.url, supports_opener=True).sample([begun])[0].text == "Sure"
    _, _, body = server.seen[0]
    assert body["messages"][-1] == {"role": "assistant", "content": "Sure"}
    assert (body["add_generation_prompt"], body["continue_final_message"]) == (False, True)


def test_characters_that_utf_8_cannot_hold_arrive(server):
    odd = "a\ud800\0é"
    engine(server.url).sample([Prompt.user("p", odd)])
    assert server.seen[0][2]["messages"][0]["content"] == odd


def test_a_pace_spaces_requests_and_forgets_what_was_not_used():
    pace = Pace("", "", 30)
    assert [pace.wait(now) for now in (10.0, 10.0, 11.0, 20.0, 21.0)] == [0.0, 2.0, 3.0, 0.0, 1.0]


def test_the_pace_is_shared_by_the_engines_of_a_model(server):
    asking = engine(server.url, requests_per_minute=1, concurrency=1)
    asking.sample(prompts("a", "b"))
    replace(asking, sampling=Sampling(temperature=0.0)).sample(prompts("a"))
    assert asking.sleep == pytest.approx([60, 120], abs=30)


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8000",
        "ftp://h",
        "http://",
        "http://h:p",
        "http://[::1",
        "http://h h",
        "http://h?k",
    ],
)
def test_a_url_that_is_none_is_refused_without_its_query(url):
    with pytest.raises(ConfigError) as caught:
        engine(url)
    assert str(caught.value) == (
        f"url {url.removesuffix('?k')!r} is not the base address of an API, "
        "such as http://localhost:8000/v1"
    )


def test_a_password_in_the_url_is_refused_and_not_shown():
    with pytest.raises(ConfigError) as caught:
        engine(f"http://me:{KEY}@host/v1")
    assert str(caught.value) == (
        "the endpoint's url contains '@': leave out name and password, "
        "the key comes from the environment"
    )


@pytest.mark.parametrize("name", ["concurrency", "tries", "requests_per_minute"])
def test_limits_below_one_are_refused(name):
    with pytest.raises(ConfigError) as caught:
        engine(NOBODY, **{name: 0})
    assert str(caught.value) == f"{name} of the endpoint is 0: it must be at least 1"


def test_a_missing_client_names_the_extra_and_torch_is_not_needed():
    code = (
        "import sys; sys.modules['torch'] = sys.modules['transformers'] = None\n"
        "from sirl.rollouts.endpoint import EndpointEngine\n"
        "from sirl.types import Sampling\n"
        f"EndpointEngine({NOBODY!r}, 'm', 1, Sampling(), 0)\n"
        "sys.modules['httpx'] = None\n"
        "try:\n"
        f"    EndpointEngine({NOBODY!r}, 'm', 1, Sampling(), 0)\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "an endpoint needs the extra 'serve': pip install 'sirl[serve]'\n"


def test_certificates_are_read_once_for_all_clients(monkeypatch):
    import ssl

    reading, read = ssl.create_default_context, []
    monkeypatch.setattr(
        ssl, "create_default_context", lambda **how: read.append(how) or reading(**how)
    )
    trusted.cache_clear()
    for address in (NOBODY, "https://far.test/v1", NOBODY):
        asyncio.run(new_client(address, KEY).aclose())
    assert len(read) == 1


@pytest.mark.parametrize(
    ("usage", "told"),
    [
        ({"completion_tokens": 7}, 7), ({}, 0), (None, 0), ({"completion_tokens": -7}, 0),
        ({"completion_tokens": True}, 0), ({"completion_tokens": 2.5}, 0),
        ({"completion_tokens": "7"}, 0), ({"completion_tokens": 10**30}, 0),
    ],
)  # fmt: skip
def test_tokens_are_those_that_the_endpoint_tells(server, usage, told):
    status, headers, answer = fine("yes")
    server.play = lambda _: (status, headers, {**answer, "usage": usage})
    (completion,) = engine(server.url).sample(prompts("p"))
    assert (completion.reported_tokens, completion.token_ids) == (told, ())
