"""Learns from error messages which request parameters an endpoint does not accept.

`top_k` is not part of OpenAI's API, newer models require `max_completion_tokens`, some fix the
temperature: each server has its dialect and reports it with an error status.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sirl.rollouts.endpoint_reply import DEEPEST, dicts_in
from sirl.types import Sampling

__all__ = ["NEUTRAL", "Dialect", "dialects", "out_of_range", "shared_dialect", "wanted"]

RENAMES = {"max_tokens": "max_completion_tokens"}
NEUTRAL = {"temperature": 1.0, "top_p": 1.0, "top_k": 0}
"""Values that change no distribution, and most servers' defaults."""
SPARED = ("stream_options", "top_k", "logprobs", "top_p", "seed", "temperature", "max_tokens")
"""Parameters that may be omitted or renamed; if an error names several, the first one."""
STATUSES = frozenset({400, 422, 501})
UNKNOWN = re.compile(
    r"un(?:supported|recogni[sz]ed|known|expected)|disallowed|incompatible|not something"
    r"|not (?:supported|permitted|allowed|available|accepted|implemented|recogni[sz]ed|compatible)"
    r"|n[o']t (?:support|accept|understand|recogni[sz]e)|extra[ _](?:inputs?|fields?|forbidden)"
    r"|only the default|cannot find field|deprecated|no longer|instead|not a valid param"
    r"|(?:can(?: ?no|')t|(?:may|must|should)(?: no|n')t) (?:both )?be (?:specified|used|set|passed"
    r"|sent|given|provided|included)(?! to [\d.])"
    r"|(?:must|should) be (?:omitted|removed|unset|absent|replaced)"
    r"|(?:use|pass|send|specify|expects?|requires?)\W+(?:(?:the|param\w*|field)\W+){0,2}"
    r"max_completion_tokens(?!\w)",
    re.IGNORECASE,
)
"""Says that a parameter is not supported at all."""
OUT_OF_RANGE = re.compile(
    r"range|between|(?:must|should) be (?!omitted|removed|unset|absent|replaced|left)|at most"
    r"|at least|less than|greater than|exceed|outside|too (?:large|high|small|low)"
    r"|(?:above|below) (?:the )?m(?:ax|in)imum",
    re.IGNORECASE,
)
"""Says that a value is not accepted."""
OF_PROMPT = re.compile(
    r"context|\bcontent\b|\bpolic(?:y|ies)\b|\bprompts?\b|moderation|safety", re.IGNORECASE
)
"""Errors about the prompt or its length, which may mention a parameter in passing."""
OF_VALUE = re.compile(
    r"value|\btype|integer|number|float|string|boolean|literal|parsing|assertion|required"
    r"|\binvalid\b(?! (?:param|arg|field|key|option|setting|request))|(?:must|should) be|expected"
    r"|limit|\bm(?:ax|in)imum|positive|negative|larger|smaller|higher|lower|(?<![\w.-])(?!4\d\d\b)\d",
    re.IGNORECASE,
)
"""May be about a value, which the user has to change; a number that is no status may be one."""
BETWEEN = (
    r"(?:(?:the|an?|of|for|in|and|is|are|was|be|has|been|not|does|do|this|currently|should|expected"
    r"|on|by|with|it|which|use|using|models?|endpoint|server|api|provider|deployment|fixed"
    r"|supplied|provided|given|got|invalid|values?|param\w*|arg\w*|fields?|options?|settings?|inputs?"
    r"|requests?|keywords?|keys?|body|names?|\w{1,30}_\w{1,30}|[\d.]+)\W{1,4}){0,6}"
)
"""Words allowed between a parameter name and the statement about it."""
MOST_ENDS = 10
LONGEST_TEXT = 2000
"""Characters read of each text in an error body."""


@dataclass
class Dialect:
    """Request parameters to omit or rename for one model at one endpoint."""

    left_out: set[str] = field(default_factory=set)
    left_out_if_neutral: set[str] = field(default_factory=set)
    """Those of which only the server's default value is not accepted."""
    renamed: dict[str, str] = field(default_factory=dict)
    ends: Counter[str] = field(default_factory=Counter)
    """Number of answers by unknown finish reason."""

    def translated(self, body: Mapping[str, object]) -> dict[str, object]:
        """A request body that this endpoint accepts."""
        idle = {k for k in self.left_out_if_neutral if body.get(k) == NEUTRAL[k]}
        kept = body.keys() - self.left_out - idle
        return {self.renamed.get(k, k): v for k, v in body.items() if k in kept}

    def note_end(self, reason: str) -> None:
        """Count an unknown finish reason; from the eleventh kind on as 'others'."""
        kept = reason in self.ends or len(self.ends) < MOST_ENDS
        self.ends[reason if kept else "others"] += 1

    def learn(self, sent: Mapping[str, object], status: int, payload: object) -> bool:
        """Learn from the error response to a request; whether the request should be sent again.

        Also true if a concurrent request has already learned the same.
        """
        if status not in STATUSES:
            return False
        name = blamed([n for n in SPARED if n in sent], UNKNOWN, payload, sent)
        neutral = [n for n, value in NEUTRAL.items() if sent.get(n) == value]
        if name in RENAMES:
            self.renamed[name] = RENAMES[name]
        elif name:
            self.left_out.add(name)
        elif name := blamed(neutral, OUT_OF_RANGE, payload, sent):
            self.left_out_if_neutral.add(name)
        return bool(name)


def blamed(
    names: Sequence[str], fault: re.Pattern[str], payload: object, sent: Mapping[str, object]
) -> str:
    """The parameter that an error blames; empty if none.

    This is the one in the body's field for it, whatever the words unless they may be about its
    value; or one in quotes, next to the words of the fault or listed behind them.
    A parameter with the server's default value has priority, since omitting it changes nothing.
    """
    texts = [text[:LONGEST_TEXT] for text in strings_in(payload)]
    words = " ".join(texts)
    pointed = next((n for n in names if n in pointed_to(payload)), "")
    said = fault.search(words) or (fault is UNKNOWN and pointed and not OF_VALUE.search(words))
    if not said or OF_PROMPT.search(words):
        return ""
    if fault is UNKNOWN and OUT_OF_RANGE.search(words):
        return ""
    if pointed:
        return pointed
    named = [n for n in names if any(accused(n, fault, text) for text in texts)]
    idle = [n for n in named if n in NEUTRAL and sent[n] == NEUTRAL[n]]
    return next(iter([*idle, *named]), "")


def pointed_to(payload: object) -> list[object]:
    """The values of an error body's fields for the name of a parameter."""
    found = []
    for inner in dicts_in(payload):
        place = inner.get("loc")
        found += [inner.get("param"), *(place if isinstance(place, list) else ())]
    return found


def accused(name: str, fault: re.Pattern[str], text: str) -> bool:
    """Whether a text blames a parameter."""
    if not fault.search(text):
        return False
    if name in RENAMES and re.search(rf"(?<!\w){RENAMES[name]}(?!\w)", text):
        return True
    word, says = rf"(?<!\w){name}(?!\w)", f"(?:{fault.pattern})"
    quoted = rf"[`'\"\u2018\u2019\u201c\u201d]{name}[`'\"\u2018\u2019\u201c\u201d]"
    adjacent = rf"{word}\W{{0,4}}{BETWEEN}{says}|{says}\W{{0,4}}{BETWEEN}{word}"
    listed = rf"{says}[^:;\n]{{0,80}}:\s*(?:\w+(?:,| and)\s*)*{word}(?:(?:,| and)\s*\w+)*\W*$"
    return re.search(f"{quoted}|{adjacent}|{listed}", text, re.IGNORECASE) is not None


def out_of_range(sampling: Sampling, status: int, payload: object) -> str:
    """The sampling setting whose value an error rejects; empty if none."""
    if status not in STATUSES:
        return ""
    return blamed(wanted(sampling), OUT_OF_RANGE, payload, vars(sampling))


def strings_in(payload: object, depth: int = 0) -> Iterable[str]:
    """All texts of an error body."""
    if isinstance(payload, str):
        yield payload
    elif depth < DEEPEST and isinstance(payload, dict | list):
        for inner in payload.values() if isinstance(payload, dict) else payload:
            yield from strings_in(inner, depth + 1)


def wanted(sampling: Sampling) -> list[str]:
    """The sampling settings that differ from the server's defaults."""
    return [name for name, idle in NEUTRAL.items() if getattr(sampling, name) != idle]


KNOWN: dict[str, Dialect] = {}


def shared_dialect(identity: str) -> Dialect:
    """The dialect of a model at an endpoint, shared by all engines, so that it is learned once."""
    return KNOWN.setdefault(identity, Dialect())


def dialects() -> dict[str, dict[str, list[str]]]:
    """The dialects learned so far, by endpoint and model, without empty ones."""
    return {
        identity: {
            "left_out": sorted(d.left_out | d.left_out_if_neutral),
            "renamed": [f"{old} to {new}" for old, new in d.renamed.items()],
            **(
                {"unknown_ends": [f"{n} {end}" for end, n in d.ends.most_common()]}
                if d.ends
                else {}
            ),
        }
        for identity, d in KNOWN.items()
        if d.left_out or d.left_out_if_neutral or d.renamed or d.ends
    }
