r"""What a reasoning model writes before its answer, told apart from the answer.

Families mark their thoughts in different ways; a chat template may open them at the end of the
prompt, and decoding may drop marks that are special tokens. Marks count at the beginning of an
answer, or where the prompt left the thoughts open: text about marks stays text.

>>> parts("<think>\nWhat is asked?\n</think>\n\nParis.").answer
'Paris.'
>>> parts("Write <think> before and </think> behind.").answer
'Write <think> before and </think> behind.'
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import NamedTuple

from sirl.types import Completion

__all__ = ["Parts", "answer_of", "begun", "left_open", "parts", "set_apart"]

NAME = r"(?:[a-z]{1,20}[:_])?(?:think|thinking|thoughts?|reasoning|scratchpad|inner_monologue)"
OPENING = re.compile(
    rf"<{NAME}>|\[THINK\]|◁think▷|<\|START_THINKING\|>|<\|begin_of_thought\|>|<\|think_start\|>"
    r"|<unused94>(?:thought)?|<\|channel>thought|<\|channel\|>analysis<\|message\|>",
    re.IGNORECASE,
)
"""Marks that begin thoughts."""
BARE = re.compile(r"analysis(?=[A-Z(\"'])|Here is my thought process:")
"""Beginnings of thoughts that are words, special tokens gone: they count with their end alone."""
CLOSING = re.compile(
    rf"</{NAME}>|\[/THINK\]|◁/think▷|<\|END_THINKING\|>|<\|end_of_thought\|>|<\|think_end\|>"
    r"|<unused95>|<\|channel\|>final[^<]{0,40}<\|message\|>",
    re.IGNORECASE,
)
"""Marks that end thoughts, where none began them."""
CLOSES = {
    "[think]": r"\[/THINK\]",
    "◁think▷": "◁/think▷",
    "<|start_thinking|>": r"<\|END_THINKING\|>",
    "<|begin_of_thought|>": r"<\|end_of_thought\|>",
    "<|think_start|>": r"<\|think_end\|>",
    "<unused94>": "<unused95>",
    "<unused94>thought": "<unused95>",
    "<|channel>thought": r"<channel\|>",
    "<|channel|>analysis<|message|>": r"<\|channel\|>final[^<]{0,40}<\|message\|>",
    "analysis": "assistantfinal",
    "here is my thought process:": "Here is my response:",
}
"""What ends the thoughts that a mark began; tags have their own."""
CONTROL = re.compile(
    r"<\|start\|>assistant(?:<\|channel\|>\w+<\|message\|>)?|<\|(?:end|return)\|>"
    r"|<\|(?:START|END)_RESPONSE\|>|<\|(?:begin|end)_of_solution\|>"
)
"""Tokens around thoughts and answers that belong to neither."""
SKIPPED = re.compile(rf"[\s\ufeff]*(?:(?:{CONTROL.pattern})[\s\ufeff]*)*")
WRAPPER = re.compile(r"\s*<(answer|response)>", re.IGNORECASE)
"""A tag in which some families put the answer behind the thoughts."""
QUOTES = {"`": "`", '"': '"', "'": "'", "“": "”", "‘": "’"}
FENCE = "```"
REACH = 80
"""Characters at the end of a prompt in which a mark is looked for."""
Span = tuple[int, int]


class Block(NamedTuple):
    """One stretch of thoughts in a text."""

    start: int
    """Where its mark begins."""
    inside: int
    end: int
    behind: int
    """Where its closing mark ends."""
    mark: str
    closed: bool = True


class Parts(NamedTuple):
    """A text as thoughts and answer."""

    answer: str
    thoughts: str
    unfinished: bool
    """Whether it ends inside its reasoning."""
    said: tuple[Span, ...]
    """Where the answer stands in the text."""
    thought: tuple[Span, ...]
    """Where the thoughts stand, without their marks; empty where there is no mark."""
    marks: tuple[str, ...] = ()
    """The marks that set them apart, as they are written."""


def parts(text: str, opened: str = "", *, cut: bool = False) -> Parts:
    """Thoughts and answer of a text.

    Args:
        text: What the model wrote.
        opened: The mark with which the prompt left the thoughts open; empty where it did not.
        cut: Whether the text was cut at its longest; a beginning in words needs no end then.
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
    """What stands behind the thoughts of a text; empty where it ends inside them."""
    return parts(text).answer


def left_open(prompt: str) -> str:
    r"""The mark with which a rendered prompt opens the thoughts; empty where it does not.

    >>> left_open("<|user|>Hello<|assistant|><think>\n")
    '<think>'
    """
    tail = prompt.rstrip()[-REACH:]
    found = next((m for m in OPENING.finditer(tail) if m.end() == len(tail)), None)
    return found[0] if found else ""


def begun(opener: str) -> str:
    """The mark of thoughts that the given beginning of an answer leaves open; empty for none."""
    *_, last = [None, *blocks(opener, "", cut=False)]
    return "" if last is None or last.closed else last.mark


def blocks(text: str, opened: str, cut: bool) -> Iterator[Block]:
    """The stretches of thoughts, in order."""
    block = opened_block(text, opened) if opened else first_block(text, cut)
    while block:
        yield block
        block = next_block(text, block) if block.closed else None


def opened_block(text: str, mark: str) -> Block:
    """Thoughts that the prompt opened; a model may write the mark once more."""
    again = OPENING.match(text, skipped(text, 0))
    return closed_block(text, 0, again.end() if again else 0, mark)


def first_block(text: str, cut: bool) -> Block | None:
    """Thoughts at the beginning of a text that opens them itself, or only closes them."""
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
    """Further thoughts: at once behind the others, or from a line that their own mark begins."""
    start = skipped(text, before.behind)
    if mark := OPENING.match(text, start):
        return closed_block(text, start, mark.end(), mark[0])
    for mark in unfenced(OPENING, text, before.behind):
        if mark[0] == before.mark and begins_line(text, mark.start()):
            block = closed_block(text, mark.start(), mark.end(), mark[0])
            return block if block.closed else None
    return None


def closed_block(text: str, start: int, inside: int, mark: str) -> Block:
    """Thoughts up to the end that belongs to their mark; nested ones are part of them."""
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
    """What begins further thoughts of this mark, and what ends them."""
    close = CLOSES.get(mark.lower(), re.escape(f"</{mark[1:]}"))
    return re.compile(f"(?P<close>{close})|{re.escape(mark)}", re.IGNORECASE)


def unopened_close(text: str) -> re.Match[str] | None:
    """The end of thoughts whose beginning is not in the text, as after a server's own template."""
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
    """Whether a mark is a word of its sentence: "write </think> to end them"."""
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
    """Marks that do not stand in a block of code."""
    at, inside = start, False
    for found in marks.finditer(text, start):
        inside ^= text.count(FENCE, at, found.start()) % 2 == 1
        at = found.start()
        if not inside:
            yield found


def quoted(text: str, found: re.Match[str]) -> bool:
    """Whether a mark stands in quotation marks."""
    before = text[found.start() - 1] if found.start() else ""
    return before in QUOTES and text[found.end() : found.end() + 1] == QUOTES[before]


def begins_line(text: str, at: int) -> bool:
    """Whether nothing but blanks stands before a place in its line."""
    before = text[max(0, at - REACH) : at]
    return not before.rpartition("\n")[2].strip() and ("\n" in before or at <= REACH)


def skipped(text: str, at: int) -> int:
    """The first place from here on that is neither blank nor a token around answers."""
    found = SKIPPED.match(text, at)
    return found.end() if found else at


def trimmed(text: str, start: int, end: int) -> Span:
    """A stretch without the blanks before it, and the tokens around answers at both its ends."""
    tail = CONTROL.finditer(text, max(start, end - REACH), end)
    closing = next((m for m in tail if skipped(text, m.start()) >= end), None)
    end = closing.start() if closing else end
    return min(skipped(text, start), end), end


def unwrapped(answer: str) -> str:
    """An answer without the tag that holds the whole of it."""
    tag = WRAPPER.match(answer)
    if not tag:
        return answer
    inner, close, behind = answer[tag.end() :].strip().partition(f"</{tag[1]}>")
    return answer if behind else inner.rstrip()


def always(marks: Sequence[str]) -> bool:
    """Take every mark for one of thoughts."""
    return bool(marks)


def set_apart(
    completion: Completion,
    opened: str = "",
    pieces: Sequence[str] = (),
    decode: Callable[[Sequence[int]], str] | None = None,
    read: Callable[[Sequence[int]], str] | None = None,
    trusted: Callable[[Sequence[str]], bool] = always,
) -> Completion:
    """A completion whose text and numbers are of its answer alone; as it is without thoughts.

    The marks are looked for in the text as it is decoded whole: tokens by themselves lose blanks,
    by which a mark is told from a word about it.

    Args:
        completion: As an engine gives it.
        opened: The mark with which the prompt left the thoughts open; empty where it did not.
        pieces: The text of each token by itself, special tokens included; empty if unknown.
        decode: The text of tokens, without special ones; None if unknown.
        read: The text of tokens, special ones included; None joins the pieces.
        trusted: Whether these marks are this model's own marks of thoughts.
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
        if found.thought and trusted(found.marks or (opened,)):  # whose tokens are whose is unknown
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
    """A completion with the numbers of its thoughts and of its answer apart, token by token."""
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


def edges_of(
    ids: Sequence[int],
    pieces: Sequence[str],
    whole: str,
    read: Callable[[Sequence[int]], str] | None,
) -> list[int]:
    """Where each token begins in the decoded text, and where the last one ends."""
    edges = [0, *accumulate(len(piece) for piece in pieces)]
    if read is None or edges[-1] == len(whole):
        return edges
    return [min(len(read(ids[:n])), len(whole)) for n in range(len(ids) + 1)]


def overlapping(edges: Sequence[int], spans: Sequence[Span]) -> list[bool]:
    """Which tokens stand in the given stretches of a text, in part at least."""
    return [any(a < e and s < b for a, b in spans) for s, e in pairwise(edges)]


def joined(*texts: str) -> str:
    """Texts one after the other, without empty ones."""
    return "\n\n".join(text for text in texts if text)


def fault_of(completion: Completion, unfinished: bool) -> str:
    """Why there is no answer behind the thoughts; empty where there is one."""
    if completion.text.strip():
        return ""
    if completion.finish == "length":
        return f"cut inside its reasoning after {completion.tokens} tokens: raise new_tokens"
    return "it ends inside its reasoning" if unfinished else "nothing follows its reasoning"
