"""What the server refuses, and how: every error in OpenAI's form."""

import asyncio
import json

import pytest

from sirl.guard.server.keys import Keys
from sirl.guard.server.policy import Limits
from tests.unit.fake_source import CHAT, RULE, FakeSource, ask, chat, client_of, finding, service

SMALL = Limits(
    max_tokens=20, answers=3, prompt_tokens=5, messages=3, inputs=2, stops=2, stop_characters=4,
    biases=2, body_bytes=2000, streams=2, queue=1,
)  # fmt: skip


def error_in(reply, status):
    assert reply.status_code == status, reply.text
    found = reply.json()
    assert set(found) == {"error"}
    assert set(found["error"]) == {"message", "type", "param", "code"}
    assert "Traceback" not in reply.text
    return found["error"]


def said(*roles):
    return [{"role": role, "content": "x"} for role in roles]


@pytest.mark.parametrize(
    ("fields", "message", "param"),
    [
        ({"n": 1000}, "n 1000 is above 2", "n"),
        ({"n": 0}, "greater than or equal to 1", "n"),
        ({"max_tokens": 2, "max_completion_tokens": 2}, "not both", "max_tokens"),
        ({"temperature": 2.1}, "less than or equal to 2", "temperature"),
        ({"temperature": "1"}, "valid number", "temperature"),
        ({"top_p": 0}, "greater than 0", "top_p"),
        ({"stop": ["a", "b", "c"]}, "3 stop sequences are more than 2", "stop"),
        ({"stop": "abcde"}, "1 to 4 characters, not 5", "stop"),
        ({"stop": ""}, "1 to 4 characters, not 0", "stop"),
        ({"logit_bias": {"x": 1}}, "'x' is not a token id", "logit_bias"),
        ({"logit_bias": {"1": 101}}, "less than or equal to 100", "logit_bias.1"),
        ({"logit_bias": {"1": 1, "2": 1, "3": 1}}, "3 entries, more than 2", "logit_bias"),
        ({"logprobs": True, "top_logprobs": 21}, "less than or equal to 20", "top_logprobs"),
        ({"top_logprobs": 2}, "top_logprobs needs logprobs", "top_logprobs"),
        ({"stream_options": {"include_usage": True}}, "needs stream: true", "stream_options"),
        ({"messages": []}, "at least 1 item", "messages"),
        ({"messages": said(*["user"] * 4)}, "4 messages are more than 3", "messages"),
        (
            {"messages": said("user", "assistant")},
            "the last message is the assistant's",
            "messages",
        ),
        (
            {"messages": said("wizard")},
            "'system', 'developer', 'user' or 'assistant'",
            "messages.0.role",
        ),
        ({"messages": [{"role": "user"}]}, "messages.0.content is needed", "messages.0.content"),
        ({"messages": [{"role": "user", "content": 3}]}, "valid string", "messages.0.content"),
        ({"messages": [{"role": "user", "content": "a\0"}]}, "NUL", "messages.0.content"),
        ({"messages": "hi"}, "valid list", "messages"),
        ({"frequency_penalty": 1.5}, "is not supported", "frequency_penalty"),
        ({"tools": [{}]}, "is not supported", "tools"),
        ({"response_format": {"type": "json_object"}}, "not supported", "response_format"),
        ({"surprise": 1}, "surprise is not supported: leave it out", "surprise"),
        ({"sirl": {"details": True, "more": 1}}, "is not supported", "sirl.more"),
        ({"sirl": {"details": True}}, "it must be started with --details", "sirl.details"),
        ({"stream": "yes"}, "valid boolean", "stream"),
        ({"seed": 2**70}, "", "seed"),
        ({"stop": ["a\0"]}, "NUL", "stop.0"),
    ],
)
def test_what_exceeds_a_bound_or_is_not_supported_is_a_400_that_names_it(fields, message, param):
    source = FakeSource()
    error = error_in(ask(service(source, limits=SMALL), body=chat() | fields), 400)
    assert message in error["message"]
    assert error["param"] == param
    assert error["type"] == "invalid_request_error"
    assert not source.asked


@pytest.mark.parametrize(
    "fields",
    [
        {"frequency_penalty": 0, "presence_penalty": 0.0, "tools": None, "store": False},
        {"response_format": {"type": "text"}, "n": 1, "logit_bias": {}, "stop": None},
        {"temperature": 0}, {"temperature": 2}, {"sirl": {"details": False}},
        {"top_p": 1.0}, {"seed": 7, "user": "u"},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]},
        {"metadata": {"run": "7"}, "verbosity": "low", "prompt_cache_key": "k"},
        {"safety_identifier": "u", "user": "v", "prompt_cache_retention": "24h"},
        {"stream": True, "stream_options": {"include_obfuscation": False}},
        {"messages": [{"role": "user", "content": "hi", "name": "ann"}]},
    ],
)  # fmt: skip
def test_parameters_that_ask_for_nothing_are_accepted(fields):
    assert ask(service(), body=chat() | fields).status_code == 200


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the body is needed"),
        (b"{", "not valid JSON"),
        (b"[]", "the body"),
        (b"nul", "not valid JSON"),
        (b"\xff\xfe{}", "JSON"),
        (b"[" * 1500, "JSON"),
        (b'{"model": "fake", "messages": [{"role": "user", "content": "\\ud800"}]}', "surrogate"),
        (b'{"model": "fake", "messages": [], "max_tokens": ' + b"9" * 1500 + b"}", "less than"),
        (b'{"model": "fake", "messages": [], "temperature": NaN}', "temperature"),
        (b'{"model": "fake", "messages": [], "logit_bias": {"1": Infinity}}', "logit_bias"),
    ],
)
def test_a_body_that_is_no_request_is_a_400(content, message):
    headers = {"content-type": "application/json"}
    reply = ask(service(limits=SMALL), content=content, headers=headers)
    said = error_in(reply, 400)["message"]
    assert message in said
    assert len(said) < 200


@pytest.mark.parametrize(
    ("path", "fields", "message", "param"),
    [
        (CHAT, {"y[1]": 1}, "y[1] is not supported", "y[1]"),
        (CHAT, {"a\x1b[2Jb": 1}, "a\\u001b[2Jb is not supported", "a\\u001b[2Jb"),
        (CHAT, {"": 1}, '"" is not supported', '""'),
        (CHAT, {"logit_bias": {"k[0]": 900}}, "less than or equal to 100", "logit_bias.k[0]"),
        (CHAT, {"user": "u" * 300}, "300 characters are more than 256", "user"),
        (CHAT, {"messages": [{"role": "user", "content": []}]}, "at least 1", "messages.0.content"),
        ("/v1/completions", {"prompt": ["a", "b", "c"]}, "3 items are more than 1", "prompt"),
        ("/v1/completions", {"prompt": []}, "at least 1 item", "prompt"),
        ("/v1/moderations", {"input": []}, "at least 1 item", "input"),
        ("/v1/moderations", {"input": [{"role": "user"}]}, "is needed", "input.0.content"),
        ("/v1/moderations", {"input": [{"type": "image_url"}]}, "should be 'text'", "input.0.type"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_named_as_it_was_sent(path, fields, message, param):
    body = {CHAT: chat(), "/v1/completions": {"model": "fake"}}.get(path, {})
    error = error_in(ask(service(), path, body | fields), 400)
    assert message in error["message"]
    assert error["param"] == param


@pytest.mark.parametrize("content", [b"null", b"[]", b"7", b'"x"'])
def test_a_body_that_is_no_object_is_a_400_that_says_so(content):
    headers = {"content-type": "application/json"}
    error = error_in(ask(service(), content=content, headers=headers), 400)
    assert error["message"] == "the body: a JSON object is needed"


def test_a_compressed_body_is_a_415_that_names_the_coding():
    headers = {"content-type": "application/json", "content-encoding": "br"}
    error = error_in(ask(service(), content=b"x", headers=headers), 415)
    assert error["message"].startswith("content encoding br is not supported")


def test_a_temperature_near_zero_is_greedy():
    source = FakeSource()
    for temperature in (0, 1e-30, 0.5):
        ask(service(source), body=chat(temperature=temperature))
    assert [a.sampling.temperature for a in source.asked] == [0.0, 0.0, 0.5]


@pytest.mark.parametrize("kind", ["text/plain", "", "application/x-www-form-urlencoded"])
def test_another_content_type_is_a_415(kind):
    reply = ask(service(), content=json.dumps(chat()).encode(), headers={"content-type": kind})
    assert error_in(reply, 415)["code"] == "unsupported_content_type"


def test_a_body_that_is_too_large_is_a_413_whether_it_says_so_or_not():
    error_in(ask(service(limits=SMALL), body=chat("x" * 3000)), 413)

    async def chunks():
        for _ in range(30):
            yield b" " * 100

    headers = {"content-type": "application/json"}
    reply = ask(service(limits=SMALL), content=chunks(), headers=headers)
    assert error_in(reply, 413)["code"] == "request_too_large"


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/nowhere", "GET", 404),
        ("/v1", "GET", 404),
        (CHAT, "GET", 405),
        ("/v1/models/x", "GET", 404),
    ],
)
def test_unknown_addresses_methods_and_models_are_errors_in_the_same_form(path, method, status):
    error_in(ask(service(), path, method=method), status)


def test_another_model_is_a_404():
    error = error_in(ask(service(), body=chat() | {"model": "other"}), 404)
    assert (error["code"], error["param"]) == ("model_not_found", "model")


def test_what_the_source_refuses_is_a_400_and_frees_the_place():
    served = service()
    error = error_in(ask(served, body=chat("too long")), 400)
    assert error["code"] == "context_length_exceeded"
    assert served.gate.active == 0


def test_a_prompt_of_too_many_tokens_is_refused_and_closed():
    source = FakeSource()
    limits = Limits(prompt_tokens=2)
    error = error_in(ask(service(source, limits=limits), body=chat()), 400)
    assert error["message"] == "the prompt has 3 tokens, more than 2"
    assert [a.closed for a in source.answers] == [1]


def test_an_unexpected_error_is_a_500_without_its_reason():
    class Broken(FakeSource):
        async def open(self, _):
            raise KeyError("secret")

    for stream in (False, True):
        reply = ask(service(Broken()), body=chat(stream=stream))
        assert error_in(reply, 500)["code"] == "internal_error"
        assert "secret" not in reply.text


def test_a_prefill_is_scored_where_it_is_allowed():
    body = chat() | {"messages": said("user", "assistant")}
    source = FakeSource(scores={0: 1.0})
    found = ask(service(source, limits=Limits(prefill=True)), body=body).json()
    assert finding(found)["position"] == 0
    assert [m.role for m in source.asked[0].messages] == ["user", "assistant"]


KEYS = Keys(["right-key-1", "right-key-2"])


@pytest.mark.parametrize("given", ["", "Bearer wrong", "right-key-1", "Basic right-key-1"])
def test_every_route_but_liveness_and_the_files_of_the_page_needs_a_key(given):
    headers = {"authorization": given} if given else {}
    for path in ("/v1/models", "/readyz", "/metrics", "/openapi.json", "/v1", "/nowhere"):
        reply = ask(service(keys=KEYS), path, method="GET", headers=headers)
        assert error_in(reply, 401)["code"] == "invalid_api_key"
        assert reply.headers["www-authenticate"] == "Bearer"
    error_in(ask(service(keys=KEYS), body=chat(), headers=headers), 401)
    assert ask(service(keys=KEYS), "/healthz", method="GET", headers=headers).status_code == 200


WITHOUT_KEYS = [
    ("127.0.0.1", 200),
    ("127.0.0.1:8000", 200),
    ("localhost:8000", 200),
    ("LocalHost", 200),
    ("[::1]:8000", 200),
    ("[::1]", 200),
    ("rebound.example:8000", 421),
    ("127.0.0.1.rebound.example", 421),
    ("localhost.rebound.example:8000", 421),
    ("127.0.0.1:8000.rebound.example", 421),
    ("[::1].rebound.example", 421),
    ("user@127.0.0.1", 421),
    ("0.0.0.0:8000", 421),
    ("", 421),
]


@pytest.mark.parametrize(("host", "status"), WITHOUT_KEYS)
def test_without_keys_only_names_of_this_machine_are_served(host, status):
    for path in ("/readyz", "/v1/models", "/", "/healthz", "/playground/settings"):
        reply = ask(service(), path, method="GET", headers={"host": host})
        assert reply.status_code == status, path
    source = FakeSource()
    reply = ask(service(source), body=chat(), headers={"host": host})
    assert reply.status_code == status
    if status == 421:
        assert error_in(reply, 421)["code"] == "wrong_host"
        assert not source.asked


def test_with_keys_any_name_is_served():
    headers = {"host": "models.example", "authorization": "Bearer right-key-1"}
    assert ask(service(keys=KEYS), body=chat(), headers=headers).status_code == 200


@pytest.mark.parametrize(("rule", "mode"), [(RULE, "shadow"), (None, "none")])
def test_a_ready_server_names_its_mode_as_the_page_does(rule, mode):
    served = service(rule=rule, mode="shadow")
    found = ask(served, "/readyz", method="GET").json()
    assert found == {"status": "ok", "guard": rule is not None, "mode": mode}
    page = ask(served, "/playground/settings", method="GET").json()
    assert page["models"][0]["mode"] == mode


@pytest.mark.parametrize(("key", "status"), [("right-key-2", 200), ("wrong", 401), ("", 401)])
def test_a_key_may_come_in_the_header_of_other_clients(key, status):
    for headers in ({"x-api-key": key}, {"x-api-key": key, "authorization": "Bearer other"}):
        assert ask(service(keys=KEYS), body=chat(), headers=headers).status_code == status


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/metrics", "/v1/models"])
def test_a_head_is_answered_as_a_get_without_its_body(path):
    head, got = (ask(service(), path, method=method) for method in ("HEAD", "GET"))
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == got.headers["content-type"]
    assert ask(service(), CHAT, method="HEAD").status_code == 405


def test_each_of_several_keys_is_accepted():
    for key in ("right-key-1", "right-key-2"):
        headers = {"authorization": f"Bearer {key}"}
        assert ask(service(keys=KEYS), body=chat(), headers=headers).status_code == 200


def test_answers_beyond_the_queue_are_a_429_that_says_when_to_try_again():
    async def run():
        source = FakeSource(waits={0: asyncio.Event()})
        served = service(source, limits=SMALL)
        async with client_of(served) as client:
            held = [asyncio.create_task(client.post(CHAT, json=chat())) for _ in range(3)]
            while not (served.gate.active == 2 and served.gate.waiting == 1):
                await asyncio.sleep(0)
            fourth = await client.post(CHAT, json=chat())
            source.waits[0].set()
            return fourth, [await task for task in held], served.gate

    fourth, held, gate = asyncio.run(run())
    assert error_in(fourth, 429)["code"] == "overloaded"
    assert int(fourth.headers["retry-after"]) >= 1
    assert [reply.status_code for reply in held] == [200] * 3
    assert (gate.active, gate.waiting) == (0, 0)


def test_a_request_that_takes_too_long_is_a_503_or_an_error_in_its_stream():
    for stream in (False, True):
        source = FakeSource(waits={2: asyncio.Event()})
        served = service(source, limits=Limits(seconds=0.05))
        reply = ask(served, body=chat(stream=stream))
        assert "took longer than 0.05 seconds" in reply.text
        assert reply.status_code == (200 if stream else 503)
        assert reply.text.endswith("data: [DONE]\n\n") == stream
        assert (served.gate.active, source.answers[0].closed) == (0, 1)


def test_a_body_that_does_not_arrive_is_a_408():
    async def never():
        yield b"{"
        await asyncio.Event().wait()

    headers = {"content-type": "application/json"}
    reply = ask(service(limits=Limits(seconds=0.05)), content=never(), headers=headers)
    assert error_in(reply, 408)["code"] == "timeout"


def test_a_draining_server_refuses_requests_and_is_not_ready():
    served = service()
    served.gate.drain()
    reply = ask(served, body=chat())
    assert error_in(reply, 503)["code"] == "draining"
    assert "retry-after" in reply.headers
    error_in(ask(served, "/readyz", method="GET"), 503)
    assert ask(served, "/healthz", method="GET").json() == {"status": "ok"}
