"""The server's answers: whole and streamed, in each mode, with each action."""

import asyncio
import json
from contextlib import AsyncExitStack

import pytest

from sirl.guard.server.answering import EventStream
from sirl.guard.server.app import app_of
from sirl.guard.server.policy import Limits
from sirl.guard.server.source import SourceError
from tests.unit.fake_source import (
    CHAT,
    FakeSource,
    ask,
    chat,
    events,
    finding,
    service,
    streamed,
    text_of,
)

WHOLE = "w0 w1 w2 w3 w4 w5 w6 w7 w8 w9 "
REFUSAL = "I can't help with that."
ALARM = {8: 1.0}


def test_an_answer_that_passes_is_whole_with_its_usage_and_finding():
    found = ask(service(), body=chat()).json()
    assert found["object"] == "chat.completion"
    assert found["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": WHOLE, "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]
    assert found["usage"] == {"prompt_tokens": 3, "completion_tokens": 10, "total_tokens": 13}
    assert found["sirl_guard"] == {
        "mode": "hold",
        "choices": [
            {
                "index": 0,
                "watched": True,
                "flagged": False,
                "action": "none",
                "position": None,
                "retract_from": None,
                "refusal_from": None,
            }
        ],
    }


@pytest.mark.parametrize("mode", ["hold", "live", "shadow"])
def test_a_stream_begins_with_the_role_and_ends_with_one_terminal_chunk_and_usage(mode):
    found = streamed(service(mode=mode), stream_options={"include_usage": True})
    assert found[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert text_of(found) == WHOLE
    finishes = [c["finish_reason"] for e in found for c in e["choices"]]
    assert finishes[-1] == "stop"
    assert finishes.count(None) == len(finishes) - 1
    assert len({(e["id"], e["created"], e["model"]) for e in found}) == 1
    assert (found[-1]["choices"], found[-1]["usage"]["completion_tokens"]) == ([], 10)
    assert all(e["usage"] is None for e in found[:-1])


@pytest.mark.parametrize(
    ("mode", "action", "text", "finish", "expected"),
    [
        ("hold", "refuse", f"w0 w1 w2 \n\n{REFUSAL}", "content_filter", (True, 8, 9, 9)),
        ("hold", "stop", "w0 w1 w2 ", "content_filter", (True, 8, 9, 9)),
        ("hold", "flag", WHOLE, "stop", (True, 8, None, None)),
        ("live", "refuse", f"{WHOLE[:24]}\n\n{REFUSAL}", "content_filter", (True, 8, 12, 24)),
        ("live", "stop", WHOLE[:24], "content_filter", (True, 8, 12, 24)),
        ("live", "flag", WHOLE, "stop", (True, 8, None, None)),
        ("shadow", "refuse", WHOLE, "stop", (True, 8, None, None)),
    ],
)
def test_what_a_stream_sends_when_the_check_at_token_8_alarms(mode, action, text, finish, expected):
    source = FakeSource(scores=ALARM)
    found = streamed(service(source, mode=mode, action=action))
    last = finding(found[-1])
    assert text_of(found) == text
    assert found[-1]["choices"][0]["finish_reason"] == finish
    keys = ("flagged", "position", "retract_from", "refusal_from")
    assert tuple(last[k] for k in keys) == expected
    if last["retract_from"] is not None:  # what a client shows is what the model may have said
        assert text[last["refusal_from"] :].strip() in (REFUSAL, "")
        shown = text[: last["retract_from"]] + text[last["refusal_from"] :]
        stays = WHOLE[: {"hold": 9, "live": 12}[mode]]
        assert shown == stays + (f"\n\n{REFUSAL}" if action == "refuse" else "")
    assert [a.closed for a in source.answers] == [1]


def test_a_whole_response_holds_nothing_that_a_live_stream_would_retract():
    found = ask(service(FakeSource(scores=ALARM), mode="live"), body=chat(logprobs=True)).json()
    assert found["choices"][0]["message"]["content"] == f"{WHOLE[:12]}\n\n{REFUSAL}"
    assert len(found["choices"][0]["logprobs"]["content"]) == 4


def test_an_alarm_at_the_prompt_sends_the_refusal_alone():
    source = FakeSource(scores={0: 1.0})
    found = ask(service(source), body=chat()).json()
    assert found["choices"][0]["message"]["content"] == REFUSAL
    assert (finding(found)["position"], finding(found)["refusal_from"]) == (0, 0)
    assert source.answers[0].given == 0
    assert found["usage"]["completion_tokens"] == 0


def test_without_a_guard_nothing_is_watched():
    found = ask(service(FakeSource(scores={0: 9.0}), rule=None), body=chat()).json()
    assert found["choices"][0]["message"]["content"] == WHOLE
    assert found["sirl_guard"]["mode"] == "none"
    assert not finding(found)["watched"]


@pytest.mark.parametrize("position", [0, 4, 10])
def test_a_failed_check_ends_a_stream_with_an_error_and_done(position):
    found = streamed(service(FakeSource(check_fails_at=position)))
    assert found[-1]["error"]["code"] == "source_failed"
    assert f"at token {position} failed" in found[-1]["error"]["message"]
    assert all("w5" not in str(e) for e in found[:-1]) or position == 10


def test_a_failed_check_is_an_error_status_without_a_stream():
    reply = ask(service(FakeSource(check_fails_at=4)), body=chat())
    assert (reply.status_code, reply.json()["error"]["type"]) == (502, "server_error")


@pytest.mark.parametrize("policy", [{"on_fault": "open"}, {"mode": "shadow"}])
def test_after_a_failed_check_an_answer_goes_on_unwatched_where_that_is_asked_for(policy):
    source = FakeSource(check_fails_at=4, scores={8: 9.0})
    found = ask(service(source, **policy), body=chat()).json()
    assert found["choices"][0]["message"]["content"] == WHOLE
    assert not finding(found)["watched"]


@pytest.mark.parametrize("at", range(10))
def test_a_source_that_breaks_ends_a_stream_with_an_error_and_done(at):
    source = FakeSource(breaks_at=at)
    found = streamed(service(source))
    assert found[-1]["error"]["message"] == "the source broke"
    assert [a.closed for a in source.answers] == [1]


def test_several_answers_are_told_apart_by_their_index():
    source = FakeSource()
    found = streamed(service(source), n=3)
    for index in range(3):
        own = [c for e in found for c in e["choices"] if c["index"] == index]
        assert "".join(c["delta"].get("content", "") for c in own) == WHOLE
        assert own[-1]["finish_reason"] == "stop"
    assert [a.index for a in source.asked] == [0, 1, 2]
    whole = ask(service(), body=chat(n=2)).json()
    assert [c["index"] for c in whole["choices"]] == [0, 1]
    assert whole["usage"]["completion_tokens"] == 20


def test_an_answer_that_was_cut_is_closed_while_others_go_on():
    class Two(FakeSource):
        async def open(self, ask):
            answer = await super().open(ask)
            answer.script = FakeSource(scores={0: 1.0} if ask.index == 0 else {})
            if ask.index == 1:
                answer.script.waits[5] = event = asyncio.Event()

                async def when_the_other_is_closed():
                    while not self.answers[0].closed:
                        await asyncio.sleep(0)
                    event.set()

                self.waiting = asyncio.create_task(when_the_other_is_closed())
            return answer

    source = Two()
    found = ask(service(source), body=chat(n=2)).json()
    assert [c["finish_reason"] for c in found["choices"]] == ["content_filter", "stop"]
    assert [a.closed for a in source.answers] == [1, 1]


@pytest.mark.parametrize(
    ("stop", "text"),
    [("w3", "w0 w1 w2 "), ("2 w", "w0 w1 w"), (["zz", "w5 w6 w7"], WHOLE[:15]), ("w0", "")],
)
def test_an_answer_ends_before_a_stop_sequence_wherever_its_pieces_are_cut(stop, text):
    for mode in ("hold", "live"):
        found = streamed(service(mode=mode), stop=stop)
        assert text_of(found) == text
        assert found[-1]["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_client_that_asks_for_more_than_the_server_gives_gets_the_longest_answer(name):
    source = FakeSource()
    found = ask(service(source, limits=Limits(max_tokens=5)), body=chat(**{name: 4096})).json()
    assert found["usage"]["completion_tokens"] == 5
    assert found["choices"][0]["finish_reason"] == "length"


def test_a_developer_speaks_as_the_system():
    source = FakeSource()
    messages = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    assert ask(service(source), body=chat(messages=messages)).status_code == 200
    assert [(m.role, m.content) for m in source.asked[0].messages] == [
        ("system", "Be brief."), ("user", "Hi"),
    ]  # fmt: skip


def test_max_tokens_ends_an_answer_with_length():
    found = ask(service(), body=chat(max_tokens=5)).json()
    assert found["choices"][0]["finish_reason"] == "length"
    assert found["usage"]["completion_tokens"] == 5


def test_log_probabilities_are_sent_with_the_tokens_that_leave():
    found = streamed(service(FakeSource(scores=ALARM)), logprobs=True, top_logprobs=2)
    rows = [
        r for e in found for c in e["choices"] if c["logprobs"] for r in c["logprobs"]["content"]
    ]
    assert [r["token"] for r in rows] == ["w0 ", "w1 ", "w2 "]
    assert [(t["token"], t["logprob"]) for t in rows[0]["top_logprobs"]] == [
        ("w0 ", -0.25),
        ("other", -2.0),
    ]


def test_details_name_for_each_token_what_each_mode_would_have_sent():
    found = streamed(
        service(FakeSource(scores=ALARM), mode="shadow", details=True), sirl={"details": True}
    )
    rows = {
        r["number"]: r for e in found if "sirl_guard" in e for r in finding(e).get("tokens", [])
    }
    assert list(rows) == list(range(1, 11))
    assert [rows[n]["checked"] for n in (4, 8, 10)] == [0.0, 1.0, None]
    assert rows[7]["sent"] == {"shadow": 21, "live": 21, "hold": 9}
    assert rows[10]["sent"] == {"shadow": 30, "live": 24, "hold": 9}
    assert found[-1]["sirl_guard"]["threshold"] == 0.5
    assert finding(found[-1])["score"] == 1.0


def test_details_hide_what_hold_drops():
    found = streamed(service(FakeSource(scores=ALARM), details=True), sirl={"details": True})
    rows = [r for e in found if "sirl_guard" in e for r in finding(e).get("tokens", [])]
    assert [r["token"] for r in rows] == ["w0 ", "w1 ", "w2 ", None, None, None, None, None]
    assert "w3" not in str(found)


def test_details_of_a_whole_live_response_hide_what_is_retracted():
    served = service(FakeSource(scores=ALARM), mode="live", details=True)
    found = ask(served, body=chat(sirl={"details": True})).json()
    rows = finding(found)["tokens"]
    assert [r["number"] for r in rows] == list(range(1, 9))
    assert [r["text"] for r in rows] == ["w0 ", "w1 ", "w2 ", "w3 ", None, None, None, None]
    assert [r["token"] for r in rows[4:]] == [None] * 4
    assert rows[7]["checked"] == 1.0
    assert "w4" not in str(found)


def test_completions_render_their_prompt_as_a_user_message():
    source = FakeSource()
    body = {"model": "fake", "prompt": "hello", "logprobs": 1}
    found = ask(service(source), "/v1/completions", body).json()
    assert found["choices"][0]["text"] == WHOLE
    assert found["choices"][0]["logprobs"]["tokens"][:2] == ["w0 ", "w1 "]
    assert [m.role for m in source.asked[0].messages] == ["user"]
    reply = ask(service(), "/v1/completions", body | {"stream": True, "logprobs": None})
    assert "".join(c["text"] for e in events(reply) for c in e["choices"] if "text" in c) == WHOLE


def offsets_of(served, **more):
    """The tokens of a text completion with their offsets, and its text."""
    body = {"model": "fake", "prompt": "hello", "logprobs": 1} | more
    reply = ask(served, "/v1/completions", body)
    found = events(reply) if more.get("stream") else [reply.json()]
    choices = [c for document in found for c in document["choices"]]
    rows = [c["logprobs"] for c in choices if c.get("logprobs")]
    pairs = [pair for r in rows for pair in zip(r["tokens"], r["text_offset"], strict=True)]
    return pairs, "".join(c["text"] for c in choices)


@pytest.mark.parametrize("more", [{}, {"stream": True}])
def test_the_offsets_of_a_text_completion_are_where_its_tokens_begin_in_the_text(more):
    source = FakeSource(texts=("Bend ", "", "\u00e9\u4f60", " it", ""))
    pairs, text = offsets_of(service(source), **more)
    assert text == "Bend \u00e9\u4f60 it"
    assert pairs == [("Bend ", 0), ("", 5), ("\u00e9\u4f60", 5), (" it", 7), ("", 10)]


@pytest.mark.parametrize("mode", ["hold", "live", "shadow"])
@pytest.mark.parametrize("stream", [True, False])
def test_offsets_hold_under_an_alarm_too(mode, stream):
    pairs, text = offsets_of(service(FakeSource(scores=ALARM), mode=mode), stream=stream)
    assert pairs
    assert all(text[start:].startswith(token) for token, start in pairs)


def test_a_client_that_leaves_frees_its_place_at_once():
    source = FakeSource(waits={5: asyncio.Event()})
    served = service(source)
    sent = []

    async def run():
        gone = asyncio.Event()
        body = [{"type": "http.request", "body": json.dumps(chat(stream=True)).encode()}]

        async def receive():
            if body:
                return body.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)

        scope = {
            "type": "http",
            "method": "POST",
            "path": CHAT,
            "raw_path": CHAT.encode(),
            "query_string": b"",
            "headers": [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")],
        }
        task = asyncio.create_task(app_of(served)(scope, receive, send))
        while not (source.answers and source.answers[0].given == 5):
            await asyncio.sleep(0)
        assert served.gate.active == 1
        gone.set()
        await task
        assert served.gate.active == 0

    asyncio.run(run())
    assert [a.closed for a in source.answers] == [1]
    assert sent[-1].get("more_body")


def test_a_silent_stream_is_kept_open_with_comments_and_its_chunks_stay_in_order():
    async def run():
        goes_on, sent = asyncio.Event(), []

        async def chunks():
            yield {"n": 1}
            await goes_on.wait()
            yield {"n": 2}

        async def send(message):
            sent.append(message.get("body"))
            if sent.count(b": held\n\n") == 2:
                goes_on.set()

        async def receive():
            await asyncio.Event().wait()

        stream = EventStream(AsyncExitStack(), chunks(), failed=print, quiet=0.001)
        await stream({"type": "http"}, receive, send)
        return sent

    _, *bodies = asyncio.run(run())
    assert [b for b in bodies if b != b": held\n\n"] == [
        b'data: {"n":1}\n\n', b'data: {"n":2}\n\n', b"data: [DONE]\n\n",
    ]  # fmt: skip
    assert bodies.count(b": held\n\n") >= 2


def test_a_stream_that_fails_after_a_silence_says_so_and_closes_its_source():
    async def run():
        sent, statuses, closed = [], [], []

        async def chunks():
            try:
                yield {"n": 1}
                await asyncio.sleep(0.005)
                raise SourceError("the source broke")
            finally:
                closed.append(True)

        async def send(message):
            sent.append(message.get("body"))

        async def receive():
            await asyncio.Event().wait()

        stream = EventStream(AsyncExitStack(), chunks(), failed=statuses.append, quiet=0.001)
        await stream({"type": "http"}, receive, send)
        return sent, statuses, closed

    sent, statuses, closed = asyncio.run(run())
    assert b"the source broke" in sent[-2]
    assert (sent[-1], statuses, closed) == (b"data: [DONE]\n\n", [502], [True])
