r"""Separates the thoughts of a reasoning model from its answer.

Model families use different marks for thoughts; a chat template may open them at the end of the
prompt, and decoding may drop marks that are special tokens. Marks count only at the beginning of
an answer or if the prompt left the thoughts open, so that text about marks stays text.

>>> parts("<think>\nWhat is asked?\n</think>\n\nParis.").answer
'Paris.'
>>> parts("Write <think> before and </think> behind.").answer
'Write <think> before and </think> behind.'
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from sirl.models.token_edges import edges_of, overlapping
from sirl.types import Completion

__all__ = ["Parts", "answer_of", "begun", "left_open", "parts", "set_apart"]

NAME = (
    r"(?:[a-z]{1,20}[:_])?(?:think|thinking|thoughts?|reason|reasoning|reflect|reflection|analysis"
    r"|scratchpad|monologue)"
)
HEAD = r"(?:(?!<\|message\|>)[^\n]){0,80}<\|message\|>"
"""The rest of the header of a channel of gpt-oss, such as ` <|constrain|>json<|message|>`."""
OPENING = re.compile(
    rf"<{NAME}>|\[THINK\]|◁think▷|<\|START_THINKING\|>|<\|begin_of_thought\|>|<\|think_start\|>"
    r"|<\|inner_prefix\|>|<unused94>(?:thought)?|<\|channel>thought"
    r"|<\|channel\|>analysis<\|message\|>",
    re.IGNORECASE,
)
"""Marks that begin thoughts."""
BARE = re.compile(r"analysis(?=[A-Z(\"'])|Here is my thought process:")
"""Plain words that begin thoughts after special tokens were dropped; need a matching end."""
CLOSING = re.compile(
    rf"</{NAME}>|\[/THINK\]|◁/think▷|<\|END_THINKING\|>|<\|end_of_thought\|>|<\|think_end\|>"
    rf"|<\|inner_suffix\|>|<unused95>|<\|channel\|>final\b{HEAD}",
    re.IGNORECASE,
)
"""Marks that end thoughts without an opening mark."""
CLOSES = {
    "[think]": r"\[/THINK\]",
    "◁think▷": "◁/think▷",
    "<|start_thinking|>": r"<\|END_THINKING\|>",
    "<|begin_of_thought|>": r"<\|end_of_thought\|>",
    "<|think_start|>": r"<\|think_end\|>",
    "<unused94>": "<unused95>",
    "<unused94>thought": "<unused95>",
    "<|channel>thought": r"<channel\|>",
    "<|inner_prefix|>": r"<\|inner_suffix\|>",
    "<|channel|>analysis<|message|>": rf"<\|channel\|>final\b{HEAD}",
    "analysis": r"assistantfinal(?: json(?=\s*[\[{\"]))?",
    "here is my thought process:": "Here is my response:",
}
"""Pattern of the closing mark by opening mark; tags close as in XML."""
CONTROL = re.compile(
    rf"<\|start\|>assistant(?:<\|channel\|>\w+{HEAD})?|<\|(?:end|return)\|>"
    r"|<\|(?:START|END)_RESPONSE\|>|<\|(?:begin|end)_of_solution\|>"
)
"""Control tokens around thoughts and answers, which belong to neither."""
SKIPPED = re.compile(rf"[\s\ufeff]*(?:(?:{CONTROL.pattern})[\s\ufeff]*)*")
WRAPPER = re.compile(r"\s*<(answer|response)>", re.IGNORECASE)
"""A tag that some families put around the answer."""
QUOTES = {"`": "`", '"': '"', "'": "'", "“": "”", "‘": "’"}
FENCE = "```"
REACH = 80
"""Characters at the end of a prompt to search for a mark."""
Span = tuple[int, int]


class Block(NamedTuple):
    """One block of thoughts in a text."""

    start: int
    """Start of its opening mark."""
    inside: int
    end: int
    behind: int
    """End of its closing mark."""
    mark: str
    closed: bool = True


class Parts(NamedTuple):
    """A text split into thoughts and answer."""

    answer: str
    thoughts: str
    unfinished: bool
    """Whether the text ends inside the thoughts."""
    said: tuple[Span, ...]
    """Positions of the answer in the text."""
    thought: tuple[Span, ...]
    """Positions of the thoughts, without marks; empty if there is no mark."""
    marks: tuple[str, ...] = ()
    """The marks, as written."""


def parts(text: str, opened: str = "", *, cut: bool = False) -> Parts:
    """Split a text into thoughts and answer.

    Args:
        text: The model's output.
        opened: The mark with which the prompt left the thoughts open; empty if it did not.
        cut: Whether the text was cut at the maximum length; then `BARE` words need no end.
    """
    found = tuple(blocks(text, opened, cut))
    if not found:
        return Parts(text, "", unfinished=False, said=((0, len(text)),), thought=())
    starts, ends = [0, *(b.behind for b in found)], [*(b.start for b in found), len(text)]
    between = ((skipped(text, a), b) for a, b in zip(starts, ends, strict=True))
    said = tuple((a, b) for a, b in between if a < b)
    answer = "\n\n".join(CONTROL.sub("", text[a:b]) for a, b in said)
    thoughts = "\n\n".join(CONTROL.sub("\n\n", text[b.inside : b.end]).strip() for b in found)
    thought = tuple(trimmed(text, b.inside, b.end) for b in found)
    marks = tuple(
        mark for b in found for a, e in ((b.start, b.inside), (b.end, b.behind))
        if (mark := text[a:e].strip())
    )  # fmt: skip
    return Parts(unwrapped(answer), thoughts.strip(), not found[-1].closed, said, thought, marks)


def answer_of(text: str) -> str:
    """The answer after the thoughts of a text; empty if the text ends inside them."""
    return parts(text).answer


def left_open(prompt: str) -> str:
    r"""The mark with which a rendered prompt opens the thoughts; empty if it does not.

    >>> left_open("<|user|>Hello<|assistant|><think>\n")
    '<think>'
    """
    tail = prompt.rstrip()[-REACH:]
    found = next((m for m in OPENING.finditer(tail) if m.end() == len(tail)), None)
    return found[0] if found else ""


def begun(opener: str) -> str:
    """The mark of thoughts that an opener leaves open; empty if none."""
    *_, last = [None, *blocks(opener, "", cut=False)]
    return "" if last is None or last.closed else last.mark


def blocks(text: str, opened: str, cut: bool) -> Iterator[Block]:
    """The blocks of thoughts, in order."""
    block = opened_block(text, opened) if opened else first_block(text, cut)
    while block:
        yield block
        block = next_block(text, block) if block.closed else None


def opened_block(text: str, mark: str) -> Block:
    """Thoughts opened by the prompt; the model may repeat the mark."""
    again = OPENING.match(text, skipped(text, 0))
    return closed_block(text, 0, again.end() if again else 0, mark)


def first_block(text: str, cut: bool) -> Block | None:
    """Thoughts at the beginning of a text with an opening mark, or with only a closing one."""
    start = skipped(text, 0)
    if mark := OPENING.match(text, start):
        return closed_block(text, start, mark.end(), mark[0])
    if mark := BARE.match(text, start):
        block = closed_block(text, start, mark.end(), mark[0])
        if block.closed or cut or mark[0] == "analysis":
            return block
    close = unopened_close(text)
    return Block(0, 0, close.start(), close.end(), "") if close else None


def next_block(text: str, before: Block) -> Block | None:
    """Further thoughts: directly after the previous ones, or at a line that starts with a mark."""
    start = skipped(text, before.behind)
    if mark := OPENING.match(text, start):
        return closed_block(text, start, mark.end(), mark[0])
    for mark in unfenced(OPENING, text, before.behind):
        if mark[0] == before.mark and begins_line(text, mark.start()):
            block = closed_block(text, mark.start(), mark.end(), mark[0])
            return block if block.closed else None
    return None


def closed_block(text: str, start: int, inside: int, mark: str) -> Block:
    """Thoughts up to the matching closing mark, including nested ones."""
    depth, last = 1, None
    for found in either(mark).finditer(text, inside):
        if quoted(text, found):
            continue
        if found["close"]:
            last = found
            depth -= 1
        else:
            depth += 1
        if not depth:
            return Block(start, inside, found.start(), found.end(), mark)
    if last:
        return Block(start, inside, last.start(), last.end(), mark)
    return Block(start, inside, len(text), len(text), mark, closed=False)


@lru_cache
def either(mark: str) -> re.Pattern[str]:
    """Pattern of a mark and its closing mark."""
    close = CLOSES.get(mark.lower(), re.escape(f"</{mark[1:]}"))
    return re.compile(f"(?P<close>{close})|{re.escape(mark)}", re.IGNORECASE)


def unopened_close(text: str) -> re.Match[str] | None:
    """The closing mark of thoughts opened outside the text, such as by a server's template."""
    marks, at = False, 0
    for found in unfenced(CLOSING, text, 0):
        openings = list(OPENING.finditer(text, at, found.start()))
        if any(begins_line(text, m.start()) for m in openings):
            return None
        marks, at = marks or bool(openings), found.end()
        inline = not marks and not mentioned(text, found)
        if not quoted(text, found) and (begins_line(text, found.start()) or inline):
            return found
    return None


def mentioned(text: str, found: re.Match[str]) -> bool:
    """Whether a mark is part of a sentence: "write </think> to end them"."""
    before, behind = (
        text[max(0, found.start() - 2) : found.start()],
        text[found.end() : found.end() + 2],
    )
    return (
        before[-1:] in (" ", "(")
        and before[:1] not in tuple(".!?…:)*")
        and bool(re.match(r" ?[a-z,.;:)]", behind))
    )


def unfenced(marks: re.Pattern[str], text: str, start: int) -> Iterator[re.Match[str]]:
    """Marks outside of code blocks."""
    at, inside = start, False
    for found in marks.finditer(text, start):
        inside ^= text.count(FENCE, at, found.start()) % 2 == 1
        at = found.start()
        if not inside:
            yield found


def quoted(text: str, found: re.Match[str]) -> bool:
    """Whether a mark is in quotation marks."""
    before = text[found.start() - 1] if found.start() else ""
    return before in QUOTES and text[found.end() : found.end() + 1] == QUOTES[before]


def begins_line(text: str, at: int) -> bool:
    """Whether only blanks precede an offset in its line."""
    before = text[max(0, at - REACH) : at]
    return not before.rpartition("\n")[2].strip() and ("\n" in before or at <= REACH)


def skipped(text: str, at: int) -> int:
    """The next offset that is neither blank nor in a control token."""
    found = SKIPPED.match(text, at)
    return found.end() if found else at


def trimmed(text: str, start: int, end: int) -> Span:
    """A span without leading blanks and without control tokens at both ends."""
    tail = CONTROL.finditer(text, max(start, end - REACH), end)
    closing = next((m for m in tail if skipped(text, m.start()) >= end), None)
    end = closing.start() if closing else end
    return min(skipped(text, start), end), end


def unwrapped(answer: str) -> str:
    """An answer without a tag around all of it."""
    tag = WRAPPER.match(answer)
    if not tag:
        return answer
    inner, close, behind = answer[tag.end() :].strip().partition(f"</{tag[1]}>")
    return answer if behind else inner.rstrip()


def always(marks: Sequence[str]) -> bool:
    """Trust every mark."""
    return bool(marks)


def set_apart(
    completion: Completion,
    opened: str = "",
    pieces: Sequence[str] = (),
    decode: Callable[[Sequence[int]], str] | None = None,
    read: Callable[[Sequence[int]], str] | None = None,
    trusted: Callable[[Sequence[str]], bool] = always,
) -> Completion:
    """Move the thoughts of a completion out of its text and numbers; unchanged without thoughts.

    Marks are searched in the jointly decoded text, since tokens decoded one by one lose blanks,
    which distinguish a mark from a word about it.

    Args:
        completion: A completion from an engine.
        opened: The mark with which the prompt left the thoughts open; empty if it did not.
        pieces: The text of each token, including special tokens; empty if unknown.
        decode: Decodes tokens without special ones; None if unknown.
        read: Decodes tokens with special ones; None joins the pieces.
        trusted: Whether these marks are thought marks of this model.
    """
    cut = completion.finish == "length"
    whole = read(completion.token_ids) if read else "".join(pieces)
    raw = parts(whole, opened, cut=cut) if decode and any(pieces) else None
    if raw and raw.thought and decode and trusted(raw.marks or (opened,)):
        edges = edges_of(completion.token_ids, pieces, whole, read)
        completion = with_tokens_apart(completion, raw, edges, decode)
        unfinished = raw.unfinished
    else:
        found = parts(completion.text, opened, cut=cut)
        unfinished = found.unfinished
        if found.thought and trusted(found.marks or (opened,)):  # tokens cannot be assigned
            completion = replace(
                completion,
                text=found.answer,
                thoughts=joined(completion.thoughts, found.thoughts),
                reported_tokens=completion.tokens,
                token_ids=(),
                logprobs=(),
                entropies=(),
                certainties=(),
            )
        elif not completion.thoughts:
            return completion
    return replace(completion, fault=completion.fault or fault_of(completion, unfinished))


def with_tokens_apart(
    completion: Completion,
    raw: Parts,
    edges: Sequence[int],
    decode: Callable[[Sequence[int]], str],
) -> Completion:
    """A completion with token numbers split into those of its answer and of its thoughts."""
    said, thought = overlapping(edges, raw.said), overlapping(edges, raw.thought)
    ids, entropies = completion.token_ids, completion.entropies
    written = ids[:-1] if completion.finish == "stop" else ids  # without the end of the turn

    def of(numbers: Sequence[float], wanted: bool = True) -> tuple[float, ...]:
        return tuple(x for x, mine in zip(numbers, said, strict=False) if mine is wanted)

    answer = decode([i for i, mine in zip(written, said, strict=False) if mine]).lstrip()
    inner = decode([i for i, mine in zip(written, thought, strict=False) if mine])
    return replace(
        completion,
        text=unwrapped(answer),
        thoughts=joined(completion.thoughts, inner.strip()),
        reported_tokens=completion.tokens,
        token_ids=tuple(i for i, mine in zip(ids, said, strict=True) if mine),
        logprobs=of(completion.logprobs),
        entropies=of(entropies),
        certainties=of(completion.certainties),
        thought_entropies=of(entropies, wanted=False),
    )


def joined(*texts: str) -> str:
    """Join texts with blank lines, without empty ones."""
    return "\n\n".join(text for text in texts if text)


def fault_of(completion: Completion, unfinished: bool) -> str:
    """Why there is no answer after the thoughts; empty if there is one."""
    if completion.text.strip():
        return ""
    if completion.finish == "length":
        return f"cut inside its reasoning after {completion.tokens} tokens: raise new_tokens"
    return "it ends inside its reasoning" if unfinished else "nothing follows its reasoning"
