import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders

from sirl.models.thoughts import set_apart
from sirl.models.token_edges import edges_of, overlapping
from sirl.types import Completion

WORDS = st.text(alphabet="ab '.n\n\u00e9\u4f60\u0e01\ufffd\U0001f44b", max_size=200)
SIZES = st.lists(st.integers(1, 5), min_size=1, max_size=9)
FALLBACK = decoders.Sequence([
    decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(),
    decoders.Strip(" ", 1, 0),
])  # fmt: skip


def cut(items, sizes):
    """Consecutive parts of these sizes, over and over."""
    parts, at = [], 0
    while at < len(items):
        size = sizes[len(parts) % len(sizes)]
        parts.append(items[at : at + size])
        at += size
    return parts


def byte_level(text, sizes):
    """Tokens of several bytes each, which tear characters apart, as of GPT-2, Llama 3 and Qwen."""
    return cut(text.encode(), sizes), lambda parts: b"".join(parts).decode(errors="replace")


def byte_fallback(text, sizes):
    """Tokens of characters, and of single bytes for the rare ones, as of Llama 2 and Gemma."""
    tokens = ["\u2581"]
    for part in cut(text, sizes):
        rare = any(len(c.encode()) == 4 for c in part)
        known = part.replace(" ", "\u2581")
        tokens += [f"<0x{b:02X}>" for b in part.encode()] if rare else [known]
    return tokens, lambda parts: FALLBACK.decode(list(parts))


def joined_words(text, sizes):
    """Tokens between blanks, which decoding removes before full stops, as of BERT."""
    tokens = [p for p in cut(text, sizes) if p.strip()]
    return tokens, lambda parts: decoders.WordPiece(cleanup=True).decode(list(parts))


FAMILIES = [byte_level, byte_fallback, joined_words]


def slow_edges(ids, whole, read):
    """The definition: every prefix is decoded, and none is longer than what follows it."""
    edges = [min(len(read(ids[:n])), len(whole)) for n in range(len(ids) + 1)]
    return [min(edges[n:]) for n in range(len(edges))]


@pytest.mark.parametrize("family", FAMILIES)
@settings(deadline=None)
@given(text=WORDS, sizes=SIZES)
def test_edges_are_those_of_every_prefix_decoded(family, text, sizes):
    tokens, decode = family(text, sizes)
    ids = range(len(tokens))

    def read(some):
        return decode([tokens[i] for i in some])

    whole, pieces = read(ids), tuple(read([i]) for i in ids)
    assert edges_of(ids, pieces, whole, read) == slow_edges(ids, whole, read)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("text", ["\u4f60 b.\U0001f44b ", "\U0001f44b", "\ufffd"])
def test_a_long_answer_is_decoded_a_few_tokens_at_a_time(family, text):
    tokens, decode = family(text * 1000, [3, 1, 2])
    asked = []

    def read(some):
        asked.append(len(some))
        return decode([tokens[i] for i in some])

    edges_of(range(len(tokens)), ("",) * len(tokens), decode(tokens), read)
    assert max(asked) <= 128
    assert sum(asked) < 128 * len(tokens)


@pytest.mark.parametrize("finish", ["stop", "length"])
@pytest.mark.parametrize("family", [byte_level, byte_fallback])
def test_a_character_of_several_tokens_at_the_end_stays_whole(family, finish):
    text = "<think>Why? \U0001f44b\U0001f44b</think>Hello \u4f60 \U0001f44b"
    tokens, decode = family(text, [1])
    tokens = [*tokens, family("!", [1])[0][-1]] if finish == "stop" else tokens
    ids = tuple(range(len(tokens)))

    def read(some):
        return decode([tokens[i] for i in some])

    made = Completion("p", (9,), ids, text, (0.5,) * len(ids), (0.5,) * len(ids), finish)
    found = set_apart(made, "", tuple(read([i]) for i in ids), read, read)
    assert (found.text, found.thoughts) == ("Hello \u4f60 \U0001f44b", "Why? \U0001f44b\U0001f44b")


def test_pieces_that_are_the_text_give_the_edges():
    assert edges_of([4, 5], ("ab", "c"), "abc", None) == [0, 2, 3]
    assert edges_of([4, 5], ("ab", "c"), "abc", str) == [0, 2, 3]
    assert overlapping([0, 2, 3, 3], [(0, 2)]) == [True, False, False]
    assert overlapping([0, 2, 3, 3], [(2, 3)]) == [False, True, True]
