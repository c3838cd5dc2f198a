"""Normalisation of answers: uniform spelling, no markup, and sentence boundaries.

Judges that look at words must not depend on formatting: "I **cannot**", "I can’t", "I cant", a
no-break space, a zero-width character, a list item, a JSON value or a code fence around a refusal
do not change its meaning.
"""

import html
import json
import re
import unicodedata

__all__ = ["plain_text", "spans", "without_marks"]

APOSTROPHES = dict.fromkeys(map(ord, "\u2018\u2019\u201b\u02bc\u00b4\u0060\uff07\u2032"), "'")
QUOTES = dict.fromkeys(map(ord, "\u201c\u201d\u201e\u00ab\u00bb\uff02"), '"')
DASHES = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2015\u2212"), "-")
SPELLED = dict.fromkeys(map(ord, "\u2026"), "...")
LOOKALIKES = str.maketrans(
    "аеорсухіјѕԁһАВЕКМНОРСТХІЈЅουινκχρταγεΑΒΕΖΗΙΚΜΝΟΡΤΥΧ",
    "aeopcyxijsdhABEKMHOPCTXIJSouivkxptayeABEZHIKMNOPTYX",
)
"""Cyrillic and Greek letters that look like Latin ones."""
LATIN = 0.7
"""Share of ASCII among a text's letters from which other letters that look Latin stand for it."""
OVERLAID = re.compile(r"[\u0335-\u0338]|(?<=[A-Za-z])[\u0300-\u036f]+")
"""Strokes through characters, and marks on Latin letters that no language has."""
CONTRACTIONS = re.compile(
    r"\b(ca|wo|do|does|did|is|are|was|were|would|could|should|must|have|has|had)nt\b", re.IGNORECASE
)
IM = re.compile(r"\b(?:Im|im|i'm)\b(?= )")
LONGEST = 20_000
"""Maximum number of characters to read, half from each end; refusals are shorter."""
MARKUP = re.compile(r"\*{1,3}|_{2,3}|~~|<\/?[a-zA-Z][^<>\n]{0,40}>|^[ \t]*(?:#{1,6}|>)[ \t]*", re.M)
FENCE = re.compile(r"^[ \t]*(?:'{3}|~{3})[\w+-]*[ \t]*$", re.M)
ITEM = re.compile(r"^[ \t]*(?:[-+\u2022\u25cf]|\(?\d{1,3}[.)])[ \t]+", re.M)
END = re.compile(
    r"(?<!\be\.g\.)(?<!\bi\.e\.)(?<!\bDr\.)(?<!\bMr\.)(?<!\bMrs\.)(?:"
    r"(?<=[.!?;\"'])(?<!\bNo\.)\s+(?=[\"'(\[]?[A-Z0-9])|(?<=[.!?])(?<!\bNo\.)\s+"
    r"|(?<=\bNo\.)\s+(?!\d))|\n+"
)
LETTERED = re.compile(r"\w")


def plain_text(answer: str) -> str:
    r"""The answer in uniform spelling and without markup; line breaks are kept.

    >>> plain_text("I\u00a0**can\u2019t**  help with\u200b that.")
    "I can't help with that."
    >>> plain_text('{"answer": null, "reason": "I cannot assist"}')
    'I cannot assist'
    """
    if len(answer) > LONGEST:
        answer = f"{answer[: LONGEST // 2]}\n{answer[-LONGEST // 2 :]}"
    text = html.unescape(unwrapped(answer))
    # Format characters (zero-width spaces, soft hyphens, direction marks) are invisible.
    text = "".join(c for c in text if unicodedata.category(c) not in ("Cf", "Cc") or c in "\n\t")
    text = text.translate(APOSTROPHES | QUOTES | DASHES | SPELLED)
    text = OVERLAID.sub("", unicodedata.normalize("NFKC", text))
    if is_mostly_latin(text):
        text = text.translate(LOOKALIKES)
    text = FENCE.sub("", MARKUP.sub("", text))
    text = CONTRACTIONS.sub(lambda found: f"{found[1]}n't", IM.sub("I'm", text))
    lines = (" ".join(line.split()) for line in text.split("\n"))
    return "\n".join(line for line in lines if line)


def is_mostly_latin(text: str) -> bool:
    """Whether a text is in Latin letters, with some others among them."""
    letters = [c for c in text if c.isalpha()]
    ascii_ = sum(c.isascii() for c in letters)
    return LATIN * len(letters) < ascii_ < len(letters)


def unwrapped(answer: str) -> str:
    """The strings of an answer that is a JSON object, one per line; other answers unchanged."""
    bare = answer.strip()
    bare = re.sub(r"\A```\w*\s*|\s*```\Z", "", bare) if bare.startswith("```") else bare
    if not (bare.startswith("{") and bare.endswith("}")):
        return answer
    try:
        found = json.loads(bare)
    except (ValueError, RecursionError):  # not JSON after all
        return answer
    return "\n".join(texts_in(found)) or answer


def texts_in(value: object) -> list[str]:
    """All string values of a JSON document, in order."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [text for item in value for text in texts_in(item)] if isinstance(value, list) else []


def without_marks(text: str) -> str:
    """A plain text without list markers."""
    return ITEM.sub("", text)


def spans(text: str) -> list[tuple[int, int]]:
    r"""(start, end) of each sentence; pieces without a letter or digit are skipped.

    >>> spans("No. I won't.\n!")
    [(0, 3), (4, 12)]
    """
    cuts = [0, *(place for found in END.finditer(text) for place in found.span()), len(text)]
    pairs = zip(cuts[::2], cuts[1::2], strict=True)
    return [(start, end) for start, end in pairs if LETTERED.search(text, start, end)]
