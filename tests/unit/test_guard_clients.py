"""Requests in the shapes that other test suites send, and replies that their SDK reads."""

import pytest

from sirl.types import Message
from tests.unit.fake_source import CHAT, FakeSource, ask, chat, events, service

openai = pytest.importorskip("openai.types.chat")

ASKED = [{"role": "user", "content": "Tell me."}]
TURNS = [
    {"role": "system", "content": "Be short."},
    {"role": "user", "content": [{"type": "text", "text": t} for t in ("One.", "Two.")]},
    {"role": "assistant", "content": "Three."},
    {"role": "user", "content": "Four."},
]
SUITE = {"messages": ASKED, "model": "fake"}
SETTINGS = {"max_tokens": 4000, "temperature": 0.0, "top_p": 0.9, "seed": 3, "n": 2}
PENALTIES = {"frequency_penalty": 0.0, "presence_penalty": 0.0}
LOGPROBS = {"logprobs": True, "top_logprobs": 1}
PROBES = {"n": 1, "temperature": 0.7, "top_p": 1.0, "max_tokens": 150, "stop": ["#", ";"]}
SHAPES = {
    "an evaluation without settings": SUITE,
    "several turns with parts": SUITE | {"messages": TURNS},
    "settings of an evaluation": SUITE | SETTINGS,
    "log-probabilities": SUITE | LOGPROBS | PENALTIES | {"stop": ["END"]},
    "the defaults of a scanner": SUITE | PROBES | PENALTIES,
}


@pytest.fixture(params=SHAPES.values(), ids=SHAPES)
def body(request):
    return request.param


def test_a_request_of_another_suite_is_answered_in_a_form_that_its_sdk_reads(body):
    reply = ask(service(FakeSource()), body=body)
    assert reply.status_code == 200, reply.text
    found = openai.ChatCompletion.model_validate(reply.json())
    assert len(found.choices) == body.get("n", 1)
    for choice in found.choices:
        assert choice.finish_reason == "stop"
        assert choice.message.content == "".join(f"w{n} " for n in range(10))
        assert bool(choice.logprobs) == ("logprobs" in body)
    assert found.usage.completion_tokens == 10 * len(found.choices)


def test_an_alarm_is_a_content_filter_with_the_text_of_a_refusal(body):
    reply = ask(service(FakeSource(scores={0: 0.9})), body=body)
    found = openai.ChatCompletion.model_validate(reply.json())
    assert {choice.finish_reason for choice in found.choices} == {"content_filter"}
    assert {choice.message.content for choice in found.choices} == {"I can't help with that."}


def test_a_stream_with_an_alarm_is_read_chunk_by_chunk(body):
    more = {"stream": True, "stream_options": {"include_usage": True}}
    reply = ask(service(FakeSource(scores={0: 0.9})), body=body | more)
    chunks = [openai.ChatCompletionChunk.model_validate(event) for event in events(reply)]
    ends = [c.finish_reason for chunk in chunks for c in chunk.choices if c.finish_reason]
    assert ends == ["content_filter"] * body.get("n", 1)
    assert chunks[-1].usage is not None


def test_a_text_completion_with_an_alarm_ends_as_filtered():
    asked = {"model": "fake", "prompt": "Tell me.", "max_tokens": 1, "logprobs": 1}
    bad = ask(service(FakeSource(scores={0: 0.9})), "/v1/completions", asked).json()
    assert bad["choices"][0]["finish_reason"] == "content_filter"
    assert bad["choices"][0]["text"] == "I can't help with that."


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"reasoning_effort": "low"}, "reasoning_effort"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
    ],
)
def test_what_a_suite_asks_for_and_the_server_lacks_is_a_400_that_names_it(fields, named):
    reply = ask(service(FakeSource()), CHAT, SUITE | fields)
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert (error["code"], error["param"]) == ("unsupported_parameter", named)
    assert error["message"] == f"{named} is not supported: leave it out"


EMPTY = {
    "refusal": None, "annotations": [], "audio": None, "function_call": None, "tool_calls": None,
    "provider_specific_fields": {},
}  # fmt: skip


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ({"content": "hi", **EMPTY}, "hi"),
        ({"content": None, **EMPTY, "refusal": "I won't."}, "I won't."),
        ({"refusal": "I won't.", "content": "hi"}, "hi\nI won't."),
        ({"content": "", "tool_calls": []}, ""),
        ({"content": [{"type": "text", "text": "hi", "annotations": []}]}, "hi"),
    ],
)
def test_an_earlier_answer_comes_back_as_clients_keep_it(said, text):
    source = FakeSource()
    turns = [*chat()["messages"], {"role": "assistant", **said}, *chat("go on")["messages"]]
    reply = ask(service(source), body=chat() | {"messages": turns})
    assert reply.status_code == 200, reply.text
    assert source.asked[0].messages[1] == Message("assistant", text)


@pytest.mark.parametrize(
    ("said", "param"),
    [
        ({"content": None}, "content"),
        ({"content": "hi", "tool_calls": [{"id": "1"}]}, "tool_calls"),
        ({"content": "hi", "audio": {"id": "1"}}, "audio"),
        ({"content": [{"type": "image_url", "image_url": {}}]}, "content.0.type"),
    ],
)
def test_what_an_earlier_answer_did_is_refused_by_its_name(said, param):
    turns = [*chat()["messages"], {"role": "assistant", **said}, *chat("go on")["messages"]]
    reply = ask(service(), body=chat() | {"messages": turns})
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == f"messages.1.{param}"
