"""A scripted upstream behind httpx: tokens and opinions by hand, and any fault at any byte."""

import json
import math
from dataclasses import dataclass, field

import httpx

from sirl.guard.calibration import Calibration
from sirl.guard.server.policy import Limits, Policy, Rule
from sirl.guard.server.service import Service
from sirl.guard.upstream.asking import UpstreamManner
from sirl.guard.upstream.endpoint_guard import EndpointGuard, Identity, endpoint_binding
from sirl.guard.upstream.source import UpstreamSource
from sirl.guard.upstream.wire import Upstream
from tests.unit.fake_source import WATCH

OPENERS = frozenset({"Sorry"})
MANNER = UpstreamManner()
SERVED = "model-2026"
DONE = b"data: [DONE]\n\n"


def token(text, likely=None, raw=None):
    """A token as a chat API reports it; `likely` are its alternatives."""
    likely = {text: 0.9, "other": 0.05} if likely is None else likely
    given = list((text if raw is None else raw).encode()) if not isinstance(raw, bytes) else [*raw]
    tops = [
        {"token": t, "logprob": math.log(p), "bytes": list(t.encode())} for t, p in likely.items()
    ]
    return {"token": text, "logprob": math.log(0.9), "bytes": given, "top_logprobs": tops}


def event(document):
    return b"data: " + json.dumps(document, ensure_ascii=False).encode() + b"\n\n"


def chunk(content=None, tokens=None, finish=None, **more):
    delta = {} if content is None else {"content": content}
    logprobs = None if tokens is None else {"content": tokens}
    choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
    return {"model": SERVED, "choices": [choice], **more}


def events_of(texts, finish="stop"):
    """The events of an answer, one token each, with its end."""
    first = event(chunk(""))
    body = [event(chunk(t, [token(t)])) for t in texts]
    usage = {"model": SERVED, "choices": [], "usage": {"prompt_tokens": 7}}
    return [first, *body, event(chunk(finish=finish)), event(usage), DONE]


class Stream(httpx.AsyncByteStream):
    """Bytes in chunks; an exception among them is raised, an asyncio.Event is waited for."""

    def __init__(self, chunks, script):
        self.chunks = chunks
        self.script = script

    async def __aiter__(self):
        for piece in self.chunks:
            if isinstance(piece, Exception):
                raise piece
            if hasattr(piece, "wait"):
                await piece.wait()
                continue
            self.script.given += 1
            yield piece

    async def aclose(self):
        self.script.closed += 1


@dataclass
class FakeUpstream(httpx.AsyncBaseTransport):
    texts: tuple = tuple(f"w{n} " for n in range(10))
    opinions: dict = field(default_factory=dict)
    """Number of tokens that a check judges -> probability of a refusal; 0.01 elsewhere."""
    chunks: list | None = None
    """What a stream sends instead."""
    refused: list = field(default_factory=list)
    """Responses to streams (status, headers, document), each given once, before any answer."""
    checks: list = field(default_factory=list)
    """The same for checks; an exception is raised."""
    served: str = SERVED
    seen: list = field(default_factory=list)
    given: int = 0
    closed: int = 0

    async def handle_async_request(self, request):
        body = json.loads(await request.aread())
        self.seen.append((request, body))
        if body.get("stream"):
            if self.refused:
                return reply(self.refused.pop(0))
            chunks = events_of(self.texts) if self.chunks is None else self.chunks
            kind = {"content-type": "text/event-stream; charset=utf-8"}
            return httpx.Response(200, headers=kind, stream=Stream(chunks, self))
        if self.checks:
            return reply(self.checks.pop(0))
        return reply((200, {}, self.opinion(body)))

    def opinion(self, body):
        said = [m["content"] for m in body["messages"] if m["role"] == "assistant"]
        position = len(said[-1].split()) if said else 0
        sure = self.opinions.get(position, 0.01)
        first = token("Well", {"Well": 0.5, "Sorry": sure})
        choice = {"message": {"content": "Well"}, "finish_reason": "length",
                  "logprobs": {"content": [first]}}  # fmt: skip
        return {"model": self.served, "choices": [choice]}

    @property
    def bodies(self):
        return [body for _, body in self.seen if body.get("stream")]

    @property
    def asked(self):
        """The last turns of the checks."""
        return [b["messages"] for _, b in self.seen if not b.get("stream")]


def reply(found):
    if isinstance(found, Exception):
        raise found
    status, headers, document = found
    content = document if isinstance(document, bytes) else json.dumps(document).encode()
    return httpx.Response(status, headers=headers, stream=httpx.ByteStream(content))


def endpoint_guard(**changes):
    """A guard that raises an alarm above a refusal mass of one half."""
    identity = Identity("fake", SERVED)
    binding = endpoint_binding(identity, sorted(OPENERS), MANNER, 64, WATCH)
    scores = {"ordinary": {"refusal_mass": (math.log(0.5),) * 3}}
    own = {"openers": OPENERS, "watch": WATCH, "manner": MANNER, "identity": identity,
           "calibration": Calibration(binding, 0.25, scores), "known": frozenset()}  # fmt: skip
    return EndpointGuard(**own | changes)


def proxied(script, guard=None, *, limits=None, watched=True, idle=5.0, seconds=5.0, **policy):
    """A service in front of a scripted upstream."""
    own = (guard or endpoint_guard()) if watched else None
    upstream = Upstream("http://up.test/v1", "fake", "secret-key", seconds, idle, script)
    upstream.key_from_env = "UP_KEY"
    rule = Rule(own.watch, own.threshold) if own else None
    limits = limits or Limits(max_tokens=64)
    return Service.of(UpstreamSource(upstream, own), Policy(rule, **policy), limits)
