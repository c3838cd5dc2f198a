"""Instruction following: the part of IFEval that needs no tokenizer or language detector.

Rows: `prompt`, `instruction_id_list`, `kwargs`. An answer is correct if it follows all its
instructions, as in IFEval's strict prompt-level score. A row with an unsupported instruction is
rejected with its name: counting sentences or capitalised words needs IFEval's tokenizer, and
naming a language needs its detector. `english_lowercase` and `english_capital` check only the
case, not the language.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sirl.benchmarks.reading import Tasks, Unfit, read_tasks, text_of
from sirl.types import Prompt

__all__ = ["CHECKS", "Check", "Instructions", "keeps", "read_instructions"]

Settings = Mapping[str, Any]
Instruction = tuple[str, Settings]
YES_NO_MAYBE = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
STOPS = ".,?!'\""


@dataclass(frozen=True)
class Check:
    """The check of an instruction and the settings that it requires."""

    holds: Callable[[str, Settings], bool]
    needs: Mapping[str, type]


@dataclass(frozen=True)
class Instructions:
    """An answer is correct if it follows every instruction; satisfies `sirl.roles.Benchmark`."""

    name: str
    tasks: Tasks[tuple[Instruction, ...]]

    def prompts(self) -> list[Prompt]:
        """The prompts, unchanged from the file."""
        return list(self.tasks.prompts)

    def correct(self, prompt: Prompt, answer: str) -> bool:
        """Whether the answer follows all instructions; an empty one follows none."""
        return bool(answer.strip()) and all(keeps(answer, i) for i in self.tasks.keys[prompt.id])


def read_instructions(path: Path, *, strict: bool = False) -> Instructions:
    """Read the prompts of a file whose instructions are all supported.

    Raises:
        InputError: The file has no valid row or, when strict, an invalid one.
    """
    return Instructions(path.stem, read_tasks(path, parse, strict=strict))


def parse(fields: Mapping[str, Any]) -> tuple[str, tuple[Instruction, ...]]:
    """A prompt and its instructions."""
    prompt = text_of(fields, "prompt")
    names, settings = fields.get("instruction_id_list"), fields.get("kwargs")
    if not isinstance(names, list) or not isinstance(settings, list) or not names:
        raise Unfit("instruction_id_list or kwargs is not a list")
    if len(names) != len(settings):
        raise Unfit(f"there are {len(names)} instructions and {len(settings)} kwargs")
    return prompt, tuple(instruction(n, s) for n, s in zip(names, settings, strict=True))


def instruction(name: object, settings: object) -> Instruction:
    """A supported instruction with its required settings; else Unfit."""
    if not isinstance(name, str) or name not in CHECKS:
        raise Unfit(f"the instruction {name!r} is not supported")
    given = settings if isinstance(settings, dict) else {}
    for key, kind in CHECKS[name].needs.items():
        if not fits(key, given.get(key), kind):
            raise Unfit(f"{name} lacks a valid {key}")
    return name, given


def fits(key: str, value: object, kind: type) -> bool:
    """Whether a setting is valid for its instruction; IFEval would draw a random one."""
    if isinstance(value, bool) or not isinstance(value, kind):
        return False
    if isinstance(value, list):
        return bool(value) and all(isinstance(word, str) and word.strip() for word in value)
    if isinstance(value, int):
        return value >= 0
    if key.endswith("relation"):
        return value in ("at least", "less than")
    return len(str(value)) == 1 if key == "letter" else bool(str(value).strip())


def keeps(answer: str, instruction: Instruction) -> bool:
    """Whether an answer follows one instruction."""
    name, settings = instruction
    return CHECKS[name].holds(answer, settings)


def related(count: int, relation: str, bound: int) -> bool:
    """Whether a count is at least, or less than, a bound."""
    return count >= bound if relation == "at least" else count < bound


def times(word: str, text: str) -> int:
    """Number of occurrences of a word in a text, also inside other words, in any case."""
    return len(re.findall(re.escape(word), text, re.IGNORECASE))


def forbids(text: str, words: list[str]) -> bool:
    """Whether none of the words occurs in the text as a whole word, in any case."""
    return not any(re.search(rf"\b{re.escape(w)}\b", text, re.IGNORECASE) for w in words)


def parts(text: str, mark: str) -> list[str]:
    """The parts between marks, without a blank first or last one."""
    found = re.split(mark, text)
    if found and not found[0].strip():
        found = found[1:]
    return found[:-1] if found and not found[-1].strip() else found


def paragraphs(text: str, count: int) -> bool:
    """Whether `***` divides a text into `count` non-blank paragraphs."""
    found = parts(text, r"\s?\*\*\*\s?")
    return len(found) == count and all(p.strip() for p in found)


def two_answers(text: str) -> bool:
    """Whether `******` divides a text into two different answers."""
    found = [p.strip() for p in parts(text, r"\*{6}")]
    return len(found) == 2 and all(found) and found[0] != found[1]


def bullets(text: str) -> int:
    """Number of lines that begin with a star or a hyphen."""
    stars = re.findall(r"^[^\S\n]*\*[^*].*$", text, re.MULTILINE)
    hyphens = re.findall(r"^[^\S\n]*-.*$", text, re.MULTILINE)
    return len(stars) + len(hyphens)


def highlights(text: str) -> int:
    """Number of non-blank passages between single or double stars."""
    single = re.findall(r"\*[^\n*]*\*", text)
    double = re.findall(r"\*\*[^\n*]*\*\*", text)
    return sum(bool(found.strip("*").strip()) for found in (*single, *double))


def first_word(text: str, settings: Settings) -> bool:
    """Whether the number of paragraphs is right and the nth begins with the word, in any case."""
    found = text.split("\n\n")
    written = [p for p in found if p.strip()]
    place = settings["nth_paragraph"]
    if len(written) != settings["num_paragraphs"] or not 1 <= place <= len(written):
        return False
    words = found[place - 1].split()
    first = words[0].lstrip("'").lstrip('"').lower() if words else ""
    wanted: str = settings["first_word"].lower()
    return re.split(f"[{re.escape(STOPS)}]", first)[0] == wanted


def postscript(text: str, marker: str) -> bool:
    """Whether there is a postscript with its marker; P.S. and P.P.S allow a space inside."""
    known = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}
    return bool(re.search(known.get(marker, re.escape(marker.lower())), text.lower()))


def is_json(text: str) -> bool:
    """Whether a text is only JSON, possibly in a code fence."""
    bare = re.sub(r"\A```(?:json)?|```\Z", "", text.strip(), flags=re.IGNORECASE).strip()
    try:
        json.loads(bare)
    except (ValueError, RecursionError):
        return False
    return True


def quoted(text: str) -> bool:
    """Whether a text is enclosed in double quotation marks."""
    bare = text.strip()
    return len(bare) > 1 and bare[0] == bare[-1] == '"'


CHECKS: Mapping[str, Check] = {
    "change_case:english_capital": Check(lambda t, _: t.isupper(), {}),
    "change_case:english_lowercase": Check(lambda t, _: t.islower(), {}),
    "combination:repeat_prompt": Check(
        lambda t, s: t.strip().lower().startswith(s["prompt_to_repeat"].strip().lower()),
        {"prompt_to_repeat": str},
    ),
    "combination:two_responses": Check(lambda t, _: two_answers(t), {}),
    "detectable_content:number_placeholders": Check(
        lambda t, s: len(re.findall(r"\[.*?\]", t)) >= s["num_placeholders"],
        {"num_placeholders": int},
    ),
    "detectable_content:postscript": Check(
        lambda t, s: postscript(t, s["postscript_marker"].strip()), {"postscript_marker": str}
    ),
    "detectable_format:constrained_response": Check(
        lambda t, _: any(answer in t for answer in YES_NO_MAYBE), {}
    ),
    "detectable_format:json_format": Check(lambda t, _: is_json(t), {}),
    "detectable_format:multiple_sections": Check(
        lambda t, s: (
            len(re.findall(rf"\s?{re.escape(s['section_spliter'])}\s?\d+\s?", t))
            >= s["num_sections"]
        ),
        {"section_spliter": str, "num_sections": int},
    ),
    "detectable_format:number_bullet_lists": Check(
        lambda t, s: bullets(t) == s["num_bullets"], {"num_bullets": int}
    ),
    "detectable_format:number_highlighted_sections": Check(
        lambda t, s: highlights(t) >= s["num_highlights"], {"num_highlights": int}
    ),
    "detectable_format:title": Check(
        lambda t, _: any(f.strip("<>").strip() for f in re.findall(r"<<[^\n]+>>", t)), {}
    ),
    "keywords:existence": Check(
        lambda t, s: all(times(word, t) for word in s["keywords"]), {"keywords": list}
    ),
    "keywords:forbidden_words": Check(
        lambda t, s: forbids(t, s["forbidden_words"]), {"forbidden_words": list}
    ),
    "keywords:frequency": Check(
        lambda t, s: related(times(s["keyword"].strip(), t), s["relation"], s["frequency"]),
        {"keyword": str, "relation": str, "frequency": int},
    ),
    "keywords:letter_frequency": Check(
        lambda t, s: related(
            t.lower().count(s["letter"].lower()), s["let_relation"], s["let_frequency"]
        ),
        {"letter": str, "let_relation": str, "let_frequency": int},
    ),
    "length_constraints:nth_paragraph_first_word": Check(
        first_word, {"num_paragraphs": int, "nth_paragraph": int, "first_word": str}
    ),
    "length_constraints:number_paragraphs": Check(
        lambda t, s: paragraphs(t, s["num_paragraphs"]), {"num_paragraphs": int}
    ),
    "length_constraints:number_words": Check(
        lambda t, s: related(len(re.findall(r"\w+", t)), s["relation"], s["num_words"]),
        {"relation": str, "num_words": int},
    ),
    "punctuation:no_comma": Check(lambda t, _: "," not in t, {}),
    "startend:end_checker": Check(
        lambda t, s: t.strip().strip('"').lower().endswith(s["end_phrase"].strip().lower()),
        {"end_phrase": str},
    ),
    "startend:quotation": Check(lambda t, _: quoted(t), {}),
}
"""Supported instructions, by their IFEval names."""
