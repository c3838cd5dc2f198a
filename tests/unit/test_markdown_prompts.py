"""Prompts in Markdown: what a reader sees is asked, and what structures the page is not."""

import pytest

from sirl.errors import InputError
from sirl.prompts import read_prompts

HEADING = "the line is a heading, not a prompt"
UNDERLINED = "the line is a heading, which the next one underlines, not a prompt"
FRONT, COMMENT = ("the line is front matter, not a prompt", "the line is a comment, not a prompt")
RULE = "the line has only punctuation and is not a prompt"


def read(folder, text, name="hats.md"):
    path = folder / name
    path.write_bytes(text.encode())
    found = read_prompts(path)
    faults = [(row.line, row.reason) for row in found.rejected]
    return [p.request for p in found.prompts], faults, found.read.replace(str(path), name)


SECTIONS = (
    "# Hats\n\n## Caps\n\nA word about caps.\n\n- Mend a cap\n\n"
    "Hoods\n-----\nA word about hoods.\n\n- Mend a hood\n"
)


def test_headings_are_never_asked_and_a_mixture_is_named(tmp_path):
    asked, faults, said = read(tmp_path, SECTIONS)
    assert asked == ["A word about caps.", "- Mend a cap", "A word about hoods.", "- Mend a hood"]
    assert faults == [(1, HEADING), (3, HEADING), (9, UNDERLINED), (10, RULE)]
    assert said == (
        "lines of hats.md, 4 prompts, 2 of which with the bullet or number at its beginning: write "
        "all prompts as items, or none"
    )


def test_three_dashes_between_prompts_make_no_heading_but_equals_signs_do(tmp_path):
    asked, faults, _ = read(tmp_path, "Mend a cap\n---\nMend a hood\n---\nVeils\n===\n")
    assert asked == ["Mend a cap", "Mend a hood"]
    assert faults == [(2, RULE), (4, RULE), (5, UNDERLINED), (6, RULE)]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["---", "+++"])
def test_front_matter_is_never_asked(tmp_path, mark, end):
    keys = 'title: "Hats"', "tags:", "- old", "- new"
    lines = (mark, *keys, mark, "- Mend a cap", "- Mend a hood")
    asked, faults, _ = read(tmp_path, end.join(lines).replace("title:", "title :"))
    assert asked == ["Mend a cap", "Mend a hood"]
    assert faults == [(n, FRONT) for n in range(1, 7)]


def test_a_rule_at_the_beginning_opens_no_front_matter(tmp_path):
    asked, faults, _ = read(tmp_path, "---\nMend a cap\n\n---\nMend a hood\n")
    assert (asked, faults) == (["Mend a cap", "Mend a hood"], [(1, RULE), (4, RULE)])


def test_comments_are_never_asked(tmp_path):
    text = (
        "<!-- Wash a cap -->\nMend a cap <!-- of wool -->\n<!--\nWash a hood\n\n- a veil\n-->\n"
        "What is `<!-- this -->`?\n<!-- soft --> Mend a hood\n"
    )
    asked, faults, _ = read(tmp_path, text)
    assert asked == ["Mend a cap", "What is `<!-- this -->`?", "Mend a hood"]
    assert faults == [(n, COMMENT) for n in (1, 3, 4, 6, 7)]


def test_what_looks_like_a_heading_in_an_item_belongs_to_it(tmp_path):
    asked, faults, _ = read(tmp_path, "- Mend this:\n  # a cap\n  wear()\n---\n- Mend a hood\n")
    assert asked == ["Mend this:\n# a cap\nwear()", "Mend a hood"]
    assert faults == [(4, "the line is no item of the list")]


def test_only_markdown_has_headings_and_comments(tmp_path):
    text = "# Mend a cap\n<!-- Mend a hood -->\n"
    assert read(tmp_path, text, "hats.txt")[0] == text.splitlines()


def test_markdown_of_headings_alone_is_refused_by_its_first(tmp_path):
    with pytest.raises(InputError, match=f"hats.md:1: {HEADING}"):
        read(tmp_path, "# Caps\n# Hoods\n")


@pytest.mark.parametrize("mark", ["> {}", ">{}", " > > {}", "**{}**", "***{}***", "> **{}**"])
def test_marks_around_a_line_or_an_item_are_not_asked(tmp_path, mark):
    for bullet in ("", "- ", "1. "):
        text = "\n\n".join(bullet + mark.format(hat) for hat in ("Mend a cap.", "Wash a hood."))
        assert read(tmp_path, text)[:2] == (["Mend a cap.", "Wash a hood."], [])


def test_a_list_in_a_quote_is_a_list_and_its_heading_is_not_asked(tmp_path):
    text = "> [!TIP]\n> ## Caps\n>\n> - Mend a cap\n>   of wool\n> - Wash a cap\n"
    asked, faults, _ = read(tmp_path, text)
    assert asked == ["Mend a cap\nof wool", "Wash a cap"]
    assert faults == [(1, HEADING), (2, HEADING), (3, "the line is no item of the list")]


def test_marks_of_a_part_of_a_prompt_are_asked(tmp_path):
    prompts = ["**Mend** a cap", "**Mend** or **wash**", "__init__", "Is a > b?", "*Mend*"]
    assert read(tmp_path, "\n".join(prompts))[0] == prompts
    asked, _, _ = read(tmp_path, "- Sum up:\n  > **Caps** are hats.\n- **Mend:**\n  a cap\n")
    assert asked == ["Sum up:\n> **Caps** are hats.", "**Mend:**\na cap"]
    text = "> Mend a cap.\n**Wash a hood.**\n"
    assert read(tmp_path, text, "hats.txt")[0] == text.splitlines()
