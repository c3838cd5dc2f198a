"""A model behind an OpenAI-compatible chat endpoint, as target, attacker or judge.

Every completion is a request of its own with a seed of its own, so that an endpoint that honours
seeds gives the same answers whatever they are asked together with. What an endpoint does not
tell stays empty: token ids, entropies, and log-probabilities unless they are asked for.
"""

import asyncio
import hashlib
import importlib
import json
import math
import os
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from functools import cache
from types import ModuleType
from typing import TypeVar
from urllib.parse import urlsplit

from sirl.errors import ConfigError, InputError, MissingExtraError, ModelError
from sirl.types import Completion, Finish, Message, Prompt, Sampling

__all__ = ["EndpointEngine", "Pace", "asked_wait", "request_seed"]

LONGEST_BACKOFF = 30.0  # seconds; the pauses double up to here
LONGEST_WAIT = 300.0  # seconds; who asks for a longer pause has a quota that is spent
LONGEST_COMPLAINT = 200  # characters of an endpoint's own words, which may quote the prompt
WAYS_OUT = {
    3: "give the address that it points to",
    4: "change what it objects to",
    5: "look into its log, or raise tries",
    401: "set {key} to a key that may use {model}",
    403: "set {key} to a key that may use {model}",
    404: "check the url and the model name {model}",
    429: "lower concurrency or set requests_per_minute",
}
"""By HTTP status, or by its hundreds."""

Body = dict[str, object]
Request = tuple[str, Body]
"""What errors call it, and what is sent."""
Found = TypeVar("Found")


@dataclass(frozen=True)
class Answer:
    """What an endpoint said."""

    text: str
    logprobs: tuple[float, ...]
    finish: Finish
    tokens: int


@dataclass(frozen=True)
class Failure:
    """A try that gave no answer: what happened, and what a person can do about it."""

    what: str
    way_out: str
    again: bool = True
    """Whether the same request may fare better."""
    after: float = 0.0
    """Seconds that the endpoint asks to be left alone."""


Post = Callable[[Body], Awaitable[Answer | Failure]]


@dataclass
class Pace:
    """Spaces the requests to a model evenly; the first may go at once."""

    url: str
    model: str
    per_minute: int
    free: float = -math.inf

    def wait(self, now: float) -> float:
        """Take the next free moment; returns the seconds until then."""
        at = max(now, self.free)
        self.free = at + 60 / self.per_minute
        return at - now


shared_pace = cache(Pace)
"""One pace for all engines of a model, as its limit is one."""


@dataclass(frozen=True)
class EndpointEngine:
    """Samples from an endpoint; satisfies `sirl.roles.Engine`."""

    url: str
    """Base address, such as http://localhost:8000/v1."""
    model: str
    """The model's name at the endpoint."""
    new_tokens: int
    """Longest completion, in tokens."""
    sampling: Sampling
    seed: int
    concurrency: int = 8
    """Requests under way together."""
    requests_per_minute: int | None = None
    """Shared by all engines of this url and model; None is no limit."""
    timeout: float = 60.0
    """Seconds for one try, from connecting to the last byte."""
    tries: int = 5
    """How often one request is sent at most."""
    key_from_env: str = "OPENAI_API_KEY"
    """Environment variable that holds the key; without it none is sent."""
    supports_opener: bool = False
    """Whether the server continues a last assistant turn."""
    logprobs: bool = False
    """Ask for the log-probability of each token; not every server tells."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    jitter: Callable[[], float] = random.SystemRandom().random
    """Without a state, so that pauses disturb nobody's random numbers."""

    def __post_init__(self) -> None:
        check_url(self.url)
        for name in ("new_tokens", "concurrency", "requests_per_minute", "tries"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} of the endpoint is {value}: it must be at least 1")
        http_client()

    @property
    def identity(self) -> str:
        """The address, and the model's name there; weights are out of sight."""
        return f"{self.url} {self.model}"

    def sample(
        self, prompts: Sequence[Prompt], *, group: int = 1, step: int = 0
    ) -> list[Completion]:
        """`group` completions of each prompt, siblings adjacent, in the order of the prompts.

        Raises:
            InputError: A prompt ends with an assistant turn and the server continues none.
            ModelError: A request failed for good; the others are given up.
        """
        wanted = [(prompt, s) for prompt in prompts for s in range(group)]
        requests = [
            self.request(f"prompt {p.id}", p.messages, request_seed(self.seed, step, p.id, s))
            for p, s in wanted
        ]
        answers = asyncio.run(self.together(requests, self.answer))
        return [
            Completion(p.id, (), (), a.text, a.logprobs, (), a.finish, s, self.seed, (), a.tokens)
            for (p, s), a in zip(wanted, answers, strict=True)
        ]

    def ask(self, conversations: Sequence[tuple[Message, ...]]) -> list[str | None]:
        """What the model says after each conversation; None where a request failed for good.

        A last assistant turn is a turn like any other: guard models are shown finished answers.
        Seeds come from the text; one that is asked several times in a call gets several seeds.
        """
        asked: Counter[str] = Counter()
        requests = []
        for number, messages in enumerate(conversations):
            name = json.dumps([asdict(message) for message in messages])
            seed = request_seed(self.seed, 0, name, asked[name])
            asked[name] += 1
            requests.append(self.request(f"conversation {number}", messages, seed, opened=False))
        return asyncio.run(self.together(requests, self.text_or_none))

    def request(
        self, what: str, messages: tuple[Message, ...], seed: int, *, opened: bool = True
    ) -> Request:
        """What is sent for one completion; a last assistant turn is to be continued if `opened`."""
        body: Body = {
            "model": self.model,
            "messages": [asdict(message) for message in messages],
            "max_tokens": self.new_tokens,
            "temperature": self.sampling.temperature,
            "top_p": self.sampling.top_p,
            "seed": seed,
        }
        if self.sampling.top_k:
            body["top_k"] = self.sampling.top_k
        if self.logprobs:
            body["logprobs"] = True
        if opened and messages and messages[-1].role == "assistant":
            if not self.supports_opener:
                raise InputError(
                    f"{what} ends with an assistant turn, which endpoint {self.url} is not said to "
                    "continue: set supports_opener if it does, or leave out attacks with an opener"
                )
            # vLLM and SGLang close the turn and begin another one unless told so.
            body |= {"add_generation_prompt": False, "continue_final_message": True}
        return what, body

    async def together(
        self, requests: Sequence[Request], one: Callable[[Post, Request], Awaitable[Found]]
    ) -> list[Found]:
        """Answers in the order of the requests, at most `concurrency` under way."""
        places = asyncio.Semaphore(self.concurrency)

        async def placed(request: Request) -> Found:
            async with places:
                return await one(post, request)

        try:
            async with (
                line(f"{self.url.rstrip('/')}/chat/completions", self.key(), self.timeout) as post,
                asyncio.TaskGroup() as tasks,
            ):
                running = [tasks.create_task(placed(request)) for request in requests]
        except ExceptionGroup as group:
            raise group.exceptions[0] from None
        return [task.result() for task in running]

    async def answer(self, post: Post, request: Request) -> Answer:
        """Send a request until it is answered; ModelError when it fails for good."""
        what, body = request
        tried = 0
        while True:
            await self.keep_pace()
            found = await post(body)
            if isinstance(found, Answer):
                return found
            tried += 1
            if not found.again or tried == self.tries:
                hint = found.way_out.format(key=self.key_from_env, model=self.model)
                raise ModelError(
                    f"endpoint {self.url} {found.what} to {what} "
                    f"in try {tried} of {self.tries}: {hint}"
                )
            backoff = min(LONGEST_BACKOFF, 2.0 ** (tried - 1)) * (1 + self.jitter()) / 2
            await self.sleep(max(backoff, found.after))

    async def text_or_none(self, post: Post, request: Request) -> str | None:
        """The text of an answer; None when the request failed for good."""
        try:
            return (await self.answer(post, request)).text
        except ModelError:
            return None

    async def keep_pace(self) -> None:
        """Wait for this request's turn."""
        if self.requests_per_minute:
            pace = shared_pace(self.url, self.model, self.requests_per_minute)
            wait = pace.wait(asyncio.get_running_loop().time())
            if wait > 0:
                await self.sleep(wait)

    def key(self) -> str:
        """The key, or nothing; errors do not tell it."""
        key = os.environ.get(self.key_from_env, "").strip()
        if not (key.isascii() and key.isprintable()):
            raise ConfigError(f"the key in {self.key_from_env} cannot be sent in a header: mend it")
        return key


def check_url(url: str) -> None:
    """Refuse what is not the base address of an API."""
    if "@" in url:
        raise ConfigError(
            "url of the endpoint has '@' in it: leave out name and password, "
            "the key comes from the environment"
        )
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, a bracket that is not closed
        fine = False
    if not fine or url.split() != [url] or "?" in url or "#" in url:
        shown = re.split("[?#]", url)[0]  # what follows may be a key
        raise ConfigError(
            f"url {shown!r} is not the base address of an API, such as http://localhost:8000/v1"
        )


def http_client() -> ModuleType:
    """The library that speaks HTTP, or MissingExtraError."""
    try:
        return importlib.import_module("httpx")
    except ImportError as error:
        raise MissingExtraError("an endpoint", "serve") from error


@asynccontextmanager
async def line(address: str, key: str, timeout: float) -> AsyncIterator[Post]:
    """A way to post to one address, open as long as the block."""
    httpx = http_client()
    headers = {"Content-Type": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    async with httpx.AsyncClient(
        headers=headers,
        timeout=None,  # theirs is on each read; the limit below is on the whole try
        limits=httpx.Limits(max_connections=None),
        follow_redirects=False,
    ) as client:

        async def post(body: Body) -> Answer | Failure:
            try:
                async with asyncio.timeout(timeout):
                    # ASCII escapes, since attacks may hold characters that UTF-8 cannot.
                    reply = await client.post(address, content=json.dumps(body).encode("ascii"))
            except TimeoutError:
                what = f"gave no answer within {timeout:g} s"
                return Failure(what, "raise timeout or lower concurrency")
            except httpx.RequestError as error:
                what = f"gave no answer ({type(error).__name__})"
                return Failure(what, "check the url, and that the server runs")
            return understood(reply.status_code, dict(reply.headers), reply.content, key)

        yield post


def understood(
    status: int, headers: Mapping[str, str], content: bytes, key: str
) -> Answer | Failure:
    """The answer in an HTTP response, or why it holds none."""
    try:
        payload: object = json.loads(content)
    except ValueError:
        payload = None
    if 200 <= status < 300:
        if not isinstance(dig(payload, "choices", 0, "message"), dict):
            what = f"answered {status} without choices"
            return Failure(what, "check that the url is that of a chat API")
        what = f"answered {status} without text"
        return answer_in(payload) or Failure(what, "see that {model} writes some in new_tokens")
    what, after = f"answered {status}{complaint_in(payload, key)}", asked_wait(headers)
    if after > LONGEST_WAIT:
        return Failure(what, f"it asks for a pause of {after:g} s, come back then", again=False)
    way_out = WAYS_OUT.get(status, WAYS_OUT.get(status // 100, "check the url"))
    return Failure(what, way_out, status == 429 or status >= 500, after)


def answer_in(payload: object) -> Answer | None:
    """The first choice of a response; None when it has no text."""
    choice = dig(payload, "choices", 0)
    content = dig(choice, "message", "content")
    text = dig(choice, "message", "refusal") if content is None else content
    if not isinstance(text, str):
        return None
    tokens = dig(choice, "logprobs", "content")
    logprobs = [dig(token, "logprob") for token in tokens] if isinstance(tokens, list) else []
    numbers = tuple(float(p) for p in logprobs if isinstance(p, int | float))
    used = dig(payload, "usage", "completion_tokens")
    return Answer(
        text,
        numbers if len(numbers) == len(logprobs) else (),
        "length" if dig(choice, "finish_reason") == "length" else "stop",
        used if isinstance(used, int) else 0,
    )


def complaint_in(payload: object, key: str) -> str:
    """What the endpoint says went wrong, in brackets, short, and without the key."""
    places = (("error", "message"), ("error",), ("message",), ("detail",))
    texts = (dig(payload, *place) for place in places)
    text = next((t for t in texts if isinstance(t, str)), "")
    if key:
        text = text.replace(key, "***")
    plain = "".join(c if c.isprintable() else " " for c in text).strip()
    return f" ({plain[:LONGEST_COMPLAINT]})" if plain else ""


def asked_wait(headers: Mapping[str, str]) -> float:
    """Seconds in `Retry-After`, whose date is compared with the server's own; 0 without one."""
    text = headers.get("retry-after", "")
    try:
        seconds = float(text)
    except ValueError:
        try:
            until, now = (parsedate_to_datetime(t) for t in (text, headers.get("date", "")))
            seconds = (until - now).total_seconds()
        except (TypeError, ValueError):
            return 0.0
    return seconds if seconds > 0 else 0.0


def dig(value: object, *path: str | int) -> object:
    """What lies at a path in parsed JSON; None where nothing does."""
    for step in path:
        if isinstance(value, dict) and isinstance(step, str):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            return None
    return value


def request_seed(seed: int, step: int, prompt_id: str, sample: int) -> int:
    """The seed of one request, in 31 bits, since servers take no more."""
    name = f"{seed}\0{step}\0{sample}\0{prompt_id}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(name, digest_size=4).digest(), "big") >> 1
