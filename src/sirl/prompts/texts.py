"""The rows of text and Markdown files: lines, or the items of a list."""

import re
import tomllib
from collections.abc import Iterator

from sirl.errors import InputError
from sirl.prompts.files import ENDS, File, Row, folded_name, lines_of, shown

__all__ = ["ITEM", "MARKDOWN", "is_list", "list_rows", "refuse_keys", "text_rows"]

ODD_ENDS = {"\u2028": "U+2028", "\u2029": "U+2029", "\x85": "U+0085"}
"""Characters that end a line in some programs only."""
RULE = re.compile(r"[ \t]*[-=*_|:+~`#>][-=*_|:+~`#> \t]*")
"""A Markdown line of punctuation: a header underline, a rule, a code fence."""
ITEM = re.compile(r"[ \t]*(?:[-*+\u2022]|\d{1,9}[.)])[ \t]+(?:\[[ xX]\][ \t]+)?(?=\S)")
"""What an item of a list begins with: a bullet or a number, and perhaps a box to tick."""
MARKDOWN = (".md", ".markdown")
HEADING = re.compile(r" {0,3}#{1,6}([ \t]|$)|\[!\w+\][ \t]*$")
"""A heading, or that of a quote, such as `[!NOTE]`."""
QUOTE = re.compile(r"\A {0,3}(>[ \t]?)+(?=[ \t]*[^>\s])")
"""The mark of a block quote, in front of its text."""
BOLD = re.compile(r"(\*\*\*?)(?=[^\s*])((?:(?!\*\*).)+)(?<=[^\s*])\1", re.DOTALL)
"""A text that is bold as a whole."""
UNDERLINE = re.compile(r" {0,3}(=+|-{4,})[ \t]*")
"""What makes a heading of the line above; three dashes are also written between prompts."""
FRONT = re.compile(
    r"\A(---|\+\+\+)[ \t]*\n\s*[\w-]+[ \t]*[:=].*?\n(?:\1|\.\.\.)[ \t]*(?=\n|\Z)", re.DOTALL
)
"""Front matter: keys and values between two marks, at the beginning."""
COMMENT = re.compile(r"^[ \t]*<!--.*?-->[ \t]*|[ \t]*(?<!`)<!--.*?-->", re.DOTALL | re.MULTILINE)
"""A comment with the blanks around it; `<!--` in code is none."""
HIDDEN = {"front matter": FRONT, "a comment": COMMENT}
"""What a reader of Markdown does not see."""

KEYED = re.compile(r"""[ \t]*(?:-[ \t]+)?["']?(\w[\w-]*(?: \d+)?)["']?[ \t]*(?:=|:(?=[ \t]|$))""")
"""A line that begins with a key, as in YAML or TOML."""
SPEAKERS = frozenset({
    "a", "ai", "answer", "assistant", "bot", "human", "q", "query", "request", "response", "system",
    "text", "user",
})  # fmt: skip
"""Names in front of lines that are turns or parts of rows if most lines have one."""
STRUCTURE = re.compile(r"[ \t].*|\[+[\w.\"-]+\]+|[\])},]+|---|\.\.\.|#.*|[\"'].*[\"'],?")
"""Other lines of YAML or TOML: what belongs to a key above, sections, marks and comments."""


def refuse_keys(file: File, keys: frozenset[str]) -> None:
    """Raise InputError for YAML or TOML in a file named as text, whose lines would become prompts.

    Raises:
        InputError: Most lines begin with a speaker or one of the `keys`, some with one of the
            `keys` and all others are of YAML, too, or all are TOML.
    """
    lines = [(n, line.rstrip()) for n, line, fault in lines_of(file.text) if not fault]
    begun = [(n, line, KEYED.match(line)) for n, line in lines]
    keyed = [(n, line) for n, line, key in begun if key and is_key(key[1], keys)]
    if toml := is_toml(file.text):
        keyed = keyed or [(n, line) for n, line, key in begun if key]
    spoken = [(n, line) for n, line, key in begun if key and is_key(key[1], keys | SPEAKERS)]
    # Items below belong to the key, which in Markdown is a word about the list.
    opens = not is_markdown(file) and any(line.endswith(":") for _, line in keyed)
    rest = [
        line
        for _, line, key in begun
        if not (key or STRUCTURE.fullmatch(line) or (opens and ITEM.match(line)))
    ]
    if 2 * len(spoken) <= len(lines) and (not keyed or (rest and not toml)):
        return
    number, line = (keyed or spoken)[0]
    raise InputError(
        f"{file.path}:{number}: the line {shown(line.strip())} begins with a key, as in YAML or "
        'TOML: give one prompt a line without it, or JSON lines such as {"prompt": "..."}'
    )


def is_key(name: str, keys: frozenset[str]) -> bool:
    """Whether a name is one of the keys, its plural or one with a number."""
    key = folded_name(name).rstrip("0123456789")
    return not keys.isdisjoint((key, key.removesuffix("s")))


def is_toml(text: str) -> bool:
    """Whether a text is TOML as a whole."""
    try:
        tomllib.loads("\n".join(ENDS.split(text)))
    except (ValueError, RecursionError):
        return False
    return True


def is_list(file: File) -> bool:
    """Whether a text is a list: two or more items and nothing else; in Markdown, mostly items.

    Headings, rules and the indented rest of an item do not count.
    """
    lines = [
        bool(ITEM.match(line))
        for _, line, fault in read_lines(file)
        if not (fault or HEADING.match(line) or RULE.fullmatch(line) or is_rest(line))
    ]
    if is_markdown(file):
        return sum(lines) > len(lines) / 2
    return len(lines) > 1 and all(lines)


def is_markdown(file: File) -> bool:
    """Whether a file is named as Markdown."""
    return file.path.suffix.lower() in MARKDOWN


def is_rest(line: str) -> bool:
    """Whether a line of a list goes on with the item above it."""
    return line[0] in " \t" and not ITEM.match(line)


def read_lines(file: File) -> Iterator[tuple[int, str, str]]:
    """Line number, text and fault of every non-blank line, as `lines_of`.

    In Markdown, comments and marks of block quotes are left out of their lines; front matter, lines
    of comments alone, and headings are faults.
    """
    if not is_markdown(file):
        yield from lines_of(file.text)
        return
    text, hidden = unhidden("\n".join(ENDS.split(file.text)))
    lines = {number: (line, fault) for number, line, fault in lines_of(text)}
    in_item = False
    for number in sorted({*hidden, *lines}):
        if number in hidden:
            yield number, "", f"the line is {hidden[number]}, not a prompt"
            continue
        line, fault = lines[number]
        if not (in_item and line and is_rest(line)):
            line = QUOTE.sub("", line)
        in_item = bool(line) and bool(ITEM.match(line) or (in_item and is_rest(line)))
        below, _ = lines.get(number + 1, ("", ""))
        yield number, line, fault or ("" if in_item else heading(line, QUOTE.sub("", below)))


def unhidden(text: str) -> tuple[str, dict[int, str]]:
    """Markdown without what a reader does not see, and the lines that have nothing else."""
    lines: dict[int, str] = {}
    for what, pattern in HIDDEN.items():
        seen = pattern.sub(lambda found: "\n" * found[0].count("\n"), text)
        left = {number for number, *_ in lines_of(seen)}
        lines |= {number: what for number, *_ in lines_of(text) if number not in left}
        text = seen
    return text, lines


def unmarked(text: str, file: File) -> str:
    """A prompt of Markdown without marks around the whole of it, which say nothing about a part."""
    if not is_markdown(file):
        return text
    lines = text.split("\n")
    if all(map(QUOTE.match, lines)):
        text = "\n".join(QUOTE.sub("", line) for line in lines)
    bold = BOLD.fullmatch(text.strip())
    return bold[2] if bold else text


def heading(line: str, below: str) -> str:
    """The fault of a Markdown line that is a heading; empty if it is none."""
    if HEADING.match(line):
        return "the line is a heading, not a prompt"
    if UNDERLINE.fullmatch(below) and not RULE.fullmatch(line):
        return "the line is a heading, which the next one underlines, not a prompt"
    return ""


def list_rows(file: File) -> Iterator[Row]:
    """The rows of a list: one prompt per item, in the field `prompt`, with its line breaks."""
    item: Row | None = None
    indent = 0
    for number, line, fault in read_lines(file):
        if item and not fault and is_rest(line):
            rest = line[:indent].lstrip() + line[indent:]
            item = item._replace(fields={"prompt": f"{item.fields['prompt']}\n{rest.rstrip()}"})
            continue
        if item:
            yield whole(item, file)
        begun = None if fault or RULE.fullmatch(line) else ITEM.match(line)
        indent = begun.end() if begun else 0
        item = Row(number, {"prompt": line[indent:]}) if begun else None
        if not item:
            yield Row(number, {}, fault or "the line is no item of the list")
    if item:
        yield whole(item, file)


def whole(item: Row, file: File) -> Row:
    """An item of a list with all its lines."""
    return item._replace(fields={"prompt": unmarked(item.fields["prompt"], file)})


def text_rows(file: File) -> Iterator[Row]:
    """The rows of plain text: one prompt per line, in the field `prompt`."""
    for number, line, fault in read_lines(file):
        odd = next((name for end, name in ODD_ENDS.items() if end in line), "")
        unclear = (
            f"the line contains {odd}, which may end a line: replace it by a line feed or a space"
        )
        rule = "the line has only punctuation and is not a prompt" if RULE.fullmatch(line) else ""
        yield Row(number, {"prompt": unmarked(line, file)}, unclear if odd else fault or rule)
