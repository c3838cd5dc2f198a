"""A scripted source of answers: pieces and scores by hand, which can fail or wait at any point."""

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx

from sirl.guard.monitor import Watch
from sirl.guard.server.app import app_of
from sirl.guard.server.policy import Limits, Policy, Rule
from sirl.guard.server.service import Service
from sirl.guard.server.source import AskError, Piece, Scored, SourceError

WATCH = Watch(every=4, soonest=2, averaged=1, entropy_span=2)
RULE = Rule(WATCH, 0.5)
HOST = "http://127.0.0.1"
CHAT = "/v1/chat/completions"


@dataclass
class FakeAnswer:
    script: "FakeSource"
    ask: object
    prompt_tokens: int = 3
    finish: str = "stop"
    given: int = 0
    closed: int = 0

    async def pieces(self):
        texts = self.script.texts[: self.ask.max_tokens]
        self.finish = "length" if len(texts) < len(self.script.texts) else "stop"
        for n, text in enumerate(texts):
            if n in self.script.waits:
                await self.script.waits[n].wait()
            if n == self.script.breaks_at:
                raise SourceError("the source broke")
            await asyncio.sleep(0)
            self.given = n + 1
            yield Piece(text, 0.1, -0.25, text, ((text, -0.25), ("other", -2.0))[: self.ask.top])

    async def score(self, position):
        assert position <= self.given
        await asyncio.sleep(0)
        if position == self.script.check_fails_at:
            raise RuntimeError("no score")
        return self.script.scores.get(position, 0.0)

    async def close(self):
        self.closed += 1


@dataclass
class FakeSource:
    texts: tuple = tuple(f"w{n} " for n in range(10))
    scores: dict = field(default_factory=dict)
    """Position -> score of its check; 0 elsewhere."""
    breaks_at: int | None = None
    check_fails_at: int | None = None
    waits: dict = field(default_factory=dict)
    """Number of a piece -> an event that it waits for."""
    name: str = "fake"
    ready: bool = True
    partial: bool = False
    """Whether it scores only the beginning of an answer."""
    answers: list = field(default_factory=list)
    asked: list = field(default_factory=list)

    def stop(self):
        """Nothing runs."""

    async def open(self, ask):
        if any("too long" in m.content for m in ask.messages):
            raise AskError("the prompt is too long", "messages", "context_length_exceeded")
        self.asked.append(ask)
        self.answers.append(FakeAnswer(self, ask))
        return self.answers[-1]

    async def judge(self, messages, _):
        self.asked.append(messages)
        return Scored(1.0 if any("bad" in m.content for m in messages) else -1.0, self.partial)


def service(
    source=None,
    *,
    rule=RULE,
    limits=None,
    keys=None,
    alarms=None,
    risk=None,
    details=False,
    **policy,
):
    limits = limits or Limits(max_tokens=64, details=details)
    return Service.of(source or FakeSource(), Policy(rule, **policy), limits, keys, alarms, risk)


@asynccontextmanager
async def client_of(served, playground=None, **headers):
    transport = httpx.ASGITransport(app_of(served, playground))
    async with httpx.AsyncClient(transport=transport, base_url=HOST, headers=headers) as own:
        yield own


def ask(
    served, path=CHAT, body=None, *, method="POST", headers=None, content=None, playground=None
):
    """The reply to one request."""

    async def run():
        async with client_of(served, playground) as client:
            sent = {"json": body} if content is None else {"content": content}
            return await client.request(method, path, headers=headers, **sent)

    return asyncio.run(run())


def chat(text="hello", **fields):
    return {"model": "fake", "messages": [{"role": "user", "content": text}], **fields}


def events(reply):
    """The documents of a stream, without [DONE], which must be its end."""
    blocks = reply.text.split("\n\n")
    assert blocks[-2:] == ["data: [DONE]", ""]
    assert all(block.startswith("data: ") for block in blocks[:-1])
    return [json.loads(block.removeprefix("data: ")) for block in blocks[:-2]]


def streamed(served, **fields):
    reply = ask(served, body=chat(stream=True, **fields))
    assert reply.status_code == 200, reply.text
    return events(reply)


def text_of(chunks):
    return "".join(c["delta"].get("content", "") for e in chunks for c in e["choices"])


def finding(document, index=0):
    return document["sirl_guard"]["choices"][index]
