"""The other routes: models, moderations, LiteLLM's guardrail, metrics; and the log of alarms."""

import asyncio
import json
import stat
from dataclasses import replace

import pytest

from sirl.errors import RunError
from sirl.guard.server.alarms import AlarmLog, prompt_hash
from sirl.guard.server.answering import answers_to, stream
from sirl.guard.server.keys import Keys
from sirl.guard.server.orders import chat_order
from sirl.guard.server.policy import Limits
from sirl.guard.server.requests import ChatRequest
from sirl.guard.server.source import AskError
from sirl.guard.session import SessionRisk
from sirl.types import Message
from tests.unit.fake_source import FakeSource, ask, chat, service

GUARDRAIL = "/beta/litellm_basic_guardrail_api"


def test_the_one_model_is_listed_and_shown():
    served = service(FakeSource(name="org/model"))
    found = ask(served, "/v1/models", method="GET").json()
    assert [m["id"] for m in found["data"]] == ["org/model"]
    assert ask(served, "/v1/models/org/model", method="GET").json() == found["data"][0]


@pytest.mark.parametrize(
    ("given", "flagged", "roles"),
    [
        ("good", [False], [["user"]]),
        (["good", "bad"], [False, True], [["user"], ["user"]]),
        ([{"type": "text", "text": "good"}, {"type": "text", "text": "bad"}], [True], [["user"]]),
        (
            [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "bad"}],
            [True],
            [["user", "assistant"]],
        ),
    ],
)
def test_a_moderation_scores_prompts_or_a_conversation_with_its_answer(given, flagged, roles):
    source = FakeSource()
    found = ask(service(source), "/v1/moderations", {"input": given}).json()
    assert [r["flagged"] for r in found["results"]] == flagged
    assert [r["categories"]["unsafe"] for r in found["results"]] == flagged
    assert [[m.role for m in messages] for messages in source.asked] == roles
    scores = [r["category_scores"]["unsafe"] for r in found["results"]]
    assert scores == [float(f) for f in flagged]
    assert not any("sirl_guard" in r for r in found["results"])


@pytest.mark.parametrize(
    "model", ["omni-moderation-latest", "text-moderation-stable", "fake", None]
)
def test_a_moderation_takes_the_names_that_clients_send(model):
    body = {"input": "bad", "model": model}
    assert ask(service(), "/v1/moderations", body).json()["results"][0]["flagged"]
    error = ask(service(), "/v1/moderations", {"input": "x", "model": "other"}).json()["error"]
    assert (error["code"], error["param"]) == ("model_not_found", "model")


def test_what_the_source_does_not_score_is_named_by_the_field_it_came_in():
    class Short(FakeSource):
        async def judge(self, *_):
            raise AskError("the prompt is too long", "prompt", "context_length_exceeded")

    for path, body, param in (
        ("/v1/moderations", {"input": "a"}, "input"),
        (GUARDRAIL, {"texts": ["a"]}, "texts"),
        (GUARDRAIL, {"structured_messages": chat()["messages"]}, "structured_messages"),
    ):
        error = ask(service(Short()), path, body).json()["error"]
        assert (error["param"], error["code"]) == (param, "context_length_exceeded")


def verdicts_of(served, user=None):
    """Statuses of bad texts at both routes, on behalf of a user of the guardrail."""
    body = {"texts": ["bad"], "request_data": {"user_api_key_end_user_id": user}}
    return [
        ask(served, "/v1/moderations", {"input": "bad"}).status_code,
        ask(served, GUARDRAIL, body).status_code,
    ]


def test_verdicts_are_counted_logged_and_throttled_like_answers(tmp_path):
    alarms = AlarmLog(tmp_path, log_text=True)
    served = service(alarms=alarms, risk=SessionRisk(limit=1.5, half_life=1e6))
    assert verdicts_of(served, "ann") == [200, 200]
    assert verdicts_of(served, "bob") == [200, 200]
    assert verdicts_of(served) == [429, 429]
    assert verdicts_of(served, "ann") == [429, 200]
    assert ask(served, "/v1/moderations", {"input": "good"}).status_code == 429
    alarms.close()
    found = rows(tmp_path)
    assert [row["id"].split("-")[0] for row in found] == [
        "modr", "guardrail", "modr", "guardrail", "guardrail",
    ]  # fmt: skip
    assert {(row["mode"], row["action"], row["position"], row["score"]) for row in found} == {
        ("verdict", "flag", 0, 1.0)
    }
    assert found[0]["messages"] == [{"role": "user", "content": "bad"}]
    text = served.metrics.text().decode()
    assert 'sirl_guard_decisions_total{action="flag",mode="verdict"} 5.0' in text
    assert 'sirl_guard_decisions_total{action="none",mode="verdict"} 0.0' in text


def test_series_with_known_labels_begin_at_zero():
    text = service(mode="live", on_fault="open").metrics.text().decode()
    for line in (
        'sirl_guard_decisions_total{action="none",mode="live"} 0.0',
        'sirl_guard_decisions_total{action="refuse",mode="live"} 0.0',
        'sirl_guard_faults_total{policy="open"} 0.0',
    ):
        assert line in text, line


def test_a_moderation_shows_scores_and_threshold_where_details_are_allowed():
    served = service(FakeSource(), limits=Limits(details=True))
    (bad,) = ask(served, "/v1/moderations", {"input": "bad"}).json()["results"]
    assert bad["category_scores"]["unsafe"] == pytest.approx(0.7311, abs=1e-4)
    assert bad["sirl_guard"] == {"score": 1.0, "threshold": 0.5}


def test_a_moderation_of_the_beginning_of_an_answer_says_so_and_is_counted():
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "good"}]
    for partial, details, shown in (
        (True, False, {"partial": True}),
        (True, True, {"partial": True, "score": -1.0, "threshold": 0.5}),
        (False, True, {"score": -1.0, "threshold": 0.5}),
    ):
        served = service(FakeSource(partial=partial), details=details)
        found = ask(served, "/v1/moderations", {"input": turns}).json()["results"][0]
        assert found["sirl_guard"] == shown
        ask(served, GUARDRAIL, {"texts": ["good"], "input_type": "response"})
        text = served.metrics.text().decode()
        assert f"sirl_guard_partial_verdicts_total {2.0 * partial}" in text


@pytest.mark.parametrize(
    ("body", "expected", "roles"),
    [
        ({"texts": ["good"], "input_type": "request"}, "NONE", [["user"]]),
        ({"texts": ["good", "bad"], "litellm_call_id": "x"}, "BLOCKED", [["user"], ["user"]]),
        (
            {
                "texts": ["bad"],
                "input_type": "response",
                "structured_messages": [
                    {"role": "user", "content": "hi"},
                    {"role": "tool", "content": "x"},
                    {"role": "assistant", "content": "bad"},
                ],
            },
            "BLOCKED",
            [["user", "user", "assistant"]],
        ),
        ({"texts": [], "request_data": {}}, "NONE", []),
        ({"texts": None, "structured_messages": None}, "NONE", []),
        ({"texts": [f"good {n}" for n in range(40)]}, "NONE", [["user"]] * 40),
    ],
)
def test_litellm_is_told_none_or_blocked(body, expected, roles):
    source = FakeSource()
    found = ask(service(source), GUARDRAIL, body).json()
    assert found["action"] == expected
    assert ("blocked_reason" in found) == (expected == "BLOCKED")
    assert [[m.role for m in messages] for messages in source.asked] == roles


def asked_of_the_guardrail(turns, texts=(), **fields):
    source = FakeSource()
    body = {"texts": list(texts), "structured_messages": turns, **fields}
    action = ask(service(source), GUARDRAIL, body).json()["action"]
    return action, [[(m.role, m.content) for m in messages] for messages in source.asked]


@pytest.mark.parametrize(
    ("turn", "scored"),
    [
        ({"role": "user", "content": [{"type": "text", "text": "bad"}]}, ("user", "bad")),
        (
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
                    {"type": "input_text", "text": "bad"},
                ],
            },
            ("user", "a\nbad"),
        ),
        ({"role": "tool", "content": "bad", "tool_call_id": "1"}, ("user", "bad")),
        ({"role": "function", "name": "f", "content": "bad"}, ("user", "bad")),
        ({"role": "developer", "content": "bad"}, ("system", "bad")),
        (
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "bad", "signature": "s"},
                    {"type": "redacted_thinking", "data": "x"},
                ],
            },
            ("assistant", "bad\n"),
        ),
        (
            {
                "role": "assistant",
                "content": "ok",
                "reasoning_content": "bad",
                "thinking_blocks": [{"type": "thinking", "thinking": "bad"}],
            },
            ("assistant", "bad\nok"),
        ),
        (
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "bad"}]},
            ("assistant", "bad"),
        ),
        (
            {
                "role": "assistant",
                "tool_calls": [{"type": "custom", "custom": {"name": "run", "input": "bad"}}],
            },
            ("assistant", "run bad"),
        ),
        (
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "1", "function": {"name": "run", "arguments": "bad"}}],
            },
            ("assistant", "run bad"),
        ),
    ],
)
def test_the_guardrail_scores_every_form_of_text_in_a_message(turn, scored):
    system = {"role": "system", "content": "be kind"}
    found = asked_of_the_guardrail([system, turn])
    assert found == ("BLOCKED", [[("system", "be kind"), scored]])


def test_the_guardrail_scores_texts_that_are_in_no_message_by_themselves():
    turns = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"}]
    assert asked_of_the_guardrail(turns, ["be kind", "hi", "bad", "bad"]) == (
        "BLOCKED", [[("system", "be kind"), ("user", "hi")], [("user", "bad")]],
    )  # fmt: skip


def test_the_guardrail_scores_called_tools_and_begun_answers_of_a_response():
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "begun"}]
    calls = [{"function": {"name": "run", "arguments": "x"}}]
    found = asked_of_the_guardrail(turns, ["more"], input_type="response", tool_calls=calls)
    hi = ("user", "hi")
    assert found[1] == [[hi, ("assistant", text)] for text in ("more", "run x", "begun")]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        (
            {"structured_messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "structured_messages.0.content",
        ),
        ({"structured_messages": [{"role": "user", "content": {"text": "bad"}}]},
         "structured_messages.0.content"),
        ({"structured_messages": [{"role": "wizard", "content": "bad"}]},
         "structured_messages.0.role"),
        ({"structured_messages": ["bad"]}, "structured_messages.0"),
        ({"structured_messages": [{"role": "assistant", "audio": {"data": "bad"}}]},
         "structured_messages.0.audio"),
        ({"images": ["bad"]}, "images"),
        ({"structured_messages": [{"role": "user", "content": "x"}] * 65}, "structured_messages"),
    ],
)  # fmt: skip
def test_the_guardrail_refuses_what_it_cannot_score(fields, param):
    source = FakeSource()
    reply = ask(service(source), GUARDRAIL, {"texts": ["good"], **fields})
    assert reply.status_code == 400
    assert reply.json()["error"]["param"].startswith(param)
    assert not source.asked


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/moderations", {"input": ["a", "b", "c"]}),
        ("/v1/moderations", {"input": []}),
        ("/v1/moderations", {"input": "a\0"}),
        ("/v1/moderations", {"input": 3}),
        ("/v1/moderations", {"input": "a", "more": 1}),
        (GUARDRAIL, {"texts": ["a", "b", "c"]}),
        (GUARDRAIL, {"texts": "a"}),
        (GUARDRAIL, {"texts": ["a"], "structured_messages": [{"role": "user", "content": "\0"}]}),
    ],
)
def test_what_cannot_be_scored_is_a_400(path, body):
    reply = ask(service(limits=Limits(inputs=2, messages=2)), path, body)
    assert reply.status_code == 400, reply.text
    assert reply.json()["error"]["type"] == "invalid_request_error"


def test_without_a_guard_nothing_is_scored():
    for path, body in (("/v1/moderations", {"input": "a"}), (GUARDRAIL, {"texts": ["a"]})):
        reply = ask(service(rule=None), path, body)
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "no_guard")


def test_metrics_count_requests_decisions_and_faults_and_hold_no_text_and_no_key():
    source = FakeSource(scores={8: 1.0})
    served = service(source, keys=Keys(["secret-key"]))
    headers = {"authorization": "Bearer secret-key"}
    ask(served, body=chat("a private prompt"), headers=headers)
    ask(served, body=chat(stream=True, n=2), headers=headers)
    ask(served, "/no/such/place", method="GET", headers=headers)
    ask(served, body=chat())
    source.check_fails_at = 0
    ask(served, body=chat(), headers=headers)
    ask(served, body=chat(stream=True), headers=headers)
    text = ask(served, "/metrics", method="GET", headers=headers).text
    route = 'route="/v1/chat/completions"'
    for line in (
        f'sirl_requests_total{{code="200",{route}}} 3.0',
        f'sirl_requests_total{{code="502",{route}}} 1.0',
        'sirl_requests_total{code="404",route="none"} 1.0',
        'sirl_requests_total{code="401",route="none"} 1.0',
        f'sirl_stream_errors_total{{code="502",{route}}} 1.0',
        'sirl_guard_decisions_total{action="refuse",mode="hold"} 3.0',
        'sirl_guard_faults_total{policy="closed"} 2.0',
        "sirl_alarm_token_position_count 3.0",
        "sirl_guard_check_seconds_count 9.0",
        "sirl_active_streams 0.0",
        "sirl_queue_depth 0.0",
    ):
        assert line in text, line
    assert "private" not in text
    assert "secret" not in text


def test_the_time_to_the_first_text_begins_when_the_request_was_received():
    order = chat_order(ChatRequest.model_validate(chat(n=2)), Limits())
    order = replace(order, received=order.received - 1000.0)
    served = service(FakeSource(("a", "b")), rule=None)

    async def run():
        async with answers_to(served, order, "caller") as answers:
            return [chunk async for chunk in stream(served, order, answers)]

    asyncio.run(run())
    text = served.metrics.text().decode()
    assert "sirl_ttft_seconds_count 1.0" in text
    assert 'sirl_ttft_seconds_bucket{le="30.0"} 0.0' in text


def test_gaps_are_between_the_parts_of_one_answer():
    served = service(FakeSource(("a", "b", "c")), rule=None)
    ask(served, body=chat(stream=True, n=2))
    text = served.metrics.text().decode()
    assert "sirl_inter_part_seconds_count 4.0" in text  # two in each answer of three parts


def rows(folder):
    return [json.loads(line) for line in (folder / "alarms.jsonl").read_text().splitlines()]


def test_an_alarm_is_appended_with_the_hash_of_the_prompt_and_no_text(tmp_path):
    for _ in range(2):
        alarms = AlarmLog(tmp_path / "a", log_text=False)
        served = service(FakeSource(scores={8: 1.0}), alarms=alarms)
        reply = ask(served, body=chat("secret"))
        ask(service(alarms=alarms), body=chat())
        alarms.close()
    found = rows(tmp_path / "a")
    assert len(found) == 2
    last = found[-1]
    assert last["prompt_sha256"] == prompt_hash([Message("user", "secret")])
    assert (last["id"], last["caller"]) == (reply.json()["id"], "anonymous")
    assert [last[k] for k in ("mode", "action", "position", "score", "threshold", "fault")] == [
        "hold", "refuse", 8, 1.0, 0.5, None,
    ]  # fmt: skip
    assert "secret" not in (tmp_path / "a" / "alarms.jsonl").read_text()
    assert stat.S_IMODE((tmp_path / "a" / "alarms.jsonl").stat().st_mode) == 0o600


def test_text_is_logged_where_it_is_asked_for_and_so_is_a_failed_check(tmp_path):
    alarms = AlarmLog(tmp_path, log_text=True)
    ask(service(FakeSource(scores={8: 1.0}), alarms=alarms), body=chat("hello"))
    ask(service(FakeSource(check_fails_at=4), alarms=alarms), body=chat("hello"))
    alarms.close()
    alarm, fault = rows(tmp_path)
    assert alarm["messages"] == [{"role": "user", "content": "hello"}]
    assert alarm["answer"] == "w0 w1 w2 w3 w4 w5 w6 w7 "
    assert (fault["fault"], fault["action"]) == (4, "none")


def test_two_servers_do_not_write_one_log(tmp_path):
    alarms = AlarmLog(tmp_path, log_text=False)
    with pytest.raises(RunError, match="is in use by another process"):
        AlarmLog(tmp_path, log_text=False)
    alarms.close()


def test_the_openapi_document_names_the_form_of_errors():
    found = ask(service(), "/openapi.json", method="GET").json()
    replies = found["paths"]["/v1/chat/completions"]["post"]["responses"]
    for status in ("400", "401", "429", "503"):
        schema = replies[status]["content"]["application/json"]["schema"]
        assert schema["$ref"].endswith("ErrorReply")
