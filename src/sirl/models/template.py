"""Chat templates: third-party programs, run with limits and a fixed clock.

A template may loop, allocate, write the date or raise anything. It runs in transformers' sandbox
with limits on steps and memory; `strftime_now` returns the start time of the run, so that a run
resumed on another day renders the same prompts.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any

from jinja2 import Environment, TemplateSyntaxError
from jinja2.meta import find_undeclared_variables
from transformers import PreTrainedTokenizerBase
from transformers.utils import chat_template_utils

from sirl.errors import ModelError, did_you_mean, first_line

__all__ = ["PLACE", "Voice", "check_template", "dates_written", "turn_end"]

PLACE = "qzx7"
"""Stands for what somebody says; no template holds it."""
STEPS = 300_000
"""Lines of a template that are run for one conversation; ordinary ones take hundreds."""
LONGEST = 1 << 24
"""Characters of a rendered conversation."""
MEMORY = 1 << 30
"""Bytes that a template may take while it is tried."""
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
"""What sirl itself tells a template."""


class Runaway(Exception):  # noqa: N818 - says what the template does
    """A template that does not end within its bounds."""


@dataclass(frozen=True)
class Voice:
    """Arguments of a template beside the conversation."""

    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Its own variables, `enable_thinking` say."""
    clock: datetime = field(default_factory=datetime.now)
    """The time that it may write."""

    def text(
        self,
        tokenizer: PreTrainedTokenizerBase,
        turns: Sequence[Mapping[str, str]],
        *,
        answers: bool = True,
        goes_on: bool = False,
    ) -> str:
        """A conversation as the template writes it; it was tried within bounds when it was loaded.

        Args:
            tokenizer: Whose template it is.
            turns: Role and content of each message.
            answers: Whether the assistant's next turn is begun.
            goes_on: Whether the last turn is left open.

        Raises:
            ModelError: The template writes far more than is said.
            Exception: Whatever the template raises.
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
        """The conversation, and what was told of the clock."""
        with self.telling(tokenizer) as told:
            found: Any = tokenizer.apply_chat_template(
                [dict(turn) for turn in turns],
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

    @contextmanager
    def telling(self, tokenizer: PreTrainedTokenizerBase) -> Iterator[list[str]]:
        """Have the template's `strftime_now` tell the voice's time; yields what it has told.

        Afterwards it is again that of transformers, which keeps the template for everyone.
        """
        told: list[str] = []

        def strftime_now(form: str) -> str:
            told.append(self.clock.strftime(form))
            return told[-1]

        template = tokenizer.get_chat_template()
        names: Any = chat_template_utils._compile_jinja_template(template).globals
        before = names["strftime_now"]
        names["strftime_now"] = strftime_now
        try:
            yield told
        finally:
            names["strftime_now"] = before


@contextmanager
def within_bounds(where: str) -> Iterator[None]:
    """Try a template: ModelError where it does not end within steps and memory."""
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
    """Count the steps of the templates that run; raise `Runaway` at too many."""
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
    """Let this process grow by no more than `MEMORY`, where the system can see to it."""
    try:
        import resource  # noqa: PLC0415 - not everywhere

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
    """Refuse a template that cannot be run within bounds, and arguments that it does not read.

    Raises:
        ModelError: So it is, or the template is not valid Jinja.
    """
    source = template_of(where, tokenizer)
    try:
        signs = [value for _, kind, value in Environment().lex(source) if kind == "operator"]
    except TemplateSyntaxError as error:
        raise no_jinja(where, error) from error
    if "**" in signs:  # a power is computed in one step that nothing can stop
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
            except Exception:  # a template may refuse a conversation
                continue
    check_arguments(where, source, voice.arguments)


def no_jinja(where: str, error: TemplateSyntaxError) -> ModelError:
    """A template that cannot be read."""
    return ModelError(f"the chat template of {where} is not valid Jinja: {first_line(error)}")


def template_of(where: str, tokenizer: PreTrainedTokenizerBase) -> str:
    """The template's text.

    Raises:
        ModelError: There are several, and none is the default.
    """
    try:
        return str(tokenizer.get_chat_template())
    except ValueError as error:
        raise ModelError(f"{where} has no default chat template: {first_line(error)}") from error


def check_arguments(where: str, source: str, arguments: Mapping[str, Any]) -> None:
    """Refuse arguments that are sirl's own to give, or that the template does not read."""
    if not arguments:
        return
    compiled: Any = chat_template_utils._compile_jinja_template(source)
    read = find_undeclared_variables(compiled.environment.parse(source)) - RESERVED
    for name in arguments:
        if name not in read:
            raise ModelError(
                f"template_arguments: the chat template of {where} reads no {name!r}. "
                f"{did_you_mean(name, read)}"
            )


def placed(roles: Sequence[str]) -> list[dict[str, str]]:
    """A conversation in which everybody says `PLACE`."""
    return [{"role": role, "content": PLACE} for role in roles]


def dates_written(tokenizer: PreTrainedTokenizerBase, voice: Voice) -> list[str]:
    """What the template writes of the clock into conversations, once each."""
    found: dict[str, None] = {}
    for roles in (("user",), ("system", "user")):
        try:
            found |= dict.fromkeys(voice.written(tokenizer, placed(roles), answers=True)[1])
        except ModelError:
            raise
        except Exception:  # a template may refuse a conversation
            continue
    return list(found)


def turn_end(tokenizer: PreTrainedTokenizerBase, voice: Voice) -> str:
    """What the template writes behind the assistant's last turn; empty if it refuses one."""
    try:
        text = voice.text(tokenizer, placed(("user", "assistant")), answers=False)
    except ModelError:
        raise
    except Exception:  # a template is foreign code and raises what it likes
        return ""
    return text.rpartition(PLACE)[2] if text.count(PLACE) == 2 else ""
