"""The guard in front of an API: verdicts, faults of the upstream, and what is asked of it."""

import asyncio
import json
import logging
import math

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sirl.guard.server.app import app_of
from sirl.guard.server.policy import Limits
from sirl.guard.server.source import Ask, SourceError
from sirl.guard.server.watching import WatchedAnswer
from sirl.guard.upstream.frames import Frames
from sirl.types import Message
from tests.unit.fake_source import CHAT, ask, chat, client_of, finding, streamed, text_of
from tests.unit.fake_upstream import (
    DONE,
    SERVED,
    FakeUpstream,
    chunk,
    endpoint_guard,
    event,
    events_of,
    proxied,
    token,
)

WHOLE = "w0 w1 w2 w3 w4 w5 w6 w7 w8 w9 "
REFUSAL = "I can't help with that."


def test_an_answer_that_passes_is_whole_with_the_usage_of_the_upstream():
    script = FakeUpstream()
    found = ask(proxied(script), body=chat()).json()
    assert found["choices"][0]["message"]["content"] == WHOLE
    assert found["choices"][0]["logprobs"] is None
    assert found["choices"][0]["finish_reason"] == "stop"
    assert found["usage"]["prompt_tokens"] == 7
    assert not finding(found)["flagged"]
    # The prompt's check reads the answer's own first token; 4, 8 and the end are asked again.
    assert [m[-1]["content"] for m in script.asked] == [WHOLE[:12], WHOLE[:24], WHOLE]
    assert all(m[-1]["role"] == "assistant" for m in script.asked)
    assert script.closed == 1


@pytest.mark.parametrize(
    ("mode", "action", "text", "finish", "expected"),
    [
        ("hold", "refuse", f"w0 w1 w2 \n\n{REFUSAL}", "content_filter", (True, 8, 9, 9)),
        ("live", "stop", WHOLE[:24], "content_filter", (True, 8, 12, 24)),
        ("shadow", "refuse", WHOLE, "stop", (True, 8, None, None)),
    ],
)
def test_an_alarm_at_token_8_acts_by_the_policy_and_ends_the_upstream(
    mode, action, text, finish, expected
):
    script = FakeUpstream(opinions={8: 0.9})
    found = streamed(proxied(script, mode=mode, action=action))
    assert text_of(found) == text
    assert found[-1]["choices"][0]["finish_reason"] == finish
    keys = ("flagged", "position", "retract_from", "refusal_from")
    assert tuple(finding(found[-1])[k] for k in keys) == expected
    assert script.closed == 1


def test_a_prompt_whose_answer_begins_like_a_refusal_gets_the_refusal_alone():
    first = event(chunk("Sorry", [token("Sorry", {"Sorry": 0.8, "Sure": 0.1})]))
    script = FakeUpstream(chunks=[first, *events_of(["x"])])
    found = ask(proxied(script), body=chat()).json()
    assert found["choices"][0]["message"]["content"] == REFUSAL
    assert finding(found)["position"] == 0
    assert script.asked == []


@pytest.mark.parametrize("own", [{"temperature": 0.2}, {"top_p": 0.5}, {"logit_bias": {"5": -100}}])
def test_settings_that_may_hide_an_opener_make_the_prompt_a_check_of_its_own(own):
    script = FakeUpstream(opinions={0: 0.9})
    found = ask(proxied(script), body=chat(**own)).json()
    assert found["choices"][0]["message"]["content"] == REFUSAL
    assert len(script.asked) == 1
    check = script.seen[-1][1]
    assert (check["temperature"], check["max_tokens"], check["top_logprobs"]) == (1.0, 1, 20)
    assert "logit_bias" not in check


def test_the_clients_parameters_are_passed_on_and_log_probabilities_added():
    script = FakeUpstream()
    own = {"temperature": 0.2, "top_p": 0.9, "seed": 5, "max_tokens": 12, "logit_bias": {"3": 1}}
    ask(proxied(script), body=chat(**own, user="u1", n=2))
    first, second = script.bodies
    assert first == {
        "model": "fake",
        "messages": [{"role": "user", "content": "hello"}],
        "temperature": 0.2,
        "top_p": 0.9,
        "seed": 5,
        "max_tokens": 12,
        "logit_bias": {"3": 1.0},
        "logprobs": True,
        "top_logprobs": 20,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert second == first | {"seed": 6}


@pytest.mark.parametrize("own", [{}, {"temperature": 1, "top_p": 1}])
def test_neutral_parameters_are_named_since_the_upstreams_defaults_may_be_others(own):
    script = FakeUpstream()
    ask(proxied(script), body=chat(**own))
    assert (script.bodies[0]["temperature"], script.bodies[0]["top_p"]) == (1.0, 1.0)


def test_log_probabilities_reach_only_the_client_that_asks_for_them():
    found = ask(proxied(FakeUpstream()), body=chat(logprobs=True, top_logprobs=1)).json()
    rows = found["choices"][0]["logprobs"]["content"]
    assert len(rows) == 10
    assert [t["token"] for t in rows[0]["top_logprobs"]] == ["w0 "]
    silent = streamed(proxied(FakeUpstream()))
    assert all(c["logprobs"] is None for e in silent for c in e["choices"])


def test_details_show_both_the_lower_bound_and_the_truncated_entropy():
    found = streamed(
        proxied(FakeUpstream(), limits=Limits(max_tokens=64, details=True)), sirl={"details": True}
    )
    tokens = [t for e in found for c in e.get("sirl_guard", {}).get("choices", [])
              for t in c.get("tokens", [])]  # fmt: skip
    truncated = -0.9 * math.log(0.9) - 0.05 * math.log(0.05)
    assert tokens[0]["entropy_truncated"] == pytest.approx(truncated)
    assert tokens[0]["entropy"] == pytest.approx(truncated - 0.05 * math.log(0.05))


LATE = [
    ("reset", httpx.ReadError("reset"), "broke off (ReadError)"),
    ("garbage", b"data: {nonsense\n\n", "not JSON"),
    ("a number", b"data: 7\n\n", "no part of an answer"),
    ("choices that are no list", event({"choices": {"index": 0}}), "no part of an answer"),
    ("a complaint", event({"object": "error", "message": "out of memory", "code": 500}),
     "broke off with an error (out of memory)"),
    ("half a character", b'data: {"choices": "\xe2\x82"}\n\n', "not UTF-8"),
    ("error frame", event({"error": {"message": "overloaded secret-key", "code": 503}}),
     "broke off with an error (overloaded ***)"),
    ("aborted", event(chunk(finish="error")), "aborted its answer"),
    ("text alone", event(chunk("more")), "without log-probabilities"),
    ("idle", httpx.ReadTimeout("slow"), "sent nothing for 5 s"),
    ("bad log-probability", event(chunk("x", [{"token": "x", "logprob": 3.0}])), "malformed"),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "said"), [f[1:] for f in LATE], ids=[f[0] for f in LATE])
@pytest.mark.parametrize("mode", ["hold", "live"])
def test_a_fault_in_mid_stream_is_an_error_frame_and_done_and_the_upstream_is_closed(
    fault, said, mode
):
    sent = events_of([f"w{n} " for n in range(6)])[:7]
    script = FakeUpstream(chunks=[*sent, fault, *events_of(["never"])])
    found = streamed(proxied(script, mode=mode))
    assert said in found[-1]["error"]["message"]
    assert "secret" not in found[-1]["error"]["message"]
    assert "never" not in text_of(found[:-1])
    if mode == "live":
        assert text_of(found[:-1]) == "w0 w1 w2 w3 w4 w5 "
    assert script.closed == 1
    script.closed, script.chunks = 0, [*sent, fault]
    whole = ask(proxied(script, mode=mode), body=chat())
    assert whole.status_code == 502
    assert said in whole.json()["error"]["message"]


@pytest.mark.parametrize(("fault", "said"), [f[1:] for f in LATE], ids=[f[0] for f in LATE])
@pytest.mark.parametrize("own", [{}, {"temperature": 0.5}])
@pytest.mark.parametrize("policy", [{}, {"on_fault": "open"}, {"mode": "live"}])
def test_a_fault_before_the_first_token_is_one_of_the_upstream_not_of_a_check(
    fault, said, own, policy, caplog
):
    caplog.set_level(logging.DEBUG)
    script = FakeUpstream(chunks=[event(chunk("")), fault, *events_of(["never"])])
    served = proxied(script, **policy)
    found = streamed(served, **own)[-1]["error"]
    assert said in found["message"]
    assert found["code"] == ("upstream_timeout" if "sent nothing" in said else "upstream_failed")
    counted = served.metrics.registry.get_sample_value
    assert not any(counted("sirl_guard_faults_total", {"policy": p}) for p in ("open", "closed"))
    assert "the check at token" not in caplog.text
    assert script.closed == 1


def test_a_stream_that_ends_in_mid_answer_is_an_error_and_one_without_done_is_not():
    every = events_of(["a ", "b "])
    cut = streamed(proxied(FakeUpstream(chunks=every[:3])))
    assert "ended in the middle of an answer, without [DONE]" in cut[-1]["error"]["message"]
    finished = streamed(proxied(FakeUpstream(chunks=every[:4])))
    assert text_of(finished) == "a b "
    assert finished[-1]["choices"][0]["finish_reason"] == "stop"


def test_an_answer_that_the_upstream_filters_ends_as_filtered_and_is_not_flagged():
    script = FakeUpstream(chunks=events_of(["a ", "b "], finish="content_filter"))
    found = streamed(proxied(script))
    assert (text_of(found), found[-1]["choices"][0]["finish_reason"]) == ("a b ", "content_filter")
    assert not finding(found[-1])["flagged"]


def test_comments_empty_choices_and_other_event_fields_are_passed_over():
    every = events_of(["a ", "b "])
    noise = [b": keep-alive\n\n", b"event: message\r\nid: 3\r\n",
             event({"choices": [], "prompt_filter_results": []}), event({"type": "ping"}),
             event({"choices": None, "usage": {"prompt_tokens": 5}})]  # fmt: skip
    usage = event({"usage": {"prompt_tokens": 9, "completion_tokens": 2}})
    script = FakeUpstream(chunks=[*noise, *every[:3], *noise, *every[3:-1], usage, DONE])
    found = ask(proxied(script), body=chat()).json()
    assert found["choices"][0]["message"]["content"] == "a b "
    assert found["usage"]["prompt_tokens"] == 9


def refusing(text, *, in_parts=False):
    """A chunk of a refusal as OpenAI streams it; `in_parts`: as a list of parts."""
    said = [{"type": "text", "text": text}] if in_parts else None
    choice = {"index": 0, "delta": {"content": said, "refusal": None if in_parts else text}}
    rows = {"refusal": [token(text)]}
    return {"model": SERVED, "choices": [choice | {"logprobs": rows, "finish_reason": None}]}


@pytest.mark.parametrize("in_parts", [False, True])
def test_text_in_the_field_refusal_and_in_parts_is_text_of_the_answer(in_parts):
    rows = [refusing(text, in_parts=in_parts) for text in ("I ", "cannot ", "say.")]
    script = FakeUpstream(chunks=[*map(event, rows), event(chunk(finish="stop")), DONE])
    found = ask(proxied(script), body=chat(logprobs=True)).json()["choices"][0]
    assert found["message"]["content"] == "I cannot say."
    assert [t["token"] for t in found["logprobs"]["content"]] == ["I ", "cannot ", "say."]


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("text/plain", b"".join(events_of(["a "]))),
        ("application/json", b"".join(events_of(["a "]))),
        ("application/json", b'{"choices": [{"message": {"content": "a"}}]}'),
        ("text/html; charset=utf-8", b"<p>hello</p>"),
        ("", b""),
    ],
)
def test_a_reply_that_is_no_stream_is_an_error_that_names_its_content_type(kind, content):
    script = FakeUpstream(refused=[(200, {"content-type": kind} if kind else {}, content)])
    found = ask(proxied(script), body=chat())
    named = kind.partition(";")[0] or "no content type"
    said = f"the upstream answered 200 as {named}, not as a stream (text/event-stream)"
    assert (found.status_code, found.json()["error"]["code"]) == (502, "upstream_failed")
    assert found.json()["error"]["message"] == said


EARLY = [
    ((429, {"retry-after": "7"}, {"error": {"message": "slow down"}}), 429, "upstream_busy"),
    ((500, {}, {"error": {"message": "oops"}}), 502, "upstream_failed"),
    ((401, {}, {"error": {"message": "bad key secret-key"}}), 502, "upstream_failed"),
    ((400, {}, {"error": {"message": "maximum context length is 9 tokens"}}), 400,
     "context_length_exceeded"),
    ((400, {}, {"error": {"message": "no", "code": "content_filter"}}), 400, "content_filter"),
    ((400, {}, {"error": {"message": "messages: no such role"}}), 400, "upstream_refused"),
    ((200, {"content-type": "application/json"}, {"choices": [{"message": {"content": "x"}}]}),
     502, "upstream_failed"),
    ((200, {"content-type": "application/json"}, {"error": {"message": "no", "code": 503}}), 502,
     "upstream_failed"),
    (httpx.ConnectError("refused"), 502, "upstream_failed"),
    (httpx.ConnectTimeout("slow"), 502, "upstream_failed"),
    (httpx.ReadTimeout("slow"), 502, "upstream_timeout"),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "status", "code"), EARLY)
@pytest.mark.parametrize("stream", [False, True])
def test_a_fault_before_the_first_byte_is_an_error_status(fault, status, code, stream):
    found = ask(proxied(FakeUpstream(refused=[fault])), body=chat(stream=stream))
    assert (found.status_code, found.json()["error"]["code"]) == (status, code)
    assert found.headers.get("retry-after") == ("7" if status == 429 else None)
    assert "secret" not in found.text


def test_the_key_goes_to_the_upstream_and_into_no_log(caplog):
    caplog.set_level(logging.DEBUG)
    script = FakeUpstream(refused=[(401, {}, {"error": {"message": "bad key secret-key"}})])
    ask(proxied(script), body=chat())
    assert script.seen[0][0].headers["authorization"] == "Bearer secret-key"
    assert "answered 401 (bad key ***): set UP_KEY to a key that may use fake" in caplog.text
    assert "secret" not in caplog.text
    assert "secret" not in repr(proxied(script).source)


@pytest.mark.parametrize("status", [401, 402, 403, 404, 407])
@pytest.mark.parametrize("of_check", [False, True])
@pytest.mark.parametrize("variable", ["UP_KEY", ""])
def test_the_log_tells_the_operator_what_to_mend(status, of_check, variable, caplog):
    caplog.set_level(logging.ERROR)  # libraries that other tests load switch logging off
    refusal = [(status, {}, {"error": {"message": "no"}})]
    served = proxied(FakeUpstream(**{"checks" if of_check else "refused": refusal}))
    served.source.upstream.key_from_env = variable
    ask(served, body=chat())
    (said,) = [r.message for r in caplog.records if f"answered {status} (" in r.message]
    assert not set("{}") & set(said)
    if status not in (404, 407):
        assert (variable or "the variable that --upstream-key-from-env names") in said


def test_a_parameter_that_the_upstream_names_otherwise_is_renamed_once():
    said = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
    script = FakeUpstream(refused=[(400, {}, {"error": {"message": said, "param": "max_tokens"}})])
    service = proxied(script)
    for _ in range(2):
        assert ask(service, body=chat(max_tokens=12)).status_code == 200
    assert ["max_tokens" in b for b in script.bodies] == [True, False, False]
    assert script.bodies[1]["max_completion_tokens"] == 12


def test_a_parameter_that_the_client_wants_and_the_upstream_refuses_is_an_error():
    said = {"error": {"message": "Unsupported parameter: 'temperature'.", "param": "temperature"}}
    service = proxied(FakeUpstream(refused=[(400, {}, said)] * 2))
    for _ in range(2):
        found = ask(service, body=chat(temperature=0.3))
        assert found.status_code == 400
        assert "temperature" in found.json()["error"]["message"]


def test_a_parameter_that_changes_nothing_is_left_out_if_the_upstream_refuses_it():
    said = {"error": {"message": "Unsupported parameter: 'temperature'.", "param": "temperature"}}
    script = FakeUpstream(refused=[(400, {}, said)])
    service = proxied(script)
    for _ in range(2):
        assert ask(service, body=chat()).status_code == 200
    assert ["temperature" in b for b in script.bodies] == [True, False, False]
    script.refused = [(400, {}, said)]
    assert ask(service, body=chat(temperature=0.3)).status_code == 400
    assert ask(service, body=chat()).status_code == 200


def test_of_two_parameters_that_exclude_each_other_the_one_that_matters_is_sent():
    words = "`temperature` and `top_p` cannot both be specified"
    script = FakeUpstream(refused=[(400, {}, {"error": {"message": words}})])
    service = proxied(script)
    assert ask(service, body=chat()).status_code == 200
    first = {"temperature", "top_p"} & script.bodies[-1].keys()
    assert len(first) == 1
    (idle,) = {"temperature", "top_p"} - first
    assert ask(service, body=chat(**{idle: 0.9})).status_code == 200
    assert script.bodies[-1][idle] == 0.9


FAILED = (500, {}, {"error": {"message": "oops"}})


def test_a_check_that_fails_once_is_asked_again():
    script = FakeUpstream(checks=[FAILED])
    assert ask(proxied(script), body=chat()).json()["choices"][0]["message"]["content"] == WHOLE


@pytest.mark.parametrize(
    "checks",
    [
        [FAILED] * 3,
        [httpx.ConnectError("refused")] * 3,
        [(429, {"retry-after": "60"}, {})],
        [(200, {}, {"choices": [{"message": {"content": "Sure"}}]})],
        [(200, {}, b"nonsense")] * 3,
    ],
)
@pytest.mark.parametrize("on_fault", ["closed", "open"])
def test_a_check_that_fails_closes_the_answer_or_leaves_it_unwatched(checks, on_fault):
    script = FakeUpstream(checks=list(checks))
    found = streamed(proxied(script, on_fault=on_fault))
    if on_fault == "open":
        assert text_of(found) == WHOLE
        assert not finding(found[-1])["watched"]
    else:
        assert text_of(found[:-1]) == ""
        assert "at token 4 failed" in found[-1]["error"]["message"]
    assert script.closed == 1


def test_another_model_behind_the_same_name_fails_the_check():
    found = streamed(proxied(FakeUpstream(served="model-2027")))
    assert "at token 4 failed" in found[-1]["error"]["message"]


@pytest.mark.parametrize("own", [{}, {"temperature": 0.5}, {"top_p": 0.9}])
@pytest.mark.parametrize("mode", ["hold", "live"])
def test_an_answer_of_another_model_fails_the_check_before_its_first_token(own, mode):
    of_another = [event(chunk(t, [token(t)], model="model-2027")) for t in ("a ", "b ")]
    script = FakeUpstream(chunks=[*of_another, event(chunk(finish="stop")), DONE])
    found = streamed(proxied(script, mode=mode), **own)
    assert text_of(found[:-1]) == ""
    assert "at token 0 failed" in found[-1]["error"]["message"]


def test_a_model_that_changes_in_mid_answer_fails_the_next_check():
    rows = [chunk(f"w{n} ", [token(f"w{n} ")], model=f"model-{2026 + n // 5}") for n in range(9)]
    script = FakeUpstream(chunks=[*map(event, rows), event(chunk(finish="stop")), DONE])
    found = streamed(proxied(script), temperature=0.5)
    assert "at token 8 failed" in found[-1]["error"]["message"]


def test_an_answer_without_a_guard_is_passed_on_without_log_probabilities():
    script = FakeUpstream(
        chunks=[event(chunk("plain ")), event(chunk("text", finish="stop")), DONE]
    )
    found = ask(proxied(script, watched=False), body=chat()).json()
    assert found["choices"][0]["message"]["content"] == "plain text"
    assert "logprobs" not in script.bodies[0]


def test_an_upstream_that_goes_on_past_max_tokens_is_cut():
    script = FakeUpstream()
    found = ask(proxied(script), body=chat(max_tokens=3)).json()
    assert found["choices"][0]["message"]["content"] == "w0 w1 w2 "
    assert found["choices"][0]["finish_reason"] == "length"


def test_a_conversation_that_ends_with_the_assistant_is_refused():
    body = chat()
    body["messages"].append({"role": "assistant", "content": "Sure"})
    found = ask(proxied(FakeUpstream(), limits=Limits(prefill=True)), body=body)
    assert found.status_code == 400
    assert "does not continue an answer" in found.json()["error"]["message"]


def test_moderations_ask_before_an_answer_and_behind_it():
    script = FakeUpstream(opinions={3: 0.95})
    body = {"input": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a b c"}]}
    served = proxied(script, limits=Limits(details=True))
    found = ask(served, "/v1/moderations", body).json()["results"][0]
    assert found["flagged"]
    assert found["sirl_guard"]["score"] == pytest.approx(math.log(0.95))
    assert [len(m) for m in script.asked] == [1, 2]


def test_a_whole_request_has_a_time_and_ends_with_an_error():
    async def run():
        waits = asyncio.Event()
        script = FakeUpstream(chunks=[*events_of(["a "])[:2], waits])
        async with client_of(proxied(script, seconds=0.05)) as client:
            return script, await client.post(CHAT, json=chat())

    script, found = asyncio.run(run())
    assert (found.status_code, found.json()["error"]["code"]) == (502, "upstream_timeout")
    assert script.closed == 1


def test_the_upstream_is_closed_when_the_client_goes():
    async def run():
        never = asyncio.Event()
        script = FakeUpstream(chunks=[*events_of(["a ", "b "])[:3], never])
        app, sent, gone = app_of(proxied(script, mode="live")), [], asyncio.Event()
        whole = [{"type": "http.request", "body": json.dumps(chat(stream=True)).encode()}]

        async def receive():
            if whole:
                return whole.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)
            if b"b " in message.get("body", b""):
                gone.set()

        scope = {"type": "http", "method": "POST", "path": CHAT, "raw_path": CHAT.encode(),
                 "query_string": b"", "root_path": "", "scheme": "http", "server": ("s", 80),
                 "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
                 "http_version": "1.1",
                 "asgi": {"version": "3.0"}}  # fmt: skip
        await asyncio.wait_for(app(scope, receive, send), 5)
        return script, sent

    script, sent = asyncio.run(run())
    assert script.closed == 1
    assert not any(b"error" in m.get("body", b"") for m in sent)


EURO = "\u20ac"


def hostile(line_end=b"\r\n"):
    """An answer with characters of several tokens and an end of turn without text."""
    raw = EURO.encode()
    rows = [
        chunk("w0 ", [token("w0 ")]),
        chunk("", [token("?", raw=raw[:2])]),
        chunk(EURO, [token("?", raw=raw[2:])]),
        chunk(" w1 w2 ", [token(" w1 "), token("w2 ")]),
        chunk("w3\u2028\u00e9 ", [token("w3\u2028\u00e9 ")]),
        chunk("", [token("<|end|>")], finish="stop"),
    ]
    return (b"".join(event(r) for r in rows) + DONE).replace(b"\n", line_end)


def test_an_event_is_there_with_its_last_byte_whatever_ends_its_lines():
    for line_end in (b"\n", b"\r\n", b"\r"):
        frames = Frames()
        both = b": comment|data: one|data: two||data: three||".replace(b"|", line_end)
        found = [list(frames.feed(bytes([byte]))) for byte in both]
        assert [data for data in found if data] == [["one\ntwo"], ["three"]]
        assert found[-1 if line_end != b"\r\n" else -2] == ["three"]


def watched(script):
    """What leaves of an answer, and what the guard found, without a server around it."""

    async def run():
        service = proxied(script)
        answer = await service.source.open(Ask((Message("user", "hello"),), 64))
        own = WatchedAnswer(answer, service.policy)
        try:
            text = "".join([part.text async for part in own.parts()])
        except SourceError as error:
            return str(error), own.finding
        finally:
            await answer.close()
        return text, own.finding

    return asyncio.run(run())


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(1, len(hostile()) - 1), max_size=40, unique=True))
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize(
    ("opinions", "text"),
    [({}, f"w0 {EURO} w1 w2 w3\u2028\u00e9 "), ({3: 0.9}, REFUSAL)],
)
def test_any_chunking_of_the_upstreams_bytes_gives_the_same_answer_and_verdict(
    opinions, text, line_end, cuts
):
    whole, edges = hostile(line_end), [0, *sorted(cuts), None]
    pieces = [whole[a:b] for a, b in zip(edges, edges[1:], strict=False)]
    cut, one = (FakeUpstream(chunks=c, opinions=opinions) for c in (pieces, [whole]))
    assert watched(cut) == watched(one)
    assert watched(one)[0] == text
    assert cut.asked == one.asked[: len(cut.asked)]


@settings(max_examples=30, deadline=None)
@given(data=st.binary(max_size=200))
def test_no_bytes_of_an_upstream_are_more_than_an_error(data):
    text, finding = watched(FakeUpstream(chunks=[data, *events_of(["a "])]))
    assert text in ("a ", "") or text.startswith("the ")
    assert not finding.flagged


def test_a_guard_comes_back_from_its_json_as_it_was():
    guard = endpoint_guard()
    again = type(guard).revived(json.loads(json.dumps(guard.document())), "g/guard.json")
    assert again == guard
