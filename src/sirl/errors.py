"""Errors that a user can fix.

    SirlError              one sentence with the cause and the fix; exit status 2, no traceback
    ├── ConfigError        an unknown, invalid or conflicting setting
    ├── InputError         an unusable prompt file, table or record
    ├── ModelError         an unusable checkpoint, tokenizer or template
    │   ├── OutageError    an endpoint or function that does not answer at present
    │   └── SamplingError  sampling settings that a model does not accept
    ├── RunError           a run folder that exists, is locked, damaged or full
    ├── PluginError      an exception in the user's own judge, attack, reward or the like, or what
    │                    it returned is unusable
    ├── TrainingError      training that cannot continue (non-finite numbers)
    └── MissingExtraError  a missing optional dependency

Any other exception is a bug and shows its traceback, except `Stopped`: work that stopped on request
with everything saved.
"""

import difflib
import os
import unicodedata
from collections.abc import Iterable

__all__ = [
    "ConfigError",
    "InputError",
    "MissingExtraError",
    "ModelError",
    "OutageError",
    "PluginError",
    "RunError",
    "SamplingError",
    "SirlError",
    "Stopped",
    "TrainingError",
    "did_you_mean",
    "first_line",
    "lost_rank",
    "printable",
    "shown",
    "unknown_name",
]


class SirlError(Exception):
    """Base class of errors that a user can fix."""


class ConfigError(SirlError, ValueError):
    """An unknown, invalid or conflicting setting."""


class InputError(SirlError, ValueError):
    """A file of prompts, behaviours or records that cannot be used."""


class ModelError(SirlError, ValueError):
    """A checkpoint, tokenizer or chat template that cannot be used."""


class OutageError(ModelError):
    """An endpoint or function that does not answer at present; the run can be resumed."""


class SamplingError(ModelError):
    """Sampling settings that a model does not accept."""

    def __init__(self, reason: str, setting: str) -> None:
        super().__init__(reason)
        self.setting = setting
        """The rejected setting, such as `top_k=20`."""


class RunError(SirlError, OSError):
    """A run folder that exists, is locked, damaged, or on a full disk."""


class PluginError(SirlError):
    """Code that the user has plugged in raised an exception or returned something unusable."""


class TrainingError(SirlError, ArithmeticError):
    """Training that cannot continue: its numbers are not finite."""


class MissingExtraError(SirlError, ImportError):
    """An optional dependency that a feature needs and this environment lacks."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs the extra {extra!r}: pip install 'sirl[{extra}]'")


class Stopped(Exception):  # noqa: N818 - not an error
    """Work stopped on request; what was done is saved."""


def lost_rank(error: Exception) -> bool:
    """Whether an error means that another rank has ended."""
    many = int(os.environ.get("WORLD_SIZE", "1")) > 1
    signs = ("by peer", "NCCL", "Timed out", "timed out")
    return many and isinstance(error, RuntimeError) and any(sign in str(error) for sign in signs)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint with the closest known word, or with all known words if none is close.

    >>> did_you_mean("temprature", ["temperature", "top_p"])
    "Did you mean 'temperature'?"
    >>> did_you_mean("zebra", ["temperature", "top_p"])
    'Known: temperature, top_p.'
    >>> did_you_mean("zebra", [])
    'There is nothing to choose from.'
    """
    known = sorted(known)
    if not known:
        return "There is nothing to choose from."
    near = difflib.get_close_matches(word, known, n=1)
    return f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(known)}."


def unknown_name(kind: str, name: str, known: Iterable[str]) -> ConfigError:
    """The error for an unknown name, with the closest known one.

    >>> print(unknown_name("reward", "entropy", ["negative_entropy", "random"]))
    there is no reward 'entropy'. Did you mean 'negative_entropy'?
    """
    return ConfigError(f"there is no {kind} {name!r}. {did_you_mean(name, known)}")


HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
"""Unicode categories of invisible characters and line separators."""


def printable(text: str) -> str:
    r"""The text with control, direction and invisible characters as escapes.

    >>> printable("a\u202eb\x1b[2J")
    'a\\u202eb\\u001b[2J'
    """
    return "".join(f"\\u{ord(c):04x}" if unicodedata.category(c) in HIDDEN else c for c in text)


LONGEST_SHOWN = 100
"""Maximum characters shown of a value that a plug-in has returned."""


def shown(value: object) -> str:
    """A value that a plug-in has returned, as a message shows it.

    >>> shown(["maybe"])
    "['maybe']"
    """
    text = printable(repr(value))
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "…"


LONGEST_REASON = 300
"""Maximum characters quoted from another error."""


def first_line(error: Exception) -> str:
    """The first line of another library's error, printable, shortened, without a full stop."""
    lines = str(error).strip().splitlines()
    if not lines:
        return type(error).__name__
    first = printable(lines[0]).rstrip(".")
    cut = first if len(first) <= LONGEST_REASON else first[:LONGEST_REASON] + "…"
    return f"{cut} ({type(error).__name__})"
