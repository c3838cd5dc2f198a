"""The server on loopback: the official clients, clients that leave, and SIGTERM."""

import asyncio
import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import openai
import pytest
import uvicorn

from sirl.errors import ConfigError
from sirl.guard.server.app import app_of
from sirl.guard.server.keys import Keys
from sirl.guard.server.listening import GRACE, Server, bound, listen
from sirl.guard.server.playground import Playground
from tests.unit.fake_source import CHAT, FakeSource, chat, service

KEY = "a-key-for-tests"
WHOLE = "w0 w1 w2 w3 w4 w5 w6 w7 w8 w9 "


def serving(served, client, drain=5.0, playground=None):
    """Serve in this thread while `client`, in another one, is told the address; its result.

    SIGTERM ends the server when the client is done, if it has not done so itself.
    """
    result, thread = [], ThreadPoolExecutor(1)

    def run(url):
        try:
            return client(url)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    def ready(url):
        result.append(thread.submit(run, url))

    app = app_of(served, playground)
    listen(app, bound("127.0.0.1", 0), drain=drain, ready=ready)
    thread.shutdown()
    return result[0].result()


def test_the_official_clients_read_answers_streams_models_and_errors():
    served = service(FakeSource(scores={8: 1.0}), keys=Keys([KEY]))
    asked = {"model": "fake", "messages": [{"role": "user", "content": "hi"}]}

    def client(url):
        with openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as own:
            whole = own.chat.completions.create(**asked)
            chunks = list(
                own.chat.completions.create(
                    **asked, stream=True, stream_options={"include_usage": True}
                )
            )
            models = [m.id for m in own.models.list()]
            text = own.completions.create(model="fake", prompt="hi").choices[0].text
            moderation = own.moderations.create(input="bad").results[0].flagged
            with pytest.raises(openai.BadRequestError) as refused:
                own.chat.completions.create(**asked, n=100)
            with pytest.raises(openai.NotFoundError):
                own.models.retrieve("other")
        with (
            openai.OpenAI(base_url=f"{url}/v1", api_key="wrong", max_retries=0) as other,
            pytest.raises(openai.AuthenticationError),
        ):
            other.models.list()
        return whole, chunks, models, text, moderation, refused.value

    whole, chunks, models, text, moderation, refused = serving(served, client)
    assert whole.choices[0].finish_reason == "content_filter"
    assert whole.choices[0].message.content == "w0 w1 w2 \n\nI can't help with that."
    assert whole.model_extra["sirl_guard"]["choices"][0]["flagged"]
    sent = [c.choices[0].delta.content or "" for c in chunks if c.choices]
    assert "".join(sent) == whole.choices[0].message.content
    assert chunks[-1].usage.completion_tokens == 8
    assert (models, text[:3], moderation) == (["fake"], "w0 ", True)
    assert (refused.body["param"], refused.status_code) == ("n", 400)


def test_the_official_async_client_reads_a_stream():
    def client(url):
        async def run():
            async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="any") as own:
                stream = await own.chat.completions.create(**chat(), stream=True)
                return "".join([c.choices[0].delta.content or "" async for c in stream])

        return asyncio.run(run())

    assert serving(service(), client) == WHOLE


@contextmanager
def reading(url, **fields):
    with (
        httpx.Client() as own,
        own.stream("POST", url + CHAT, json=chat(stream=True, **fields)) as reply,
    ):
        yield reply.iter_lines()


def until(fact):
    for _ in range(500):
        if fact():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen within five seconds")


def test_a_client_that_closes_its_connection_frees_the_place():
    source = FakeSource(waits={5: asyncio.Event()})
    served = service(source)

    def client(url):
        with reading(url) as lines:
            next(lines)
            until(lambda: source.answers[0].given == 5)
            assert served.gate.active == 1
        until(lambda: served.gate.active == 0)
        return source.answers[0].closed

    assert serving(served, client) == 1


def test_an_answer_that_runs_when_sigterm_comes_is_finished():
    source = FakeSource(waits={5: asyncio.Event()})
    served = service(source)
    loop = []

    class Loud(FakeSource):
        async def open(self, ask):
            loop.append(asyncio.get_running_loop())
            return await source.open(ask)

    served = service(Loud())

    def client(url):
        with reading(url) as lines:
            next(lines)
            os.kill(os.getpid(), signal.SIGTERM)
            until(lambda: served.gate.draining)
            loop[0].call_soon_threadsafe(source.waits[5].set)
            return [line for line in lines if line]

    found = serving(served, client)
    assert found[-1] == "data: [DONE]"
    assert '"finish_reason":"stop"' in found[-2]


def test_a_server_that_drains_still_says_how_it_is():
    served = service(FakeSource(waits={5: asyncio.Event()}))

    def client(url):
        with reading(url) as lines:
            next(lines)
            os.kill(os.getpid(), signal.SIGTERM)
            until(lambda: served.gate.draining)
            asked = ("/healthz", "/readyz", "/metrics", "/v1/models")
            found = [httpx.get(url + path).status_code for path in asked]
            refused = httpx.post(url + CHAT, json=chat()).json()["error"]["code"]
            return found, refused, [line for line in lines if line][-1]

    found, refused, last = serving(served, client, drain=2.0)
    assert (found, refused, last) == ([200, 503, 200, 200], "draining", "data: [DONE]")


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer wrong"}])
def test_a_client_that_sends_too_much_reads_why_it_is_refused(headers):
    keys = Keys([KEY]) if headers else Keys()

    def client(url):
        sent = b" " * (20 << 20)
        kind = {"content-type": "application/json"}
        return httpx.post(url + CHAT, content=sent, headers=kind | headers).status_code

    assert serving(service(keys=keys), client) == (401 if headers else 413)


def test_the_official_client_sends_back_the_messages_that_it_got():
    source = FakeSource()

    def client(url):
        with openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0) as own:
            said = chat()["messages"]
            for form in (lambda m: m, lambda m: m.model_dump(), lambda m: m.model_dump()):
                message = own.chat.completions.create(model="fake", messages=said)
                said = [*said, form(message.choices[0].message), {"role": "user", "content": "go"}]
            return len(said)

    assert serving(service(source), client) == 7
    assert [m.role for m in source.asked[-1].messages] == ["user", "assistant"] * 2 + ["user"]


def test_an_answer_that_does_not_end_in_time_after_sigterm_ends_with_an_error_and_done():
    served = service(FakeSource(waits={5: asyncio.Event()}))

    def client(url):
        with reading(url) as lines:
            next(lines)
            os.kill(os.getpid(), signal.SIGTERM)
            return [line for line in lines if line]

    found = serving(served, client, drain=0.2)
    assert found[-1] == "data: [DONE]"
    assert "the server is shutting down" in found[-2]


@pytest.mark.parametrize(
    ("again", "seconds"), [(False, range(GRACE, GRACE + 1)), (True, range(30, 61 + GRACE))]
)
def test_connections_are_cut_soon_after_the_drain_however_it_ends(again, seconds, monkeypatch):
    source, given, closes = FakeSource(waits={5: asyncio.Event()}), [], uvicorn.Server.shutdown

    async def shutdown(self, sockets=None):
        given.append(self.config.timeout_graceful_shutdown)
        source.waits[5].set()
        await closes(self, sockets)

    monkeypatch.setattr(uvicorn.Server, "shutdown", shutdown)
    served = service(source)

    def client(url):
        if not again:
            return httpx.get(f"{url}/healthz").status_code
        with reading(url) as lines:
            next(lines)
            os.kill(os.getpid(), signal.SIGTERM)
            until(lambda: served.gate.draining)
            os.kill(os.getpid(), signal.SIGTERM)
            return [line for line in lines if line][-1]

    assert serving(served, client, drain=60.0) == ("data: [DONE]" if again else 200)
    assert given[0] in seconds


def test_signals_are_as_they_were_when_the_server_has_ended():
    before = [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)]
    serving(service(), lambda url: httpx.get(f"{url}/healthz").json())
    assert [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)] == before


def test_half_a_request_and_rubbish_harm_no_one():
    def client(url):
        host, port = url.removeprefix("http://").split(":")
        for sent in (b"\x00\xff\r\n\r\n", b"POST " + CHAT.encode() + b" HTTP/1.1\r\nHost: x\r\n"):
            with socket.create_connection((host, int(port))) as raw:
                raw.sendall(sent)
        return httpx.post(url + CHAT, json=chat()).status_code

    assert serving(service(), client) == 200


def test_an_address_that_is_taken_is_named():
    with bound("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"cannot listen at 127.0.0.1, port {port}: "):
            bound("127.0.0.1", port)


def test_two_servers_that_start_together_do_not_share_an_address():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with bound("127.0.0.1", port), pytest.raises(ConfigError, match=f"port {port}: "):
        bound("127.0.0.1", port)


def test_an_answer_of_the_compared_model_is_cut_and_refused_as_the_others_are():
    source = FakeSource(waits={5: asyncio.Event()})
    served, second = service(), service(source)

    def client(url):
        with (
            httpx.Client() as own,
            own.stream("POST", f"{url}/playground/compared", json=chat(stream=True)) as reply,
        ):
            lines = reply.iter_lines()
            next(lines)
            os.kill(os.getpid(), signal.SIGTERM)
            return [line for line in lines if line]

    found = serving(served, client, 0.2, Playground(compared=second))
    assert found[-1] == "data: [DONE]"
    assert "the server is shutting down" in found[-2]
    assert second.gate.draining


def test_a_signal_before_the_server_listens_ends_it():
    served = service(FakeSource())
    server = Server(uvicorn.Config(app_of(served)), [served.gate], 5.0, print)
    server.handle_exit(signal.SIGTERM, None)
    assert server.should_exit
