"""Parses HTTP responses of chat endpoints into answers and failures."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from sirl.rollouts.arrivals import About
from sirl.types import Finish

__all__ = [
    "DEEPEST",
    "LONGEST_WAIT",
    "Answer",
    "Failure",
    "asked_wait",
    "complaint_in",
    "dicts_in",
    "dig",
    "understood",
]

LONGEST_WAIT = 300.0  # seconds; a longer pause means an exhausted quota
LONGEST_COMPLAINT = 200  # characters of an endpoint's message, which may quote the prompt
LONGEST_PLAIN = 2000  # characters of an error that is not JSON
DEEPEST = 6  # nesting levels read of an error body
STREAMED = ("data:", "event:")
"""How a stream of events begins."""
OTHER_URL = "check that the url is that of a chat API"
LONGEST_REASON = 40  # characters of a finish reason
MOST_TOKENS = 2**31
"""Higher token counts are ignored as invalid."""
WAYS_OUT = {
    3: "give the address that it points to",
    4: "change what it objects to",
    5: "check its log, or raise tries",
    401: "set {key} to a key that may use {model}",
    402: "check that the account of {key} has credit",
    403: "set {key} to a key that may use {model}",
    404: "check the url and the model name {model}",
    408: "raise timeout or lower concurrency",
    429: "lower concurrency or set requests_per_minute",
}
"""Hints by HTTP status, or by its first digit."""
FILTER = re.compile(
    r"content[ _-]?(?:filter|policy|management)|responsible ?ai|moderation|flagged|guardrail"
    r"|data_?inspection|prohibited_content|blocklist|^safety$|safety (?:system|filter|setting)"
    r"|(?:harmful|unsafe|inappropriate|disallowed|sensitive|explicit|toxic) content"
    r"|(?:usage|safety|community|acceptable use) (?:polic(?:y|ies)|guidelines)"
    r"|violat\w+ (?:\w+ ){0,3}(?:polic(?:y|ies)|guidelines|rules|terms)",
    re.IGNORECASE,
)
"""Names of content filters in codes, messages and finish reasons."""
OF_ACCOUNT = re.compile(
    r"(?<![a-z])(?:billing|credits?|quota|balance|subscription|suspended|deactivated|api[ _-]?key"
    r"|(?:account|organi[sz]ation)(?: is| was| has been)? disabled)(?![a-z])",
    re.IGNORECASE,
)
"""Errors about the account, which are none of a content filter whatever else they say."""
QUOTED = re.compile(
    r"""(?<!\w)'.*?'(?!\w)|"[^"]*"|`[^`]*`|\u2018.*?\u2019(?!\w)|\u201c[^\u201d]*\u201d"""
    r"|https?://\S+",
    re.DOTALL,
)
"""Quoted text in an error, which may be the prompt, and addresses of help pages."""
PREFIX = "finish_reason_"
CUT = re.compile(
    r"(?:model_|context_|max_)?length(?:_exceeded|_capped)?|model_context_window_exceeded"
    r"|max_(?:(?:new|output|completion)_)?tokens|token_limit|truncated|incomplete"
)
"""Finish reasons of answers cut at the maximum length, in lower case."""
ENDED = frozenset(
    {"stop", "end_turn", "stop_sequence", "eos", "eos_token", "end_of_text", "complete",
     "completed", "tool_calls", "tool_use", "function_call"}
)  # fmt: skip
"""Finish reasons of complete answers."""
BLOCKED = frozenset({"refusal", "recitation", "sensitive", "spii", "blocked"})
"""Finish reasons of filters, if there is no text."""
THOUGHT = re.compile("reason|think|thought", re.IGNORECASE)
"""In the types of parts that are thoughts."""
BROKEN_OFF = re.compile(
    r"(?:\w+_)?error|failed|failure|abort(?:ed)?|cancell?ed|timeout|insufficient_system_resource"
)
"""Finish reasons of answers that the server aborted."""
FILTERING = frozenset({400, 403, 422, 451, 502})
"""Statuses of a content filter; 502 if a gateway reports the error as a success."""
ACCOUNTING = frozenset({402, 403, 429})
"""Statuses whose hint gives way to that of an error about the account."""
REFUSED_TO_ALL = frozenset({401, 407})
"""Statuses of a key that is not accepted, whatever the request."""
AT_PRESENT = frozenset({402, 408, 429})
"""Statuses about the account or the load, which may depend on the size of a request."""


@dataclass(frozen=True)
class Answer:
    """A parsed answer."""

    text: str
    logprobs: tuple[float, ...]
    finish: Finish
    tokens: int
    """Number of tokens; 0 if missing or invalid."""
    thoughts: str = ""
    fault: str = ""
    """Why there is no text to judge, as `kind: what happened`; empty if there is one."""
    unknown_end: str = ""
    """The finish reason if it is unknown; then it is unclear whether the answer was cut."""
    payload: object = None
    """The parsed body, for what only some callers read."""


@dataclass(frozen=True)
class Failure:
    """A request without an answer: what happened, and what the user can do."""

    what: str
    way_out: str
    """With `{key}` and `{model}` for names that `hint` fills in."""
    kind: str
    """A short category, for counting."""
    about: About = "endpoint"
    again: bool = True
    """Whether to send the same request again."""
    after: float = 0.0
    """Seconds to wait, as requested by the endpoint."""
    status: int = 0
    """HTTP status; 0 without a response."""
    payload: object = None
    """The parsed body."""

    def hint(self, key: str, model: str) -> str:
        """What the user can do.

        Args:
            key: What holds the key.
            model: Name of the model.
        """
        return self.way_out.format(key=key, model=model)


def understood(
    status: int, headers: Mapping[str, str], content: bytes, key: str, limit: object = None
) -> Answer | Failure:
    """The answer in an HTTP response, or the failure.

    `limit` is the maximum number of tokens that was sent.
    """
    try:
        payload: object = json.loads(content)
    except RecursionError:
        what, way_out = f"answered {status} with JSON nested too deep", "check its log"
        return Failure(what, way_out, "unreadable", "request", again=False)
    except ValueError:
        payload = plain_text(content)
    error = dig(payload, "error")
    if 200 <= status < 300 and error and dig(payload, "choices", 0) is None:
        code = str(dig(error, "code"))  # a gateway may report an error with status 200
        status = int(code) if re.fullmatch("[45][0-9]{2}", code) else 502
    if 200 <= status < 300:
        if dig(payload, "choices") == []:
            fault = "no choices: the endpoint answered with an empty list of choices"
            return Answer("", (), "stop", 0, fault=fault)
        first = dig(payload, "choices", 0)
        if not isinstance(dig(first, "message"), dict) and (form := other_form(first, content)):
            what, way_out = f"answered {status} {form[0]}{complaint_in(payload, key)}", form[1]
            return Failure(what, way_out, "no choices", "request")
        if BROKEN_OFF.fullmatch(reason := reason_in(first)):
            what = f"aborted its answer, {on_one_line(reason)}"
            return Failure(what, "check its log, or raise tries", "broken off", "server")
        return answer_in(payload, count_of(limit))
    return refused(status, headers, payload, key)


def plain_text(content: bytes) -> str | None:
    """The text of a body that is not JSON; None if it is long, a page or data.

    >>> plain_text(b"unknown argument: seed"), plain_text(b"<html>"), plain_text(b'{"error": "')
    ('unknown argument: seed', None, None)
    """
    text = content.decode(errors="replace").strip()
    shown = all(c.isprintable() or c.isspace() for c in text)
    other = not text or text.startswith(("<", "{", "[", *STREAMED))
    return text if shown and not other and len(text) <= LONGEST_PLAIN else None


def other_form(choice: object, content: bytes) -> tuple[str, str] | None:
    """The form of a reply without a message, with the way out; None if it is just empty."""
    streamed = content.lstrip().startswith(tuple(map(str.encode, STREAMED)))
    if isinstance(dig(choice, "delta"), dict) or streamed:
        return "with a chunk of a stream", "turn streaming off at the server"
    if isinstance(dig(choice, "text"), str):
        return "with a reply of the completions API", OTHER_URL
    return None if dig(choice, "finish_reason") else ("without choices", OTHER_URL)


def refused(status: int, headers: Mapping[str, str], payload: object, key: str) -> Failure:
    """The failure for an error status."""
    what, after = f"answered {status}{complaint_in(payload, key)}", asked_wait(headers)
    kind, about = f"status {status}", about_status(status)
    if status in FILTERING and (code := filter_code(payload, key)):
        what, kind, about = f"blocked it by its content filter, {code}", "content filter", "prompt"
    if after > LONGEST_WAIT:
        way_out = f"it asks for a pause of {after:g} s; try again then"
        return Failure(what, way_out, kind, about, False, after, status, payload)
    way_out = WAYS_OUT.get(status, WAYS_OUT.get(status // 100, "check the url"))
    account = any(map(of_account, (*codes_in(payload), message_in(payload, key))))
    if account and (status in ACCOUNTING or status not in WAYS_OUT):
        way_out = "check the account of {key}"
    again = about != "prompt" and (status in (408, 429) or status >= 500)
    return Failure(what, way_out, kind, about, again, after, status, payload)


def about_status(status: int) -> About:
    """The scope of an error status."""
    if status in REFUSED_TO_ALL:
        return "endpoint"
    return "server" if status >= 500 or status in AT_PRESENT else "request"


def filter_code(payload: object, key: str) -> str:
    """The code or message of a content filter in an error; empty if there is none."""
    said = (*codes_in(payload), message_in(payload, key))
    named = (t for t in said if FILTER.search(t) and not of_account(t))
    return on_one_line(next(named, ""))


def codes_in(payload: object) -> list[str]:
    """The codes and types of an error."""
    places = (("error", "code"), ("error", "innererror", "code"), ("error", "type"), ("code",))
    return [c for place in places if isinstance(c := dig(payload, *place), str)]


def of_account(text: str) -> bool:
    """Whether an error is about the account; quoted text and addresses do not count.

    >>> of_account("Your credit balance is too low."), of_account("'a credit card' is too long")
    (True, False)
    """
    return bool(OF_ACCOUNT.search(QUOTED.sub(" ", text)))


def answer_in(payload: object, limit: int) -> Answer:
    """The first choice of a response, with a fault if it has no text to judge.

    An answer of `limit` tokens was cut, if the endpoint does not say how it ended.
    """
    choice = dig(payload, "choices", 0)
    message = dig(choice, "message")
    content, thoughts = parts_of(dig(message, "content"))
    refusal = dig(message, "refusal")
    if not content and isinstance(refusal, str):
        content = refusal
    used = count_of(dig(payload, "usage", "completion_tokens"))
    reason = reason_in(choice) or ("length" if 0 < limit <= used else "")
    known = (
        not reason or reason in ENDED | BLOCKED or CUT.fullmatch(reason) or FILTER.search(reason)
    )
    tokens = dig(choice, "logprobs", "content")
    logprobs = [dig(token, "logprob") for token in tokens] if isinstance(tokens, list) else []
    numbers = tuple(float(p) for p in logprobs if isinstance(p, int | float))
    for name in ("reasoning_content", "reasoning"):
        if isinstance(said := dig(message, name), str) and said:
            thoughts = said
            break
    return Answer(
        content or "",
        numbers if len(numbers) == len(logprobs) else (),
        "length" if CUT.fullmatch(reason) else "stop",
        used,
        thoughts,
        fault_of(message, content, reason),
        "" if known else on_one_line(reason)[:LONGEST_REASON],
        payload,
    )


def reason_in(choice: object) -> str:
    """The finish reason of a choice in lower case, without prefix; empty if missing."""
    reason = dig(choice, "finish_reason")
    return "" if reason is None else str(reason).casefold().removeprefix(PREFIX)


def fault_of(message: object, content: str | None, reason: str) -> str:
    """Why a choice has no text to judge; empty if it has text or is an empty string.

    Text in front of a tool call announces the call: the answer would follow the tool's result.
    """
    if FILTER.search(reason) or (reason in BLOCKED and not content):
        code = on_one_line(reason)
        return f"content filter: the endpoint's content filter blocked it, {code}"
    if not content and CUT.fullmatch(reason):
        return "cut off: new_tokens ran out before the answer began; raise new_tokens"
    if dig(message, "tool_calls") or dig(message, "function_call"):
        return "tool calls: the endpoint answered with tool calls"
    if content is not None:
        return ""
    null = dig(message, "content") is None
    return f"{'null' if null else 'unreadable'} content: the endpoint answered with no text"


def parts_of(content: object) -> tuple[str | None, str]:
    """Text and thoughts of a message's content: a string, or a list of parts."""
    if isinstance(content, str):
        return content, ""
    texts, thoughts = [], []
    for part in content if isinstance(content, list) else []:
        is_thought = THOUGHT.search(str(dig(part, "type"))) or dig(part, "thought") is True
        thoughts += text_of(part, "thinking", "reasoning", "summary", *("text",) * bool(is_thought))
        texts += [] if is_thought else text_of(part, "text", "refusal")
    return ("".join(texts) if texts else None), "".join(thoughts)


def text_of(part: object, *names: str) -> list[str]:
    """The texts in the first field of these that has any: a string, or a list of parts."""
    for name in names:
        value = dig(part, name)
        inner = value if isinstance(value, list) else [{"text": value}]
        if texts := [t for p in inner if isinstance(t := dig(p, "text"), str)]:
            return texts
    return []


def count_of(used: object) -> int:
    """The token count that an endpoint reports; 0 if invalid."""
    if isinstance(used, bool) or not isinstance(used, int):
        return 0
    return used if 0 <= used <= MOST_TOKENS else 0


def complaint_in(payload: object, key: str) -> str:
    """The endpoint's error message in brackets, shortened."""
    plain = on_one_line(message_in(payload, key))
    return f" ({plain})" if plain else ""


def message_in(payload: object, key: str) -> str:
    """The endpoint's error message without the key; a gateway's with that of its provider."""
    places = (("error", "message"), ("error",), ("message",), ("detail",), ())
    texts = [dig(payload, *place) for place in places]
    texts += [inner.get(name) for inner in dicts_in(payload) for name in ("message", "msg")]
    text = next((t for t in texts if isinstance(t, str)), "")
    if isinstance(raw := dig(payload, "error", "metadata", "raw"), str):
        text = f"{text}: {inner_message(raw)}"
    return text.replace(key, "***") if key else text


def inner_message(raw: str) -> str:
    """The message in a provider's error; the whole if it is no JSON with a message."""
    try:
        return message_in(json.loads(raw), "") or raw
    except (ValueError, RecursionError):
        return raw


def on_one_line(text: str) -> str:
    """A server's text on one line, without unprintable characters."""
    return "".join(c if c.isprintable() else " " for c in text).strip()[:LONGEST_COMPLAINT]


def asked_wait(headers: Mapping[str, str]) -> float:
    """Seconds to wait by `Retry-After`; a date is relative to the server's clock. 0 if missing."""
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


def dicts_in(payload: object, depth: int = 0) -> Iterator[dict[str, object]]:
    """All objects in parsed JSON, outer ones first, down to a depth."""
    if isinstance(payload, dict):
        yield payload
    if depth < DEEPEST and isinstance(payload, dict | list):
        for inner in payload.values() if isinstance(payload, dict) else payload:
            yield from dicts_in(inner, depth + 1)


def dig(value: object, *path: str | int) -> object:
    """The value at a path in parsed JSON; None if missing."""
    for step in path:
        if isinstance(value, dict) and isinstance(step, str):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            return None
    return value
