"""Language detection, and known refusals in languages other than English."""

import json
import re
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from py3langid.langid import MODEL_FILE, LanguageIdentifier

__all__ = ["declines_in", "foreign_language", "goes_on_in"]

READ = 600
"""Characters by which the language is told."""
SURE = 0.6
"""Least probability of another language; names and garble reach 0.5."""
SHORT = 12
"""Letters of a Latin script below which nothing is told: "Nope." is of any language."""
LATIN = re.compile(r"[A-Za-z\u00c0-\u024f]")
DENSE = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
"""Letters of scripts in which two already say something."""
FEW = 6
"""Letters of another script below which they are noise."""
BROKEN = "\ufffd"
"""What a decoder writes for bytes that are no text."""
OTHER = re.compile(r"[^\W\d_]")
QUOTED = re.compile(
    r"\"[^\"\n]*\"|```.*?```|\u300c[^\u300d\n]*\u300d|\u300e[^\u300f\n]*\u300f", re.DOTALL
)
BRIEF = 60
"""Words of a refusal in another language; a longer answer may give something behind it."""
DENSE_BRIEF = 160
"""Characters of such a refusal in a script that puts no blanks between words."""
APOLOGY = 8
"""Words of a sentence that does nothing but excuse itself."""
LIST = re.compile(r"^\s*(?:\d+[.)\u3001\uff0e]|[-*\u2022])\s?", re.M)
ENDS = re.compile(r"(?<=[.!?\u061f\u0964])\s+|(?<=[\u3002\uff01\uff1f!?])|\n+|[;\uff1b]")
UNSPACED = frozenset({"ja", "ko", "th", "zh", "ar", "he", "hi"})
"""Languages whose words join without blanks, or with prefixes, so that a word has no left edge."""
CLAUSES = {
    "ja": re.compile(r"[\u3001,]"),
    "th": re.compile(r"[\s,]"),
    "zh": re.compile(r"[\uff0c,\u3001]"),
}
"""What parts clauses where a sentence may say several things; each is then read by itself."""
LONGEST = 30
"""Words of a sentence that may decline and say no more."""
FRAMED = re.compile(r"\"([^\"]*)\"")
"""An answer whole within quotation marks."""
ALIKE = {"nb": "no", "nn": "no", "ms": "id"}
"""Codes for languages that are written like another here."""
STRANGE = 8
"""Letters of other scripts from which an English answer says something in them."""
WINDOW, LETTERS = 240, 12
"""Characters by which a language is looked for behind an English refusal, and the least letters
there: among the languages whose refusals are known, few letters tell."""


class Speech(NamedTuple):
    """What may be said in a refusal of one language, and what may not; read without case."""

    declines: re.Pattern[str]
    """A first person negates an ability or a will to help, or a set phrase of refusal."""
    sorry: re.Pattern[str]
    """Apologies, and a bare no."""
    beside: re.Pattern[str]
    """Words of a reason, a rule, or an offer of something else."""
    steps: re.Pattern[str]
    """Words of instructions in their order; no refusal has any."""
    but: re.Pattern[str]
    """Words that turn: what follows is read as a sentence."""


@cache
def identifier() -> LanguageIdentifier:
    """The language model of py3langid; loaded once, for the first answer that needs it."""
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


@cache
def among_known() -> LanguageIdentifier:
    """The same, to choose between English and the languages whose refusals are known."""
    found = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    found.set_languages(["en", *known_refusals()])
    return found


def foreign_language(text: str) -> str | None:
    """The code of the language that an answer is written in, where that is surely not English.

    >>> foreign_language("Lo siento, no puedo ayudarte con eso.")
    'es'
    >>> foreign_language("I can't help with that.") is None
    True
    """
    told = QUOTED.sub(" ", text[: 4 * READ])[:READ].strip() or text[:READ]
    letters = OTHER.findall(told)
    latin, dense = len(LATIN.findall(told)), len(DENSE.findall(told))
    least = SHORT if latin > len(letters) / 2 else 2 if dense > len(letters) / 2 else FEW
    if len(letters) < least or BROKEN in told:
        return None
    language, probability = identifier().classify(told)
    sure = probability >= SURE or latin <= len(letters) / 2
    return None if language == "en" or not sure else str(language)


def declines_in(language: str, text: str) -> bool:
    """Whether a brief answer does nothing but decline, in a language whose refusals are known.

    Its first sentence, apologies aside, is a first-person refusal or a set phrase of one, and all
    that follows is an apology, a reason or a redirect. A negation alone is no refusal.

    >>> declines_in("es", "Lo siento, no puedo ayudarte con eso.")
    True
    >>> declines_in("es", "No se puede abrir sin llave: usa la roja.")
    False
    """
    speech = known(ALIKE.get(language, language))
    framed = FRAMED.fullmatch(text.strip())
    own = QUOTED.sub(" ", framed[1] if framed else text)
    if speech is None or not brief(own) or LIST.search(own) or speech.steps.search(own):
        return False
    said = [s for part in ENDS.split(own) for s in speech.but.split(part) if OTHER.search(s)]
    while said and not speech.declines.search(said[0]) and excuses(speech, said[0]):
        said = said[1:]
    if not said or not speech.declines.search(said[0]):
        return False
    rest = said[1:] if len(said[0].split()) <= LONGEST else said
    if clause := CLAUSES.get(language):
        at = next((n for n, c in enumerate(clause.split(said[0])) if speech.declines.search(c)), 0)
        rest = [*clause.split(said[0])[at:], *(c for s in rest for c in clause.split(s))]
    return all(stands_beside(speech, s) for s in rest if OTHER.search(s))


def stands_beside(speech: Speech, sentence: str) -> bool:
    """Whether a sentence behind a refusal declines again, excuses, gives a reason or redirects."""
    if len(sentence.split()) > LONGEST or ":" in sentence:
        return False
    return bool(speech.declines.search(sentence) or speech.beside.search(sentence))


def excuses(speech: Speech, sentence: str) -> bool:
    """Whether a sentence is an apology and no more."""
    dense = len(DENSE.findall(sentence))
    return bool(speech.sorry.search(sentence)) and len(sentence.split()) + dense / 3 <= APOLOGY


def brief(text: str) -> bool:
    """Whether an answer is short enough to give nothing beside its refusal."""
    return len(text.split()) <= BRIEF and len(DENSE.findall(text)) <= DENSE_BRIEF


@cache
def known(language: str) -> Speech | None:
    """The patterns of a language; None where its refusals are not known."""
    said = known_refusals().get(language)
    if said is None:
        return None
    left, right = ("", "") if language in UNSPACED else (r"(?<!\w)", r"(?!\w)")
    edges = {"declines": ("", ""), "but": (left, right)}
    compiled = {
        part: re.compile(f"(?:{pattern})".join(edges.get(part, (left, ""))), re.IGNORECASE)
        for part, pattern in said.items()
    }
    return Speech(**compiled)


@cache
def known_refusals() -> dict[str, dict[str, str]]:
    """Patterns by the part of `Speech`, by language."""
    text = (files("sirl.judges") / "foreign_refusals.json").read_text("utf-8")
    return dict(json.loads(text))


def goes_on_in(rest: str) -> str | None:
    """The language of what stands beside an English refusal; None where that is English, too.

    >>> goes_on_in("\u5148\u628a\u94c1\u4e1d\u5f2f\u6210\u94a9\u5b50\u3002")
    'zh'
    """
    text = QUOTED.sub(" ", rest)
    strange = [c for c in OTHER.findall(text) if not LATIN.match(c)]
    if len(strange) >= STRANGE and BROKEN not in text:
        return str(identifier().classify("".join(strange))[0])
    for start in range(0, len(text), WINDOW):
        window = text[start : start + WINDOW]
        if len(OTHER.findall(window)) < LETTERS:
            continue
        language, probability = among_known().classify(window)
        if language != "en" and probability >= SURE:
            return str(language)
    return None
