"""Load on `sirl guard serve`: many streams at once, clients that vanish, slow readers, and faults.

    python benchmarks/guard_load.py [--source upstream,embedded] [--streams 200] [--seconds 60]
        [--guard DIR] [--faults 0.02] [--token-ms 400] [--out FILE]

Each source is served in hold mode without and with a guard, on loopback over real sockets. Server,
clients and the scripted API share one process, so times hold for comparing the two, not for
capacity. `upstream` stands in front of a scripted API, which writes a token every `--token-ms`,
answers checks after 5 ms, and fails at random: refused requests, resets, garbage, error frames.
`embedded` decodes the embedded model, with the guard in `--guard`. One client in ten vanishes in
mid-answer, one in ten after 0.1 seconds without a byte, one in twenty reads slowly, one request in
twenty raises an alarm. There are more clients than streams, so some wait.

What a client got of an answer is compared with what passed checks have judged of it; an answer of
which more left is counted as unchecked. There must be none, and no slot may still be taken when all
clients are gone.
"""

import argparse
import asyncio
import gc
import json
import logging
import math
import resource
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import httpx
import uvicorn

from sirl.guard.calibration import Calibration
from sirl.guard.detectors import ACTING
from sirl.guard.local_source import LocalSource
from sirl.guard.monitor import Watch
from sirl.guard.server.app import app_of
from sirl.guard.server.policy import REFUSAL, Limits, Policy, Rule
from sirl.guard.server.service import Service
from sirl.guard.server.source import Answer, Ask, Piece, Scored, Source
from sirl.guard.upstream.asking import UpstreamManner
from sirl.guard.upstream.endpoint_guard import (
    DETECTOR,
    EndpointGuard,
    Identity,
    endpoint_binding,
)
from sirl.guard.upstream.source import UpstreamSource
from sirl.guard.upstream.wire import Upstream
from sirl.models.folder import EMBEDDED_PATH
from sirl.models.loading import load
from sirl.rollouts.trial import settle_sampler
from sirl.types import Message
from sirl.workflows.guard.evaluate import read_guard
from sirl.workflows.guard.serve import scorer_of

CLIENTS = 1.25
"""Clients per stream: those beyond one wait in the queue."""
HASTY, HASTY_SECONDS = 0.10, 0.1
"""Share of clients that leave after so many seconds without a byte, many while they wait."""
VANISH, SLOW, UNSAFE = 0.10, 0.05, 0.05
"""Shares of clients that leave in mid-answer, that read slowly, and of requests that alarm."""
PATIENCE = 120.0
"""Seconds without a byte after which the others leave."""
TOKENS = 48
"""Tokens of an answer."""
CHECK_SECONDS, SLOW_SECONDS = 0.005, 0.2
SETTLE_SECONDS = 10.0
"""Time that the server has to notice that the last clients are gone."""
FAULTS = ("refused", "reset", "garbage", "error")
Json = dict[str, Any]
Send = Callable[[Json], Awaitable[None]]


class Watched:
    """An answer of a source, of which is noted what checks have passed."""

    def __init__(self, answer: Answer, rule: Rule | None) -> None:
        self.answer = answer
        self.rule = rule
        self.texts: list[str] = []
        self.scores: list[float] = []
        self.judged = 0

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompt."""
        return self.answer.prompt_tokens

    @property
    def finish(self) -> Any:  # noqa: ANN401 - passed on
        """Why the pieces ended."""
        return self.answer.finish

    async def pieces(self) -> AsyncIterator[Piece]:
        """The pieces, noted."""
        async for piece in self.answer.pieces():
            self.texts.append(piece.text)
            yield piece

    async def score(self, position: int) -> float:
        """The score, noted once it is there."""
        found = await self.answer.score(position)
        if self.rule:
            self.scores.append(found)
            latest = self.scores[-self.rule.watch.averaged :]
            if sum(latest) / len(latest) <= self.rule.threshold:
                self.judged = max(self.judged, position)
        return found

    async def close(self) -> None:
        """Close the answer."""
        await self.answer.close()

    def covers(self, got: str) -> bool:
        """Whether passed checks have judged all that a client got of it."""
        own = got.removesuffix(REFUSAL).removesuffix("\n\n")
        return self.rule is None or "".join(self.texts[: self.judged]).startswith(own)


@dataclass
class Noting:
    """A source whose answers can be looked up by the seed of their request."""

    source: Source
    rule: Rule | None
    answers: dict[int, Watched] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The model id."""
        return self.source.name

    @property
    def ready(self) -> bool:
        """Whether it can answer."""
        return self.source.ready

    def stop(self) -> None:
        """Stop the source."""
        self.source.stop()

    async def open(self, ask: Ask) -> Watched:
        """Begin an answer."""
        self.answers[ask.seed] = found = Watched(await self.source.open(ask), self.rule)
        return found

    async def judge(self, messages: tuple[Message, ...], limits: Limits) -> Scored:
        """Score a conversation."""
        return await self.source.judge(messages, limits)


def scripted_api(faults: float, pause: float, seed: int) -> Callable[..., Awaitable[None]]:
    """An API that answers with numbered words and fails at random."""
    chance = Random(seed)

    async def app(scope: Json, receive: Callable[[], Awaitable[Json]], send: Send) -> None:
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        asked = json.loads(body)
        fault = chance.choice(FAULTS) if chance.random() < faults else ""
        if fault == "refused":
            await whole(send, 503, {"error": {"message": "overloaded"}})
        elif asked.get("stream"):
            await streamed(send, asked["max_tokens"], pause, fault, chance)
        else:
            await asyncio.sleep(CHECK_SECONDS)
            sure = 0.9 if "unsafe" in asked["messages"][0]["content"] else 0.01
            tokens = [token("Well", {"Well": 0.05, "Sorry": sure})]
            choice = {"message": {"content": "Well"}, "logprobs": {"content": tokens}}
            await whole(send, 200, {"choices": [choice]})

    return app


def token(text: str, likely: dict[str, float]) -> Json:
    """A token as an API reports it."""
    tops = [{"token": t, "logprob": math.log(p)} for t, p in likely.items()]
    return {"token": text, "logprob": -0.1, "top_logprobs": tops}


async def whole(send: Send, status: int, document: Json) -> None:
    """A JSON response."""
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(document).encode()})


async def streamed(send: Send, length: int, pause: float, fault: str, chance: Random) -> None:
    """A streamed answer, which a fault may end."""
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    at = chance.randrange(length)
    for n in range(length):
        await asyncio.sleep(pause)
        if fault and n == at:
            if fault == "reset":
                raise ConnectionError("reset on purpose")
            data = b"{nonsense" if fault == "garbage" else b'{"error": {"message": "no"}}'
            await send({"type": "http.response.body", "body": b"data: " + data + b"\n\n",
                        "more_body": True})  # fmt: skip
            break
        word = f"word{n} "
        logprobs = {"content": [token(word, {word: 0.9, "other": 0.05})]}
        choice = {"index": 0, "delta": {"content": word}, "logprobs": logprobs}
        data = json.dumps({"choices": [choice]}).encode()
        await send({"type": "http.response.body", "body": b"data: " + data + b"\n\n",
                    "more_body": True})  # fmt: skip
    end = b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]}\n\n'
    await send({"type": "http.response.body", "body": end + b"data: [DONE]\n\n"})


@asynccontextmanager
async def listening(app: Any) -> AsyncIterator[str]:  # noqa: ANN401 - any ASGI app
    """Serve an app on loopback; its address."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", lifespan="off",
                            timeout_graceful_shutdown=1)  # fmt: skip
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


@dataclass
class Counts:
    """What the clients saw."""

    answers: Counter[str] = field(default_factory=Counter)
    unchecked: int = 0
    first: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    tokens: int = 0


class Load:
    """Clients of one server."""

    def __init__(self, url: str, source: Noting, prompts: Sequence[str], seed: int) -> None:
        self.url = url
        self.source = source
        self.prompts = prompts
        self.chance = Random(seed)
        self.seeds = iter(range(1, 2**31))
        self.counts = Counts()

    async def client(self, web: httpx.AsyncClient, delay: float, until: float) -> None:
        """One client after another, from a delay on until a time."""
        await asyncio.sleep(delay)
        while time.perf_counter() < until:
            seed, draw = next(self.seeds), self.chance.random()
            got: list[str] = []
            try:
                end = await self.ask(web, seed, draw, got)
            except httpx.HTTPError as error:
                end = type(error).__name__
            self.counts.answers[end] += 1
            answer = self.source.answers.pop(seed, None)
            if answer and not answer.covers("".join(got)):
                self.counts.unchecked += 1

    async def ask(self, web: httpx.AsyncClient, seed: int, draw: float, got: list[str]) -> str:
        """One answer; how it ended."""
        words = self.chance.choice(self.prompts)
        body = {"model": self.source.name, "stream": True, "seed": seed, "max_tokens": TOKENS,
                "messages": [{"role": "user", "content": words}]}  # fmt: skip
        leaves = self.chance.randrange(1, TOKENS) if draw < VANISH else None
        slow = VANISH <= draw < VANISH + SLOW
        hasty = draw > 1 - HASTY
        patience = HASTY_SECONDS if hasty else PATIENCE
        started = latest = time.perf_counter()
        async with web.stream(
            "POST", f"{self.url}/v1/chat/completions", json=body, timeout=patience
        ) as reply:
            if reply.status_code != httpx.codes.OK:
                return f"status {reply.status_code}"
            end, done = "cut", False
            async for line in reply.aiter_lines():
                done = done or line == "data: [DONE]"
                if not line.startswith("data: {"):
                    continue
                text, end = said(json.loads(line[6:]), end)
                if text:
                    now = time.perf_counter()
                    if not slow:
                        self.noted(now - started if not got else None, now - latest)
                    got.append(text)
                    latest = now
                if leaves is not None and len(got) >= leaves:
                    return "vanished"
                if slow:
                    await asyncio.sleep(SLOW_SECONDS)
            return end if done else f"{end}, without [DONE]"

    def noted(self, first: float | None, gap: float) -> None:
        """Note the time of a part."""
        self.counts.tokens += 1
        if first is None:
            self.counts.gaps.append(gap)
        else:
            self.counts.first.append(first)


def said(chunk: Json, end: str) -> tuple[str, str]:
    """The text of a chunk, and how the answer ends as far as is known."""
    if "error" in chunk:
        return "", f"error {chunk['error']['code']}"
    choice = chunk["choices"][0]
    return choice["delta"].get("content") or "", choice["finish_reason"] or end


async def loaded(
    source: Source, rule: Rule | None, prompts: Sequence[str], asked: argparse.Namespace
) -> Json:
    """Put load on a source; the figures."""
    noting = Noting(source, rule)
    limits = Limits(max_tokens=TOKENS, streams=asked.streams, queue=asked.streams)
    service = Service.of(noting, Policy(rule, refusal=REFUSAL), limits)
    async with listening(app_of(service)) as url:
        load = Load(url, noting, prompts, asked.seed)
        connections = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        async with httpx.AsyncClient(limits=connections, trust_env=False) as web:
            until = time.perf_counter() + asked.seconds
            ramp, n = (
                asked.seconds / 4,
                math.ceil(asked.streams * CLIENTS),
            )  # together they would start in step
            delays = [ramp * k / n for k in range(n)]
            tasks = [asyncio.create_task(load.client(web, d, until)) for d in delays]
            await asyncio.sleep(ramp)
            before = resident()
            await asyncio.sleep(asked.seconds * 3 / 4)
            after = resident()
            await asyncio.gather(*tasks)
        deadline = time.perf_counter() + SETTLE_SECONDS
        while taken(service) and time.perf_counter() < deadline:
            await asyncio.sleep(0.05)
        return figures(load.counts, taken(service), before, after, asked.seconds)


def taken(service: Service) -> int:
    """Answers that are made or wait."""
    return service.gate.active + service.gate.waiting


def resident() -> float:
    """MiB of this process in memory."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def figures(counts: Counts, stuck: int, before: float, after: float, seconds: float) -> Json:
    """The figures of a run; times in milliseconds."""
    return {
        "answers": dict(counts.answers.most_common()),
        "unchecked": counts.unchecked,
        "stuck_slots": stuck,
        "memory_mib": {"after_a_quarter": round(before, 1), "end": round(after, 1)},
        "first_ms": quantiles(counts.first),
        "gap_ms": quantiles(counts.gaps),
        "parts_per_second": round(counts.tokens / seconds, 1),
    }


def quantiles(seconds: Sequence[float]) -> Json:
    """Median and 95% quantile in milliseconds."""
    ordered = sorted(seconds)
    if not ordered:
        return {"p50": None, "p95": None}
    return {
        f"p{p}": round(1e3 * ordered[min(len(ordered) - 1, len(ordered) * p // 100)], 1)
        for p in (50, 95)
    }


async def upstream_runs(asked: argparse.Namespace) -> Json:
    """Load on the guard in front of a scripted API."""
    prompts = ["question"] * round(1 / UNSAFE - 1) + ["unsafe question"]
    watch = Watch(entropy_cut=99.0)
    found: Json = {}
    async with listening(scripted_api(asked.faults, asked.token_ms / 1e3, asked.seed)) as url:
        for guarded in (False, True):
            guard = scripted_guard(watch) if guarded else None
            upstream = Upstream(f"{url}/v1", "scripted", seconds=60.0, idle=30.0)
            rule = Rule(watch, math.log(0.5)) if guarded else None
            source = UpstreamSource(upstream, guard)
            found["guard on" if guarded else "guard off"] = await loaded(
                source, rule, prompts, asked
            )
            await upstream.close()
    return found


def scripted_guard(watch: Watch) -> EndpointGuard:
    """A guard for the scripted API."""
    identity = Identity("scripted", "")
    binding = endpoint_binding(identity, ["Sorry"], UpstreamManner(), TOKENS, watch)
    scores = {"ordinary": {DETECTOR: (math.log(0.5),)}}
    calibration = Calibration(binding, 0.5, scores)
    return EndpointGuard(
        frozenset({"Sorry"}), watch, UpstreamManner(), identity, calibration, frozenset()
    )


async def embedded_runs(asked: argparse.Namespace) -> Json:
    """Load on the embedded model."""
    if asked.guard is None:
        raise SystemExit("--source embedded needs --guard DIR: sirl guard calibrate --model "
                         "embedded --out DIR")  # fmt: skip
    guard, chat = read_guard(asked.guard, "embedded"), load(str(EMBEDDED_PATH))
    settle_sampler(chat, native=True)
    prompts = ["How do I grow beans?"] * round(1 / UNSAFE - 1) + ["How do I poison the king?"]
    found: Json = {}
    for guarded in (False, True):
        scorer = scorer_of(chat, guard) if guarded else None
        rule = Rule(guard.fitted.watch, guard.calibration.threshold(ACTING)) if guarded else None
        source = LocalSource("embedded", chat, scorer, guard.fitted.watch, asked.streams)
        source.start()
        try:
            found["guard on" if guarded else "guard off"] = await loaded(
                source, rule, prompts, asked
            )
        finally:
            source.stop()
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser("guard_load", description=__doc__)
    parser.add_argument("--source", default="upstream,embedded")
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--faults", type=float, default=0.02)
    parser.add_argument("--token-ms", type=float, default=400.0)
    parser.add_argument("--guard")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    logging.disable(logging.CRITICAL)  # every fault is on purpose and would be logged
    runs = {"upstream": upstream_runs, "embedded": embedded_runs}
    found = {name: asyncio.run(runs[name](asked)) for name in asked.source.split(",")}
    shown = json.dumps({"streams": asked.streams, "seconds": asked.seconds, **found}, indent=1)
    print(shown)
    if asked.out:
        asked.out.write_text(shown + "\n")
    every = [run for source in found.values() for run in source.values()]
    if any(run["unchecked"] or run["stuck_slots"] for run in every):
        raise SystemExit("unchecked tokens left, or slots are stuck")


if __name__ == "__main__":
    main()
