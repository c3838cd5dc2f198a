"""Chat templates: third-party programs, run with limits and a fixed clock.

A template may loop, allocate, write the date or raise anything. It runs in transformers' sandbox
with limits on steps and memory; `strftime_now` returns the start time of the run, so that a run
resumed on another day renders the same prompts.
"""

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from jinja2 import Environment, TemplateSyntaxError
from jinja2.meta import find_undeclared_variables
from transformers import PreTrainedTokenizerBase
from transformers.utils import chat_template_utils

from sirl.errors import ModelError, did_you_mean, first_line

__all__ = [
    "PLACE",
    "Voice",
    "check_template",
    "dates_written",
    "fitted",
    "left_out",
    "omission",
    "turn_end",
    "turn_gap",
]

PLACE = "qzx7"
"""Placeholder for the content of a message; does not occur in templates."""
STEPS = 300_000
"""Maximum template lines executed per conversation; ordinary templates need hundreds."""
LONGEST = 1 << 24
"""Maximum characters of a rendered conversation, in addition to 16 times its content."""
MEMORY = 1 << 30
"""Bytes that a template may allocate during its trial."""
WORDS = 200
"""Words per message of a test conversation, so that a template that shortens messages shows."""
WORD = re.compile(rf"{PLACE}-\d+-\d+\.")
"""A word of such a message: the numbers of the message and of the word."""
AS_LIST = re.compile(rf"""["']text["']:\s*["']{PLACE}-(\d+)-""")
"""The beginning of a message whose list of parts is written instead of the text in it."""
ASKED = (("user",), ("system", "user"), ("user", "assistant", "user"))
"""Roles of the conversations that show how a template reads messages; a user's stands first."""
RESERVED = frozenset(
    {
        "messages",
        "add_generation_prompt",
        "continue_final_message",
        "tokenize",
        "chat_template",
        "strftime_now",
    }
)
"""Template variables that sirl sets."""


class Runaway(Exception):  # noqa: N818 - describes the template
    """A template exceeded its limit on steps."""


@dataclass(frozen=True)
class Voice:
    """Arguments and clock of a chat template."""

    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Template variables such as `enable_thinking`."""
    clock: datetime = field(default_factory=datetime.now)
    """The time that the template may write."""
    in_parts: bool = False
    """Whether the template reads the content of a message as a list of parts."""

    def text(
        self,
        tokenizer: PreTrainedTokenizerBase,
        turns: Sequence[Mapping[str, str]],
        *,
        answers: bool = True,
        goes_on: bool = False,
    ) -> str:
        """Render a conversation; templates were tested within limits when loaded.

        Args:
            tokenizer: The tokenizer with the template.
            turns: Role and content of each message.
            answers: Whether to add the generation prompt.
            goes_on: Whether to leave the last turn open.

        Raises:
            ModelError: The output is far longer than the conversation.
            Exception: Any error of the template.
        """
        return self.written(tokenizer, turns, answers=answers, goes_on=goes_on)[0]

    def written(
        self,
        tokenizer: PreTrainedTokenizerBase,
        turns: Sequence[Mapping[str, str]],
        *,
        answers: bool,
        goes_on: bool = False,
    ) -> tuple[str, list[str]]:
        """The rendered conversation, and the dates the template wrote."""
        with self.telling(tokenizer) as told:
            found: Any = tokenizer.apply_chat_template(
                [self.message(turn) for turn in turns],
                tokenize=False,
                add_generation_prompt=answers,
                continue_final_message=goes_on,
                **self.arguments,
            )
        size = sum(len(turn["content"]) for turn in turns)
        if len(found) > LONGEST + 16 * size:
            raise ModelError(
                f"the chat template of {tokenizer.name_or_path} writes {len(found)} characters for "
                f"{size}: fix its chat_template"
            )
        return found, told

    def message(self, turn: Mapping[str, str]) -> dict[str, Any]:
        """A message as the template reads it."""
        if not self.in_parts:
            return dict(turn)
        return {**turn, "content": [{"type": "text", "text": turn["content"]}]}

    @contextmanager
    def telling(self, tokenizer: PreTrainedTokenizerBase) -> Iterator[list[str]]:
        """Make the template's `strftime_now` use `clock`; yields the list of dates written.

        Restores transformers' function afterwards, since compiled templates are cached globally.
        """
        told: list[str] = []
        template = tokenizer.get_chat_template()
        names: Any = chat_template_utils._compile_jinja_template(template).globals
        before = names["strftime_now"]
        names["strftime_now"] = partial(noted, told, self.clock)
        try:
            yield told
        finally:
            names["strftime_now"] = before


def noted(told: list[str], clock: datetime, form: str) -> str:
    """The time of the clock as a template asks for it, added to what was told."""
    told.append(clock.strftime(form))
    return told[-1]


@contextmanager
def within_bounds(where: str) -> Iterator[None]:
    """Run a template with limits; ModelError if it exceeds steps or memory."""
    try:
        with bounded_memory(), counted():
            yield
    except (Runaway, MemoryError) as error:
        raise ModelError(
            f"the chat template of {where} does not end within {STEPS} steps and "
            f"{MEMORY >> 20} MiB: fix its chat_template"
        ) from error


@contextmanager
def counted() -> Iterator[None]:
    """Count executed template lines; raise `Runaway` above the limit."""
    steps = 0

    def watch(frame: FrameType, _: str, __: object) -> Callable[..., Any] | None:
        nonlocal steps
        steps += 1
        if steps > STEPS:
            raise Runaway
        return watch if frame.f_code.co_filename == "<template>" else None

    before = sys.gettrace()
    sys.settrace(watch)
    try:
        yield
    finally:
        sys.settrace(before)


@contextmanager
def bounded_memory() -> Iterator[None]:
    """Limit the growth of this process to `MEMORY` bytes, on systems that support it."""
    try:
        import resource  # noqa: PLC0415 - POSIX only

        pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    except (ImportError, OSError):
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = pages * resource.getpagesize() + MEMORY
    if soft == resource.RLIM_INFINITY or most < soft:
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def check_template(where: str, tokenizer: PreTrainedTokenizerBase, voice: Voice) -> None:
    """Check that a template runs within limits and reads its arguments.

    Raises:
        ModelError: It does not, or it is not valid Jinja.
    """
    source = template_of(where, tokenizer)
    try:
        signs = [value for _, kind, value in Environment().lex(source) if kind == "operator"]
    except TemplateSyntaxError as error:
        raise no_jinja(where, error) from error
    if "**" in signs:  # a huge power is a single step that cannot be interrupted
        raise ModelError(f"the chat template of {where} computes powers: fix its chat_template")
    for turns, answers in (
        (("user",), True),
        (("system", "user"), True),
        (("user", "assistant", "user", "assistant"), False),
    ):
        with within_bounds(where):
            try:
                voice.text(tokenizer, placed(turns), answers=answers)
            except (ModelError, Runaway, MemoryError):
                raise
            except TemplateSyntaxError as error:
                raise no_jinja(where, error) from error
            except Exception:  # a template may reject a conversation
                continue
    check_arguments(where, source, voice.arguments)


def fitted(where: str, tokenizer: PreTrainedTokenizerBase, voice: Voice) -> Voice:
    """The voice that gives messages in the form that the template reads: as text or in parts.

    Templates of multimodal models may read nothing but parts. Text is given if both are read.

    Raises:
        ModelError: The template leaves out the message of a user in both forms, or does not pass
            `check_template`.
    """
    check_template(where, tokenizer, voice)
    forms = [replace(voice, in_parts=in_parts) for in_parts in (False, True)]
    with within_bounds(where):
        lost = [[left_out(tokenizer, form, roles) for roles in ASKED] for form in forms]
    best = 0 if lost[0].count(()) >= lost[1].count(()) else 1
    # Conversations with other roles are checked as they are rendered.
    if out := lost[best][0]:
        raise ModelError(f"{omission(where, ASKED[0], out)}: fix its chat_template")
    return forms[best]


def left_out(
    tokenizer: PreTrainedTokenizerBase,
    voice: Voice,
    roles: Sequence[str],
    *,
    goes_on: bool = False,
) -> tuple[str, ...] | None:
    """Roles of the messages whose text a template does not write; None if it rejects them."""
    words = [[f"{PLACE}-{turn}-{n}." for n in range(WORDS)] for turn in range(len(roles))]
    turns = [{"role": r, "content": "\n".join(w)} for r, w in zip(roles, words, strict=True)]
    try:
        text = voice.text(tokenizer, turns, answers=not goes_on, goes_on=goes_on)
    except (ModelError, Runaway, MemoryError):
        raise
    except Exception:  # a template may reject a conversation
        return None
    written, listed = {*WORD.findall(text)}, {*AS_LIST.findall(text)}
    return tuple(
        role
        for turn, role in enumerate(roles)
        if str(turn) in listed or not written.issuperset(words[turn])
    )


def omission(where: str, roles: Sequence[str], out: Sequence[str]) -> str:
    """What a template leaves out, in words."""
    return (
        f"the chat template of {where} leaves out text of role {' and '.join(dict.fromkeys(out))} "
        f"in a conversation of ({', '.join(roles)})"
    )


def no_jinja(where: str, error: TemplateSyntaxError) -> ModelError:
    """The error for invalid Jinja."""
    return ModelError(f"the chat template of {where} is not valid Jinja: {first_line(error)}")


def template_of(where: str, tokenizer: PreTrainedTokenizerBase) -> str:
    """The template's text.

    Raises:
        ModelError: There are several templates and no default.
    """
    try:
        return str(tokenizer.get_chat_template())
    except ValueError as error:
        raise ModelError(f"{where} has no default chat template: {first_line(error)}") from error


def check_arguments(where: str, source: str, arguments: Mapping[str, Any]) -> None:
    """Raise ModelError for arguments that sirl sets or that the template does not read."""
    if not arguments:
        return
    compiled: Any = chat_template_utils._compile_jinja_template(source)
    read = find_undeclared_variables(compiled.environment.parse(source)) - RESERVED
    for name in arguments:
        if name not in read:
            way = did_you_mean(name, read) if read else "It reads none: leave them out."
            raise ModelError(
                f"template_arguments: the chat template of {where} does not read {name!r}. {way}"
            )


def placed(roles: Sequence[str]) -> list[dict[str, str]]:
    """A conversation with `PLACE` as the content of every message."""
    return [{"role": role, "content": PLACE} for role in roles]


def dates_written(tokenizer: PreTrainedTokenizerBase, voice: Voice) -> list[str]:
    """The distinct dates that the template writes into conversations."""
    found: dict[str, None] = {}
    for roles in (("user",), ("system", "user")):
        try:
            found |= dict.fromkeys(voice.written(tokenizer, placed(roles), answers=True)[1])
        except ModelError:
            raise
        except Exception:  # a template may reject a conversation
            continue
    return list(found)


def turn_end(tokenizer: PreTrainedTokenizerBase, voice: Voice) -> str:
    """The text after the last assistant turn; empty if the template rejects such a turn."""
    return between(tokenizer, voice, ("user", "assistant"))


def turn_gap(tokenizer: PreTrainedTokenizerBase, voice: Voice) -> str:
    """The text from an assistant turn to the next message; empty if the template rejects it."""
    return between(tokenizer, voice, ("user", "assistant", "user"))


def between(tokenizer: PreTrainedTokenizerBase, voice: Voice, roles: Sequence[str]) -> str:
    """What a template writes after the second of some messages; empty if it rejects them."""
    try:
        text = voice.text(tokenizer, placed(roles), answers=False)
    except ModelError:
        raise
    except Exception:  # a template is third-party code and may raise anything
        return ""
    return text.split(PLACE)[2] if text.count(PLACE) == len(roles) else ""
