"""A model behind an OpenAI-compatible chat endpoint, as target, attacker or judge.

Every completion is a separate request with its own seed, so that an endpoint that honours seeds
gives the same answers independently of the batch. Token ids and entropies are unknown and empty;
so are log-probabilities unless requested.

Retries and waits are not left to a client library: a reply that refuses a parameter is read and the
request repeated without it (`endpoint_dialect`), and every failure has a sentence that names it.
"""

import asyncio
import hashlib
import json
import math
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from typing import TypeVar

from sirl.errors import ConfigError, InputError, ModelError, SamplingError
from sirl.rollouts.arrivals import (
    HELLO,
    SHORTEST_STREAK,
    Contact,
    Deliver,
    Lost,
    Streak,
    in_order,
    losses_apart,
    streamed,
)
from sirl.rollouts.endpoint_dialect import out_of_range, shared_dialect, wanted
from sirl.rollouts.endpoint_outages import Request, Watch
from sirl.rollouts.endpoint_reply import LONGEST_WAIT, Answer, Failure, asked_wait
from sirl.rollouts.endpoint_wire import Post, check_url, http_client, key_for, line
from sirl.types import Completion, Message, Prompt, Reply, Sampling

__all__ = ["EndpointEngine", "Pace", "asked_wait", "request_seed"]

LONGEST_BACKOFF = 30.0  # seconds; pauses double up to this
Found = TypeVar("Found")


@dataclass
class Pace:
    """Spaces the requests to a model evenly; the first is not delayed."""

    url: str
    model: str
    per_minute: int
    free: float = -math.inf

    def wait(self, now: float) -> float:
        """Reserve the next free slot; returns the seconds until then."""
        at = max(now, self.free)
        self.free = at + 60 / self.per_minute
        return at - now


shared_pace = cache(Pace)
"""One pace for all engines of a model, since they share its rate limit."""


@dataclass(frozen=True)
class EndpointEngine:
    """Samples from an endpoint; satisfies `sirl.roles.StreamingEngine`."""

    url: str
    """Base address, such as http://localhost:8000/v1."""
    model: str
    """The model's name at the endpoint."""
    new_tokens: int
    """Maximum new tokens."""
    sampling: Sampling
    seed: int
    concurrency: int = 8
    """Maximum concurrent requests."""
    requests_per_minute: int | None = None
    """Shared by all engines of this url and model; None means no limit."""
    timeout: float = 60.0
    """Seconds for one try, from connecting to the last byte."""
    tries: int = 5
    """Maximum number of times a request is sent."""
    key_from_env: str = "OPENAI_API_KEY"
    """Environment variable with the API key; no key is sent if it is unset."""
    supports_opener: bool = False
    """Whether the server continues a final assistant turn."""
    logprobs: bool = False
    """Whether to request log-probabilities; not every server returns them."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    jitter: Callable[[], float] = random.SystemRandom().random
    """Has no state, so that pauses do not change other random numbers."""
    contact: Contact[Request] = field(default_factory=Contact, compare=False, repr=False)

    def __post_init__(self) -> None:
        check_url(self.url)
        for name in ("new_tokens", "concurrency", "requests_per_minute", "tries"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} of the endpoint is {value}: it must be at least 1")
        http_client()

    @property
    def identity(self) -> str:
        """The address and model name; the weights are unknown."""
        return f"{self.url} {self.model}"

    def sample(
        self, prompts: Sequence[Prompt], *, group: int = 1, step: int = 0
    ) -> list[Completion]:
        """Sample `group` completions per prompt, grouped in the order of the prompts.

        A request that failed permanently becomes a completion with a `fault`.

        Raises:
            InputError: A prompt ends with an assistant turn, which the server cannot continue.
            OutageError: The endpoint does not answer, or stopped answering.
        """
        return in_order(self.stream(prompts, group=group, step=step))

    def stream(
        self,
        prompts: Sequence[Prompt],
        *,
        group: int = 1,
        step: int = 0,
        proven: bool = False,
        exact: bool = False,
    ) -> Generator[list[tuple[int, Completion]], None, None]:
        """Yield the completions of `sample` with their index as they arrive.

        Args:
            prompts: The prompts.
            group: Completions per prompt.
            step: Part of the seeds.
            proven: Whether it has answered before this run, so that its first failure is no outage.
            exact: Whether unsupported sampling settings are an error; else the endpoint's
                defaults are used.

        Raises:
            InputError: A prompt ends with an assistant turn, which the server cannot continue.
            OutageError: The endpoint does not answer, or stopped answering.
            SamplingError: It does not support the sampling settings, and `exact` is set.
        """
        asked = [(prompt, s) for prompt in prompts for s in range(group)]
        requests = [
            self.request(f"prompt {p.id}", p.messages, request_seed(self.seed, step, p.id, s))
            for p, s in asked
        ]

        streak = self.streak(len(requests), proven=proven)

        def apart(index: int, lost: Lost) -> Completion:
            return self.completion(*asked[index], Answer("", (), "stop", 0, fault=lost.fault))

        def arrivals() -> Generator[list[tuple[int, Completion | Lost]], None, None]:
            with closing(self.settled(requests, streak, exact=exact)) as come:
                for together in come:
                    yield [
                        (i, self.completion(*asked[i], a) if isinstance(a, Answer) else a)
                        for i, a in together
                    ]

        with closing(arrivals()) as come:
            yield from losses_apart(come, streak, apart)

    def completion(self, prompt: Prompt, sample: int, said: Answer) -> Completion:
        """The completion of an answer."""
        return Completion(
            prompt.id,
            (),
            (),
            said.text,
            said.logprobs,
            (),
            said.finish,
            sample,
            self.seed,
            reported_tokens=said.tokens,
            fault=said.fault,
            thoughts=said.thoughts,
        )

    def ask(self, conversations: Sequence[tuple[Message, ...]]) -> list[Reply]:
        """The model's reply to each conversation.

        A final assistant turn is not continued, since guard models receive finished answers. Seeds
        are derived from the text; repeated conversations in a call get different seeds.

        Raises:
            OutageError: The endpoint does not answer, or stopped answering.
        """
        asked: Counter[str] = Counter()
        requests = []
        for number, messages in enumerate(conversations):
            name = json.dumps([asdict(message) for message in messages])
            seed = request_seed(self.seed, 0, name, asked[name])
            asked[name] += 1
            requests.append(self.request(f"conversation {number}", messages, seed, opened=False))
        found: dict[int, Answer | Lost] = {}
        streak = self.streak(len(requests))
        with closing(self.settled(requests, streak)) as come:
            for together in come:
                found |= together
        streak.end()
        return [reply_of(found[i]) for i in range(len(requests))]

    def greet(self, *, strict: bool = True) -> None:
        """Send a short test request, so that faults are found before the run starts.

        If not `strict`, the endpoint may reject this request, such as for its topic.

        Raises:
            ModelError: The endpoint does not answer.
        """
        with closing(self.together([self.greeting()], self.answer)) as come:
            for ((_, found),) in come:
                if isinstance(found, Lost) and (strict or found.about != "request"):
                    raise ModelError(found.sentence)
                if isinstance(found, Answer):
                    self.contact.note(self.greeting())
                    self.contact.greeted = True

    def greeting(self) -> Request:
        """A short request with the parameters of all others."""
        return self.request("a test request", HELLO, request_seed(self.seed, 0, "hello", 0))

    def request(
        self, what: str, messages: tuple[Message, ...], seed: int, *, opened: bool = True
    ) -> Request:
        """The request for a completion; a final assistant turn is continued if `opened`."""
        body: dict[str, object] = {
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
                    f"{what} ends with an assistant turn, which endpoint {self.url} may not be "
                    "able to continue: set supports_opener if it can, or leave out prefill attacks"
                )
            # Otherwise vLLM and SGLang close the turn and begin another one.
            body |= {"add_generation_prompt": False, "continue_final_message": True}
        return what, body

    def together(
        self, requests: Sequence[Request], one: Callable[[Post, Request], Awaitable[Found]]
    ) -> Generator[list[tuple[int, Found]], None, None]:
        """Yield answers by index as they arrive, at most `concurrency` in flight or unread."""
        address, key = (
            f"{self.url.rstrip('/')}/chat/completions",
            key_for(self.url, self.key_from_env),
        )

        async def main(deliver: Deliver[tuple[int, Found]]) -> None:
            places = asyncio.Semaphore(self.concurrency)

            async def placed(index: int, post: Post) -> None:
                async with places:
                    await deliver((index, await one(post, requests[index])))

            try:
                async with (
                    line(address, key, self.timeout) as post,
                    asyncio.TaskGroup() as tasks,
                ):
                    for index in range(len(requests)):
                        tasks.create_task(placed(index, post))
            except ExceptionGroup as group:
                raise group.exceptions[0] from None

        return streamed(main)

    def streak(self, asked: int, *, proven: bool = False) -> Streak:
        """The failures in a row of a call with so many requests, none so far."""
        known = proven or self.contact.answers
        unproven = SHORTEST_STREAK if known else min(SHORTEST_STREAK, asked)
        return Streak(self.contact, max(self.concurrency, SHORTEST_STREAK), unproven)

    def settled(
        self, requests: Sequence[Request], streak: Streak, *, exact: bool = False
    ) -> Generator[list[tuple[int, Answer | Lost]], None, None]:
        """Yield answers and losses by index as they arrive; nothing is sent after an outage."""
        watch = Watch(self.greeting(), self.contact, streak, len(requests))

        async def one(post: Post, request: Request) -> Answer | Lost | None:
            ask = partial(self.answer, post, streak=streak, exact=exact)
            return await watch.result(ask, request)

        with closing(self.together(requests, one)) as come:
            for together in come:
                yield [(index, found) for index, found in together if found is not None]

    async def answer(
        self,
        post: Post,
        request: Request,
        streak: Streak | None = None,
        *,
        exact: bool = False,
    ) -> Answer | Lost:
        """Send a request until it is answered or fails permanently.

        A request that fails after an outage is not sent again.
        """
        what, body = request
        dialect = shared_dialect(self.identity)
        tried = 0
        while True:
            if exact:
                self.refuse(sorted(dialect.left_out & set(wanted(self.sampling))))
            await self.keep_pace()
            sent = dialect.translated(body)
            found = await post(sent)
            if isinstance(found, Answer):
                if found.unknown_end:
                    dialect.note_end(found.unknown_end)
                return found
            if dialect.learn(sent, found.status, found.payload):
                continue
            if exact and (setting := out_of_range(self.sampling, found.status, found.payload)):
                self.refuse([setting], "such a ")
            tried += 1
            if not found.again or tried == self.tries or (streak and streak.outage):
                return self.lost(found, f"{what} in try {tried} of {self.tries}")
            backoff = min(LONGEST_BACKOFF, 2.0 ** (tried - 1)) * (1 + self.jitter()) / 2
            await self.sleep(max(backoff, found.after))

    def refuse(self, settings: Sequence[str], which: str = "") -> None:
        """Raise SamplingError if there are settings that the endpoint does not support."""
        if settings:
            named = ", ".join(f"{name}={getattr(self.sampling, name):g}" for name in settings)
            reason = f"endpoint {self.url} does not accept {which}{', '.join(settings)}"
            raise SamplingError(reason, named)

    def lost(self, failure: Failure, to: str) -> Lost:
        """A permanent failure, described for the user and for the record."""
        key = self.key_from_env or "the variable of (judge_, attacker_)key_from_env"
        hint = failure.hint(key, self.model)
        sentence = f"endpoint {self.url} {failure.what} to {to}: {hint}"
        fault = f"{failure.kind}: the endpoint {failure.what}"
        return Lost(sentence, fault, failure.about, failure.after > LONGEST_WAIT)

    async def keep_pace(self) -> None:
        """Wait for the next slot of the rate limit."""
        if self.requests_per_minute:
            pace = shared_pace(self.url, self.model, self.requests_per_minute)
            wait = pace.wait(asyncio.get_running_loop().time())
            if wait > 0:
                await self.sleep(wait)


def reply_of(found: Answer | Lost) -> Reply:
    """The reply in what came of a request."""
    if isinstance(found, Lost):
        return Reply("", fault=found.fault)
    return Reply(found.text, cut=found.finish == "length", fault=found.fault)


def request_seed(seed: int, step: int, prompt_id: str, sample: int) -> int:
    """The seed of a request; 31 bits, the maximum that servers accept."""
    name = f"{seed}\0{step}\0{sample}\0{prompt_id}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(name, digest_size=4).digest(), "big") >> 1
