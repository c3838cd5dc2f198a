"""What an endpoint does not take of the parameters that it is sent, learned from its complaints.

`top_k` is no part of OpenAI's API, newer models want `max_completion_tokens`, some fix the
temperature: each server has a dialect, and says so with an error status.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sirl.rollouts.endpoint_reply import dig
from sirl.types import Sampling

__all__ = ["Dialect", "dialects", "out_of_range", "shared_dialect", "wanted"]

RENAMES = {"max_tokens": "max_completion_tokens"}
NEUTRAL = {"temperature": 1.0, "top_p": 1.0, "top_k": 0}
"""What a server does that is sent nothing."""
SPARED = ("top_k", "logprobs", "top_p", "seed", "temperature", "max_tokens")
"""Parameters that may be left out or renamed; of several in one complaint the first goes."""
STATUSES = frozenset({400, 422, 501})
UNKNOWN = re.compile(
    r"un(?:supported|recogni[sz]ed|known|expected)|not (?:supported|permitted|allowed|available)"
    r"|n[o']t support|extra[ _](?:inputs?|fields?|forbidden)|only the default|cannot find field"
    r"|cannot (?:both )?be (?:specified|used|set)|deprecated|no longer|instead|not a valid param",
    re.IGNORECASE,
)
"""A parameter that the server does not take, whatever its value."""
OUT_OF_RANGE = re.compile(
    r"range|between|must be (?!omitted|removed|unset|absent|replaced|left)|at most|at least"
    r"|less than|greater than|too (?:large|high|small|low)",
    re.IGNORECASE,
)
"""A value that the server does not take."""
OF_PROMPT = re.compile(
    r"context|\bcontent\b|\bpolic(?:y|ies)\b|\bprompts?\b|moderation|safety", re.IGNORECASE
)
"""What was asked, or how long it is; such a complaint may name a parameter by the way."""
BETWEEN = (
    r"(?:(?:the|an?|of|for|in|and|is|are|was|be|has|been|not|does|do|this|currently|should|expected"
    r"|supplied|provided|given|got|invalid|values?|param\w*|arg\w*|fields?|options?|settings?|inputs?"
    r"|requests?|keywords?|keys?|body|names?|\w{1,30}_\w{1,30}|[\d.]+)\W{1,4}){0,6}"
)
"""Words that may stand between a parameter and what is said of it."""
MOST_ENDS = 10
LONGEST_TEXT = 2000
"""Characters of a text of an error body that are read."""
DEEPEST = 6
"""Levels of an error body that are read."""


@dataclass
class Dialect:
    """How one model at one endpoint wants to be asked."""

    left_out: set[str] = field(default_factory=set)
    renamed: dict[str, str] = field(default_factory=dict)
    ends: Counter[str] = field(default_factory=Counter)
    """How often answers ended with which reason that is not known."""

    def run_app(self, body: Mapping[str, object]) -> dict[str, object]:
        """A request as this endpoint takes it."""
        return {self.renamed.get(k, k): v for k, v in body.items() if k not in self.left_out}

    def note_end(self, reason: str) -> None:
        """Count an unknown finish reason; after some kinds those that follow are one."""
        kept = reason in self.ends or len(self.ends) < MOST_ENDS
        self.ends[reason if kept else "others"] += 1

    def learn(self, sent: Mapping[str, object], status: int, payload: object) -> bool:
        """Learn from a complaint about a request as it was sent; whether there was anything.

        A request that was under way while another learned the same is to be sent again, too.
        """
        if status not in STATUSES:
            return False
        name = blamed([n for n in SPARED if n in sent], UNKNOWN, payload, sent)
        if name in RENAMES:
            self.renamed[name] = RENAMES[name]
        elif name:
            self.left_out.add(name)
        return bool(name)


def blamed(
    names: Sequence[str], fault: re.Pattern[str], payload: object, sent: Mapping[str, object]
) -> str:
    """The parameter whose fault a complaint says it is; empty where it says that of none.

    It is the one that the body points to, or that stands in quotes or directly beside the fault.
    One that says what the server does anyway comes first, since that costs nothing.
    """
    texts = [text[:LONGEST_TEXT] for text in strings_in(payload)]
    words = " ".join(texts)
    if not fault.search(words) or OF_PROMPT.search(words):
        return ""
    if fault is UNKNOWN and OUT_OF_RANGE.search(words):
        return ""
    if pointed := next((n for n in names if n in pointed_to(payload)), ""):
        return pointed
    named = [n for n in names if any(accused(n, fault, text) for text in texts)]
    idle = [n for n in named if n in NEUTRAL and sent[n] == NEUTRAL[n]]
    return next(iter([*idle, *named]), "")


def pointed_to(payload: object) -> list[object]:
    """What an error body says that it is about, in fields of its own."""
    details = dig(payload, "detail")
    places = [dig(d, "loc") for d in details] if isinstance(details, list) else []
    ends = [place[-1] for place in places if isinstance(place, list) and place]
    return [dig(payload, "error", "param"), dig(payload, "param"), *ends]


def accused(name: str, fault: re.Pattern[str], text: str) -> bool:
    """Whether a text blames a parameter."""
    if not fault.search(text):
        return False
    if name in RENAMES and re.search(rf"(?<!\w){RENAMES[name]}(?!\w)", text):
        return True
    word, says = rf"(?<!\w){name}(?!\w)", f"(?:{fault.pattern})"
    quoted = rf"[`'\"\u2018\u2019\u201c\u201d]{name}[`'\"\u2018\u2019\u201c\u201d]"
    beside = rf"{word}\W{{0,4}}{BETWEEN}{says}|{says}\W{{0,4}}{BETWEEN}{word}"
    return re.search(f"{quoted}|{beside}", text, re.IGNORECASE) is not None


def out_of_range(sampling: Sampling, status: int, payload: object) -> str:
    """The setting of a sampling whose value a complaint is about; empty where it is about none."""
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
    """The parameters without which a sampling would be another one."""
    return [name for name, idle in NEUTRAL.items() if getattr(sampling, name) != idle]


KNOWN: dict[str, Dialect] = {}


def shared_dialect(identity: str) -> Dialect:
    """One dialect for all engines of a model at an endpoint, so that it is learned once."""
    return KNOWN.setdefault(identity, Dialect())


def dialects() -> dict[str, dict[str, list[str]]]:
    """What was learned so far, by endpoint and model; those that took everything are left out."""
    return {
        identity: {
            "left_out": sorted(d.left_out),
            "renamed": [f"{old} to {new}" for old, new in d.renamed.items()],
            **(
                {"unknown_ends": [f"{n} {end}" for end, n in d.ends.most_common()]}
                if d.ends
                else {}
            ),
        }
        for identity, d in KNOWN.items()
        if d.left_out or d.renamed or d.ends
    }
