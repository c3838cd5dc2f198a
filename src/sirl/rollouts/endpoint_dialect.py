"""What an endpoint does not take of the parameters that it is sent, learned from its complaints.

`top_k` is no part of OpenAI's API, newer models want `max_completion_tokens`, some fix the
temperature: each server has a dialect, and says so with an error status.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
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
    r"range|between|must be|at most|at least|less than|greater than|too (?:large|high|small)",
    re.IGNORECASE,
)
"""A value that the server does not take."""
MOST_ENDS = 10
DEEPEST = 6
"""Levels of an error body that are read."""


@dataclass
class Dialect:
    """How one model at one endpoint wants to be asked."""

    left_out: set[str] = field(default_factory=set)
    renamed: dict[str, str] = field(default_factory=dict)
    ends: Counter[str] = field(default_factory=Counter)
    """How often answers ended with which reason that is not known."""

    def spoken(self, body: Mapping[str, object]) -> dict[str, object]:
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
        words = " ".join(texts_in(payload))
        if not UNKNOWN.search(words):
            return False
        name = blamed(sent, words, payload)
        if name in RENAMES:
            self.renamed[name] = RENAMES[name]
        elif name:
            self.left_out.add(name)
        return bool(name)


def blamed(sent: Mapping[str, object], words: str, payload: object) -> str:
    """The parameter that a complaint is about; empty where it is about none that can be spared."""
    param = dig(payload, "error", "param")
    if param in sent and param in SPARED:
        return str(param)
    named = [n for n in SPARED if n in sent and re.search(rf"(?<!\w){n}(?!\w)", words)]
    # A parameter that says what the server does anyway costs nothing.
    idle = [n for n in named if n in NEUTRAL and sent[n] == NEUTRAL[n]]
    return next(iter([*idle, *named]), "")


def out_of_range(sampling: Sampling, status: int, payload: object) -> str:
    """The setting of a sampling whose value a complaint is about; empty where it is about none."""
    words = " ".join(texts_in(payload))
    if status not in STATUSES or not OUT_OF_RANGE.search(words):
        return ""
    return next((n for n in wanted(sampling) if re.search(rf"(?<!\w){n}(?!\w)", words)), "")


def texts_in(payload: object, depth: int = 0) -> Iterable[str]:
    """All texts of an error body."""
    if isinstance(payload, str):
        yield payload
    elif depth < DEEPEST and isinstance(payload, dict | list):
        for inner in payload.values() if isinstance(payload, dict) else payload:
            yield from texts_in(inner, depth + 1)


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
